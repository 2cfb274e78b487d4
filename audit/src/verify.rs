//! Checking a log: that every line follows from the one before it, every segment from the one before it, and that every
//! ended segment bears a good signature.
//!
//! It stops at the first thing that is wrong: what comes after a broken link proves nothing.

mod segments;

use crate::{Hash, PublicKey, segment};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
};

/// What is asked of a log besides being whole.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Hashes of lines that have to be in it: heads that were kept elsewhere.
    pub expect: Vec<Hash>,
    /// Who may have signed it. Empty: signatures are checked with the keys that the log names, which anybody can make.
    pub keys: Vec<PublicKey>,
    /// Its last segment has to be ended: nobody writes it any more.
    pub closed: bool,
}

/// What is wrong, and where first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// The line, from one; 0 where it is about the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// How a log is, as far as it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Whole.
    #[default]
    Intact,
    /// Whole but for its very end, which is half a line: the process or the machine died in the middle of a write, and
    /// nobody has opened the log since. (Of a log that is being written, half a line may be on its way just now.)
    Torn,
    /// Changed, or incomplete.
    Broken,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How it is.
    pub verdict: Verdict,
    /// What is wrong, where it is broken.
    pub problem: Option<Problem>,
    /// The log's id.
    pub log: Option<String>,
    /// Segments that were read.
    pub segments: u64,
    /// The first of them; more than 1 where older ones were removed as the configuration says.
    pub first_segment: u64,
    /// Whether the last one is ended by a checkpoint.
    pub closed: bool,
    /// Lines that were read.
    pub lines: u64,
    /// Of which kind they are.
    pub kinds: BTreeMap<String, u64>,
    /// The number of the last good line.
    pub seq: u64,
    /// The hash of the last good line.
    pub head: String,
    /// Bytes of half lines that crashes have left behind, in all segments.
    pub torn_bytes: u64,
    /// Records that the proxy itself says are missing.
    pub dropped: u64,
    /// Calls that the proxy itself says it has refused unrecorded.
    pub refused: u64,
    /// Good signatures.
    pub signatures: u64,
    /// Whose they are.
    pub keys: BTreeSet<String>,
    /// Whether the keys were given, and not only taken from the log.
    pub keys_given: bool,
}

/// Checks one log: all the segments of a folder, or those files of it that are given. Of a folder it is wanted that nothing
/// is missing at its start, unless the log says that it was removed; given files may begin anywhere.
///
/// # Errors
/// A file cannot be read, or there is none.
pub fn check(paths: &[PathBuf], options: &Options) -> io::Result<Report> {
    let mut files = BTreeMap::new();
    let mut from_start = false;
    for path in paths {
        if !path.try_exists().map_err(|error| about(path, &error))? {
            let message = format!("{}: there is no such file or folder", path.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        if path.is_dir() {
            from_start = true;
            files.extend(segment::list(path).map_err(|error| about(path, &error))?);
        } else {
            let number = segment::number_of(path).ok_or_else(|| not_a_segment(path))?;
            files.insert(number, path.clone());
        }
    }
    if files.is_empty() {
        let named: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        let message = format!("{}: there is no segment of an audit log", named.join(", "));
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    segments::check(&files, from_start, options)
}

/// The same error, with what it is about.
fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn not_a_segment(path: &Path) -> io::Error {
    let message = format!("{}: a segment is named by its number, as 00000001.jsonl is", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
