//! h2load: how it is called, and what it says.

use crate::{
    call::Call,
    child::{LOAD_CORE, Owned, unless_interrupted},
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
    pub(crate) p50: u32,
    pub(crate) p99: u32,
    pub(crate) p999: u32,
}

impl Load<'_> {
    /// Loads for `length`.
    pub(crate) fn run(&self, length: Duration) -> Result<Done, Error> {
        self.h2load(length, &[])
    }

    /// Loads for `length` with a log of every request, and returns how long each took, in microseconds and sorted.
    pub(crate) fn logged(&self, length: Duration) -> Result<(Done, Vec<u32>), Error> {
        let log = self.folder.join("latency.log");
        let _ = fs::remove_file(&log);
        let done = self.h2load(length, &["--log-file".to_owned(), log.display().to_string()])?;
        let text = io(format!("read {}", log.display()), fs::read_to_string(&log))?;
        let _ = fs::remove_file(&log);
        let mut times = times(&text);
        times.sort_unstable();
        Ok((done, times))
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
                    parse(&output, self.call.form.answer_bytes(self.unary.payload))
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
            io(
                format!("write {}", path.display()),
                fs::write(&path, self.call.form.request(self.unary.payload)),
            )?;
        }
        Ok(path)
    }
}

/// Reads h2load's summary: its `finished in`, `requests:`, `status codes:` and `traffic:` lines. h2load looks
/// neither at the trailers, where gRPC says how a call ended, nor at the answers; but answers that are errors are
/// shorter than `answer_bytes`, and that shows in the sum.
fn parse(output: &str, answer_bytes: u64) -> Result<Done, Error> {
    let problem = |problem: String| Error::Load { problem, output: output.to_owned() };
    let line = |start: &str| output.lines().find_map(|line| line.strip_prefix(start));
    let (Some(finished), Some(requests), Some(codes), Some(traffic)) =
        (line("finished in "), line("requests: "), line("status codes: "), line("traffic: "))
    else {
        return Err(problem("its summary is missing".to_owned()));
    };
    let seconds = finished.split(',').next().and_then(seconds);
    let count = |list: &str, of: &str| {
        list.split(", ").find_map(|item| item.strip_suffix(of)?.trim().parse::<u64>().ok())
    };
    let counts = (count(requests, "succeeded"), count(requests, "failed"));
    let others: Option<Vec<u64>> = ["3xx", "4xx", "5xx"].iter().map(|class| count(codes, class)).collect();
    let data = traffic.strip_suffix(") data").and_then(|rest| rest.rsplit('(').next()?.parse::<u64>().ok());
    let (Some(seconds), (Some(succeeded), Some(failed)), Some(others), Some(data)) =
        (seconds, counts, others, data)
    else {
        return Err(problem("its summary is not understood".to_owned()));
    };
    let others: u64 = others.iter().sum();
    if failed > 0 || others > 0 {
        return Err(problem(format!(
            "{succeeded} requests succeeded, {failed} failed, {others} without 2xx"
        )));
    }
    if data < succeeded * answer_bytes {
        return Err(problem(format!(
            "{succeeded} answers of {answer_bytes} bytes have {data} bytes together: some were errors"
        )));
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
fn times(log: &str) -> Vec<u32> {
    let mut times = Vec::new();
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        // -1 are the requests that the end of the run cut.
        if fields.next() == Some("200") {
            times.extend(fields.next().and_then(|time| time.parse::<u32>().ok()));
        }
    }
    times
}

/// Percentiles of sorted times. None where there are no times.
pub(crate) fn percentiles(times: &[u32]) -> Option<Latency> {
    let last = times.len().checked_sub(1)?;
    let at = |per_mille: usize| times[(times.len() * per_mille / 1000).min(last)];
    Some(Latency { p50: at(500), p99: at(990), p999: at(999) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "starting benchmark...
finished in 2.01s, 46123.50 req/s, 9.87MB/s
requests: 92300 total, 92428 started, 92300 done, 92300 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 92300 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 19.88MB (20845000) total, 4.40MB (4615000) headers (space savings 44.94%), 12.15MB (12737400) data
";

    #[test]
    fn a_summary_is_read() {
        assert_eq!(parse(SAID, 138).unwrap(), Done { requests: 92300, seconds: 2.01 });
        assert_eq!(parse(&SAID.replace("2.01s", "512.30ms"), 138).unwrap().seconds, 0.5123);
    }

    #[test]
    fn what_is_not_all_well_is_refused() {
        let bad = [
            SAID.replace(" 0 failed", " 1 failed"),
            SAID.replace("0 4xx", "1 4xx"),
            SAID.replace("0 5xx", "some 5xx"),
            SAID.replace("2.01s", "soon"),
            SAID.replace("finished in", "finished"),
            SAID.replace("92300 succeeded", "many succeeded"),
            SAID.replace("12737400", "12737399"),
            SAID.replace(") data", ") bytes"),
            String::new(),
        ];
        for said in bad {
            assert!(matches!(parse(&said, 138), Err(Error::Load { .. })), "{said}");
        }
    }

    #[test]
    fn a_log_is_read_without_what_was_cut() {
        assert_eq!(times("17\t200\t40\n18\t-1\t7\n19\t200\t41\nrubbish\n"), [40, 41]);
    }

    #[test]
    fn percentiles_are_taken_from_the_sorted_times() {
        let times: Vec<u32> = (1..=1000).collect();
        let latency = percentiles(&times).unwrap();
        assert_eq!((latency.p50, latency.p99, latency.p999), (501, 991, 1000));
        assert!(percentiles(&[]).is_none());
        assert_eq!(percentiles(&[3]).unwrap().p999, 3);
    }
}
