//! h2load: how it is called, and what it says.

use crate::{
    child::{LOAD_CORE, Owned, unless_interrupted},
    client::Call,
    error::{Error, io},
    peers::Programs,
    workload::Unary,
};
use prism_platform::Address;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// How long a run may take beyond its length before it is given up: the slowest peer's connections open, and
/// its last 16 MiB answers arrive, within a second.
const GRACE: Duration = Duration::from_secs(20);
/// How often a running h2load is looked at. It shares its core with this program.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be sent, and to whom.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) address: &'a Address,
    pub(crate) call: &'a Call,
    pub(crate) unary: Unary,
    /// Files of this peer.
    pub(crate) folder: &'a Path,
}

/// What one run of h2load did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Done {
    /// Answers, all 2xx.
    pub(crate) requests: u64,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
}

/// Latencies of one run, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

impl Load<'_> {
    /// Loads for `length`.
    pub(crate) fn run(&self, length: Duration) -> Result<Done, Error> {
        self.h2load(length, &[])
    }

    /// Loads for `length` with a log of every request. A phase of its own: to write the log costs the core of
    /// the load a share of what the others are measured by.
    pub(crate) fn latency(&self, length: Duration) -> Result<Latency, Error> {
        let log = self.folder.join("latency.log");
        let _ = fs::remove_file(&log);
        self.h2load(length, &["--log-file".to_owned(), log.display().to_string()])?;
        let text = io(format!("read {}", log.display()), fs::read_to_string(&log))?;
        let _ = fs::remove_file(&log);
        percentiles(&text)
    }

    fn h2load(&self, length: Duration, more: &[String]) -> Result<Done, Error> {
        let body = self.body()?;
        let Unary { connections, streams, .. } = self.unary;
        let mut command = Command::new(&self.programs.h2load);
        command
            .args(["-t", "1", "-c", &connections.to_string(), "-m", &streams.to_string()])
            .args(["-D", &format!("{}ms", length.as_millis())])
            // Windows of a gigabyte, so that it is never h2load that makes a peer wait.
            .args(["-w", "30", "-W", "30"])
            .arg("-d")
            .arg(&body)
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers"])
            .args(more);
        for (name, value) in &self.call.headers {
            command.args(["-H", &format!("{name}: {value}")]);
        }
        match self.address {
            Address::Unix(socket) => {
                command.args(["-B", &format!("unix:{}", socket.display())]);
                command.arg(format!("http://localhost{}", self.call.unary));
            }
            Address::Tcp(address) => {
                command.arg(format!("http://{address}{}", self.call.unary));
            }
        }
        let mut child = Owned::start(&mut command, LOAD_CORE, self.folder.join("h2load.log"))?;
        let looks = (length + GRACE).as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            if let Some(status) = child.ended()? {
                let output = child.said();
                return if status.success() {
                    parse(&output)
                } else {
                    Err(Error::Load { problem: format!("it ended with {status}"), output })
                };
            }
            unless_interrupted()?;
            thread::sleep(LOOK);
        }
        Err(Error::Load { problem: "it does not end".to_owned(), output: child.said() })
    }

    fn body(&self) -> Result<PathBuf, Error> {
        let path = self.folder.join(format!("{}.body", self.unary.payload));
        if !path.exists() {
            io(format!("write {}", path.display()), fs::write(&path, self.unary.body()))?;
        }
        Ok(path)
    }
}

/// Reads h2load's summary: its `finished in`, `requests:` and `status codes:` lines.
fn parse(output: &str) -> Result<Done, Error> {
    let problem = |problem: String| Error::Load { problem, output: output.to_owned() };
    let line = |start: &str| output.lines().find_map(|line| line.strip_prefix(start));
    let (Some(finished), Some(requests), Some(codes)) =
        (line("finished in "), line("requests: "), line("status codes: "))
    else {
        return Err(problem("its summary is missing".to_owned()));
    };
    let seconds = finished.split(',').next().and_then(seconds);
    let count = |list: &str, of: &str| {
        list.split(", ").find_map(|item| item.strip_suffix(of)?.trim().parse::<u64>().ok())
    };
    let counts = (count(requests, "succeeded"), count(requests, "failed"), count(codes, "2xx"));
    let (Some(seconds), (Some(succeeded), Some(failed), Some(fine))) = (seconds, counts) else {
        return Err(problem("its summary is not understood".to_owned()));
    };
    if failed > 0 || succeeded != fine || succeeded == 0 {
        return Err(problem(format!("{failed} requests failed, {succeeded} succeeded, {fine} with 2xx")));
    }
    Ok(Done { requests: succeeded, seconds })
}

/// `2.01s`, `512.30ms`, `17us`.
fn seconds(text: &str) -> Option<f64> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let scale = match &text[number.len()..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * scale)
}

/// Reads a log of requests: when it began, HTTP status, microseconds.
fn percentiles(log: &str) -> Result<Latency, Error> {
    let mut times = Vec::new();
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        // -1 are the requests that the end of the run cut.
        if fields.next() == Some("200") {
            times.extend(fields.next().and_then(|time| time.parse::<u64>().ok()));
        }
    }
    if times.is_empty() {
        return Err(Error::Load { problem: "its log holds no request".to_owned(), output: String::new() });
    }
    times.sort_unstable();
    let at = |per_mille: usize| times[(times.len() * per_mille / 1000).min(times.len() - 1)];
    Ok(Latency { p50: at(500), p99: at(990), p999: at(999) })
}
