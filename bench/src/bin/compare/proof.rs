//! Proof that a secured peer does what its figures are for: what it must refuse it refuses, and what it must have done for
//! each call it has done.

use crate::{
    call::Call,
    child::unless_interrupted,
    client::{Client, answer},
    error::Error,
    issuer::Issuer,
};
use prism_audit::verify::{self, Verdict};
use prism_platform::Address;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};
use tokio::runtime::Runtime;

/// How long what was done may take to show: an audit log is written some milliseconds later.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// The header with a call's token.
const HEADER: &str = "authorization";

/// How it shows what a peer has done.
pub(crate) enum Receipt {
    /// A record of each call, in the audit log in this folder, which has to be intact.
    Audit(PathBuf),
    /// Envoy's counters, by the port of its admin interface: every token was found in the cache, every call let in by `rbac`.
    Envoy(u16),
}

/// Envoy's counters of what a call needs: `http.STAT_PREFIX.…`.
const ENVOY_COUNTERS: [&str; 2] = ["jwt_authn.jwt_cache_hit", "rbac.allowed"];

/// Where these are, and hardly any others.
const STATISTICS: &str = "/stats?filter=(jwt_cache_hit|rbac.allowed)$";

/// With this token.
pub(crate) fn bearer(token: &str) -> (&'static str, String) {
    (HEADER, format!("Bearer {token}"))
}

/// That calls without a token, with a forged one and with one of somebody else are refused, each for its reason.
pub(crate) fn refusals(peer: &str, runtime: &Runtime, address: &Address, call: &Call) -> Result<(), Error> {
    let issuer = Issuer::of_this_run()?;
    let cases = [
        ("without a token", None, "16"),
        ("with a forged token", Some(&issuer.forged), "16"),
        ("with a token whose claim does not match", Some(&issuer.outsider), "7"),
    ];
    for (what, token, wanted) in cases {
        let mut call = call.clone();
        call.headers.retain(|(name, _)| *name != HEADER);
        call.headers.extend(token.map(|token| bearer(token)));
        let status = runtime.block_on(async { Client::open(address).await?.status(&call, 128).await });
        let status = answer(peer, status)?;
        if status != wanted {
            let problem = format!("a call {what} ended with grpc-status {status}, not {wanted}");
            return Err(Error::Answer { peer: peer.to_owned(), problem });
        }
    }
    Ok(())
}

impl Receipt {
    /// That what has to be done for a call was done for at least so many.
    pub(crate) fn check(&self, peer: &str, calls: u64) -> Result<(), Error> {
        let mut problem = String::new();
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            match self.done() {
                Ok(done) if done >= calls => return Ok(()),
                Ok(done) => problem = format!("{calls} calls were made, and there is proof of {done}"),
                Err(error) => problem = error,
            }
            unless_interrupted()?;
            thread::sleep(LOOK);
        }
        Err(Error::Answer { peer: peer.to_owned(), problem })
    }

    /// For how many calls it was done since the peer was started.
    fn done(&self) -> Result<u64, String> {
        match self {
            Self::Audit(log) => {
                let report = verify::check(std::slice::from_ref(log), &verify::Options::default())
                    .map_err(|error| format!("{}: {error}", log.display()))?;
                match (report.verdict, report.problem) {
                    (Verdict::Intact, _) => Ok(report.kinds.get("call").copied().unwrap_or(0)),
                    (verdict, problem) => Err(format!(
                        "the audit log is not intact: {verdict:?}{}",
                        problem.map(|problem| format!(", {problem}")).unwrap_or_default()
                    )),
                }
            }
            Self::Envoy(port) => {
                let stats = get(*port, STATISTICS).map_err(|error| format!("its statistics: {error}"))?;
                let counts = ENVOY_COUNTERS.map(|name| counter(&stats, name));
                counts.into_iter().try_fold(u64::MAX, |least, count| Ok(least.min(count?)))
            }
        }
    }

    /// Gives back the room that it takes on the disk, when the peer has ended. Writing it back would disturb others.
    pub(crate) fn remove(&self) {
        if let Self::Audit(log) = self {
            // What cannot be removed goes with the run's folder.
            let _ = fs::remove_dir_all(log);
        }
    }
}

/// A counter's line is `http.edge.rbac.allowed: 17`.
fn counter(stats: &str, name: &str) -> Result<u64, String> {
    let line = stats.lines().find_map(|line| line.strip_prefix("http.")?.split_once(&format!(".{name}: ")));
    line.and_then(|(_, count)| count.trim().parse().ok())
        .ok_or_else(|| format!("there is no `{name}` among its statistics"))
}

/// What an admin interface answers, with its head. Envoy's sends so short an answer in one chunk.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = "HTTP/1.1 200 OK\r\n\r\n5a\r\nhttp.edge.jwt_authn.jwt_cache_hit: 17\nhttp.edge.rbac.allowed: 16\n\
                         http.edge.rbac.denied: many\n";

    #[test]
    fn a_counter_is_read_by_its_whole_name() {
        assert_eq!(counter(STATS, "jwt_authn.jwt_cache_hit"), Ok(17));
        assert_eq!(counter(STATS, "rbac.allowed"), Ok(16));
        for missing in ["bac.allowed", "rbac.allow", "rbac.denied", "edge"] {
            assert!(counter(STATS, missing).unwrap_err().contains(missing), "{missing}");
        }
    }

    #[test]
    fn an_empty_log_is_no_proof() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Receipt::Audit(folder.path().to_owned()).done().unwrap_err().contains("no segment"));
        fs::write(folder.path().join("00000001.jsonl"), "{}\n").unwrap();
        assert!(Receipt::Audit(folder.path().to_owned()).done().unwrap_err().contains("not intact"));
    }
}
