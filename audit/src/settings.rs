//! What a log is opened with.

use std::{path::PathBuf, time::Duration};

/// What a log is opened with. Two users of one log have to agree on all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Its folder; it has to exist, and belongs to this log alone.
    pub dir: PathBuf,
    /// The file of the key that checkpoints are signed with. Read again for every segment.
    pub key: PathBuf,
    /// When writes are forced to the disk.
    pub sync: Sync,
    /// A segment is ended when it has so many bytes.
    pub segment_bytes: u64,
    /// A segment is ended when it is so old and has a record.
    pub segment_age: Duration,
    /// How many ended segments are kept; `None`: all.
    pub keep_segments: Option<u64>,
    /// Records that may wait to be written.
    pub queue: usize,
}

/// When what was written is forced to the disk. Whatever it says, a process that dies loses nothing that was written: the
/// operating system has it. This is about the machine losing its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When the operating system likes, and when a segment ends.
    None,
    /// So long after a write at the latest.
    Interval(Duration),
    /// After every write, which brings together what came in meanwhile.
    Each,
}
