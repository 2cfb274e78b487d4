//! The walk over a log's segments, line by line.

use super::{Options, Problem, Report, Verdict};
use crate::{
    chain::FORMAT,
    key::PublicKey,
    line::{Hash, Line},
    segment::{Lines, Next},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io,
    path::{Path, PathBuf},
};

pub(super) fn check(
    files: &BTreeMap<u64, PathBuf>,
    from_start: bool,
    options: &Options,
) -> io::Result<Report> {
    let mut walk = Walk {
        options,
        report: Report { keys_given: !options.keys.is_empty(), ..Report::default() },
        chain: None,
        unended: Vec::new(),
        pruned: Vec::new(),
        awaited: options.expect.iter().copied().collect(),
    };
    match walk.all(files, from_start) {
        Ok(()) => {}
        Err(Stop::Io(error)) => return Err(error),
        Err(Stop::Broken(problem)) => {
            walk.report.verdict = Verdict::Broken;
            walk.report.problem = Some(problem);
        }
    }
    Ok(walk.report)
}

enum Stop {
    Io(io::Error),
    Broken(Problem),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn broken(file: &Path, line: u64, message: impl Into<String>) -> Stop {
    Stop::Broken(Problem { file: file.display().to_string(), line, message: message.into() })
}

/// A segment that nothing ends: what the next one has to say of it.
#[derive(PartialEq, Eq)]
struct Unended {
    segment: u64,
    torn_bytes: u64,
    torn_hash: String,
}

struct Walk<'a> {
    options: &'a Options,
    report: Report,
    /// The last good line: its number and hash. `None` before the first.
    chain: Option<(u64, Hash)>,
    /// Segments since the last checkpoint.
    unended: Vec<Unended>,
    /// Segments that the log says were removed, each the last of several, and the hash of its last line.
    pruned: Vec<(u64, String)>,
    /// Expected hashes that have not come yet.
    awaited: HashSet<Hash>,
}

impl Walk<'_> {
    fn all(&mut self, files: &BTreeMap<u64, PathBuf>, from_start: bool) -> Result<(), Stop> {
        let mut before: Option<u64> = None;
        let mut first_prev = None;
        for (number, path) in files {
            if let Some(before) = before.filter(|before| before + 1 != *number) {
                let gone = missing(before + 1, number - 1);
                return Err(broken(path, 0, format!("{gone} between it and the one before it")));
            }
            before = Some(*number);
            let began = self.segment(*number, path).map_err(|stop| match stop {
                Stop::Io(error) => Stop::Io(super::about(path, &error)),
                broken => broken,
            })?;
            if self.report.segments == 0 {
                self.report.first_segment = *number;
                first_prev = began;
            }
            self.report.segments += 1;
        }
        let Some((last, path)) = files.last_key_value() else { return Ok(()) };
        if from_start {
            self.start(files, first_prev)?;
        }
        if let Some(hash) = self.options.expect.iter().find(|hash| self.awaited.contains(hash)) {
            let end = format!("it ends with line number {} of the chain", self.report.seq);
            return Err(broken(
                path,
                0,
                format!(
                    "the expected {hash} is not in the log: {end}, and what followed was cut off or replaced"
                ),
            ));
        }
        self.report.closed = self.unended.is_empty();
        if !self.report.closed && self.options.closed {
            return Err(broken(
                path,
                0,
                "it has no checkpoint at its end: its tail was cut off, or nobody has ended it",
            ));
        }
        if self.unended.iter().any(|open| open.segment == *last && open.torn_bytes > 0) {
            self.report.verdict = Verdict::Torn;
        }
        Ok(())
    }

    /// Where a log begins later than with its first segment, it has to say why.
    fn start(&self, files: &BTreeMap<u64, PathBuf>, first_prev: Option<Hash>) -> Result<(), Stop> {
        let Some((first, path)) = files.first_key_value() else { return Ok(()) };
        let begins_with = first_prev.unwrap_or(Hash::ZERO);
        if *first == 1 {
            return if begins_with == Hash::ZERO {
                Ok(())
            } else {
                Err(broken(path, 1, "the first segment of a log cannot follow another"))
            };
        }
        let removed = |(through, head): &(u64, String)| {
            // Of those that were to go, some may still be there: whoever removed them was stopped.
            through >= first || (through + 1 == *first && *head == begins_with.to_string())
        };
        if self.pruned.iter().any(removed) {
            return Ok(());
        }
        let gone = missing(1, first - 1);
        Err(broken(
            path,
            0,
            format!("{gone} in front of it, and the log does not say that they were to be removed"),
        ))
    }

    /// Checks a segment. Answers what its first line says was before it.
    fn segment(&mut self, number: u64, path: &Path) -> Result<Option<Hash>, Stop> {
        let mut lines = Lines::new(File::open(path)?);
        let (mut count, mut ended, mut began) = (0, false, None);
        loop {
            let line = match lines.next()? {
                Next::End => break,
                Next::TooLong => return Err(broken(path, count + 1, "it is not a line of an audit log")),
                Next::Torn(bytes, _) if ended => {
                    let message = format!("{bytes} bytes stand behind the segment's checkpoint");
                    return Err(broken(path, count + 1, message));
                }
                Next::Torn(bytes, hash) => {
                    self.report.torn_bytes += bytes;
                    self.unended.push(Unended {
                        segment: number,
                        torn_bytes: bytes,
                        torn_hash: hash.to_string(),
                    });
                    return Ok(began);
                }
                Next::Line(line) => line,
            };
            count += 1;
            let line = Line::read(line).map_err(|error| broken(path, count, error.to_string()))?;
            if ended {
                return Err(broken(path, count, "it stands behind the segment's checkpoint"));
            }
            if count == 1 && line.kind() == "begin" {
                // Before its place in the chain: a tail that is cut off in front of it is told as that.
                self.begin(&line, number, path)?;
                began = Some(line.prev);
            }
            self.follows(&line, path, count)?;
            match (line.kind(), count) {
                ("begin", 1) => {}
                (_, 1) => return Err(broken(path, count, "a segment begins with a line of kind `begin`")),
                ("begin", _) => return Err(broken(path, count, "a segment begins only once")),
                ("checkpoint", _) => {
                    self.checkpoint(&line, number, count).map_err(|message| broken(path, count, message))?;
                    ended = true;
                }
                ("pruned", _) => {
                    let through = line.number("through").unwrap_or_default();
                    self.pruned.push((through, line.text("head").unwrap_or_default().to_owned()));
                }
                ("dropped", _) => {
                    self.report.dropped += line.number("records").unwrap_or_default();
                    self.report.refused += line.number("refused").unwrap_or_default();
                }
                _ => {}
            }
            *self.report.kinds.entry(line.kind().to_owned()).or_default() += 1;
            self.report.lines += 1;
            self.report.seq = line.seq;
            self.report.head = line.hash.to_string();
            self.chain = Some((line.seq, line.hash));
            self.awaited.remove(&line.hash);
        }
        if !ended {
            let torn_hash = Hash::of(b"").to_string();
            self.unended.push(Unended { segment: number, torn_bytes: 0, torn_hash });
        }
        Ok(began)
    }

    fn follows(&self, line: &Line<'_>, path: &Path, count: u64) -> Result<(), Stop> {
        let Some((seq, head)) = self.chain else {
            return if line.seq > 1 || line.prev == Hash::ZERO {
                Ok(())
            } else {
                Err(broken(path, count, "the first line of a log cannot follow another"))
            };
        };
        if line.seq != seq + 1 {
            let message = match line.seq {
                found if found <= seq => {
                    format!("its number is {found}, after {seq}: lines were repeated or moved")
                }
                found => format!("its number is {found}, after {seq}: {} lines are missing", found - seq - 1),
            };
            return Err(broken(path, count, message));
        }
        if line.prev != head {
            return Err(broken(
                path,
                count,
                "it does not follow from the line before it: one of them was replaced",
            ));
        }
        Ok(())
    }

    /// The first line of a segment: of which log it is, and what it says of those before it that have no end.
    fn begin(&mut self, line: &Line<'_>, number: u64, path: &Path) -> Result<(), Stop> {
        if line.number("format") != Some(FORMAT) {
            return Err(broken(path, 1, format!("its format is not {FORMAT}, which this program knows")));
        }
        if line.number("segment") != Some(number) {
            return Err(broken(path, 1, "it is another segment than its name says: files were renamed"));
        }
        let log = line.text("log").unwrap_or_default();
        if self.report.log.get_or_insert_with(|| log.to_owned()) != log {
            return Err(broken(path, 1, "it belongs to another log"));
        }
        let said: Vec<Unended> =
            line.fields.get("recovered").and_then(Value::as_array).map_or(Vec::new(), |list| {
                list.iter()
                    .map(|said| Unended {
                        segment: said["segment"].as_u64().unwrap_or_default(),
                        torn_bytes: said["torn_bytes"].as_u64().unwrap_or_default(),
                        torn_hash: said["torn_sha256"].as_str().unwrap_or_default().to_owned(),
                    })
                    .collect()
            });
        // Of segments in front of those that were given nothing is known.
        let said = || {
            said.iter()
                .filter(|said| said.segment >= self.report.first_segment.max(1) && self.report.segments > 0)
        };
        for open in &self.unended {
            match said().find(|said| said.segment == open.segment) {
                None => {
                    let message = format!(
                        "segment {} before it has no checkpoint at its end: its tail was cut off",
                        open.segment
                    );
                    return Err(broken(path, 1, message));
                }
                Some(said) if said != open => {
                    let message = format!(
                        "segment {} before it does not end as it did when this one was begun: {} bytes of half a line then, {} now",
                        open.segment, said.torn_bytes, open.torn_bytes
                    );
                    return Err(broken(path, 1, message));
                }
                Some(_) => {}
            }
        }
        if said().count() > self.unended.len() {
            return Err(broken(path, 1, "it says that a segment before it has no end, which is not so"));
        }
        self.unended.clear();
        Ok(())
    }

    /// The last line of a segment: who signed it.
    fn checkpoint(&mut self, line: &Line<'_>, number: u64, count: u64) -> Result<(), String> {
        if line.number("segment") != Some(number) || line.text("log") != self.report.log.as_deref() {
            return Err("the checkpoint is another segment's".to_owned());
        }
        if line.number("lines") != Some(count) {
            return Err(format!("the checkpoint counts other lines than the {count} that there are"));
        }
        let key = line.text("key").and_then(PublicKey::from_hex).ok_or("the checkpoint names no key")?;
        if !self.options.keys.is_empty() && !self.options.keys.contains(&key) {
            return Err(format!(
                "the checkpoint is signed with the key {key}, which is none of those that were given: the file was rewritten"
            ));
        }
        let good = line.signed().is_some_and(|(signed, signature)| key.verify(signed, &signature));
        if !good {
            return Err("the checkpoint's signature is wrong: the file was rewritten".to_owned());
        }
        self.report.signatures += 1;
        self.report.keys.insert(key.to_string());
        Ok(())
    }
}

fn missing(first: u64, last: u64) -> String {
    if first == last {
        format!("segment {first} is missing")
    } else {
        format!("segments {first} to {last} are missing")
    }
}
