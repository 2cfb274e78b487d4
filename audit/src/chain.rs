//! The one who writes: puts records into the chain, and the chain into files. It knows no threads and no queue.
//!
//! A line that was put into the chain is never changed again: what a full disk did not take is kept, and written from the byte
//! at which it stopped. A file is opened once, by the one who makes it; after a crash, a new one is begun.

use crate::{
    folder::Folder,
    key::{KeyError, SigningKey},
    line::{self, Hash, LineError},
    segment,
    settings::{LogSettings, Sync},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The version of what docs/audit.md describes.
pub(crate) const FORMAT: u64 = 1;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Its folder cannot be used.
    #[error("cannot use the folder {}: {source} (it has to exist and be writable)", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("another process writes the audit log in {}: give this one another folder", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// This process writes it already, otherwise.
    #[error(
        "the audit log in {} is open with other settings: they have to be the same wherever it is named, and to change \
         them the proxy is restarted",
        dir.display()
    )]
    Differs {
        /// The folder.
        dir: PathBuf,
    },
    /// What is to be continued is not a log of ours.
    #[error(
        "{} does not end as an audit log ends: {problem}. See `prism audit verify {}`; to begin a new log, give it an \
         empty folder",
        file.display(),
        dir.display()
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// The file.
        file: PathBuf,
        /// What is wrong with its last line.
        problem: String,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No thread can be started.
    #[error("cannot start the audit log's thread: {0}")]
    Thread(#[source] io::Error),
}

/// Why nothing can be written just now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} was removed or replaced while it was written: what it held is lost", path.display())]
    Gone { path: PathBuf },
    #[error(
        "another process writes the folder that is in the place of {}: put the old one back, or end the other process",
        dir.display()
    )]
    Taken { dir: PathBuf },
    #[error(
        "the folder that is in the place of {} has another log in it: put the old one back, or restart the proxy to have that one \
         gone on with",
        dir.display()
    )]
    Another { dir: PathBuf },
}

/// The segment that is being written.
struct Open {
    file: File,
    path: PathBuf,
    number: u64,
    lines: u64,
    bytes: u64,
    begun: SystemTime,
    identity: (u64, u64),
    /// Its checkpoint is in the chain: nothing more goes into it.
    sealed: bool,
}

/// A log being written.
pub(crate) struct Chain {
    settings: LogSettings,
    key: SigningKey,
    /// Names the log: one that is put in another's place has another.
    id: String,
    seq: u64,
    head: Hash,
    open: Option<Open>,
    next_number: u64,
    /// Ended segments that are there, the oldest first.
    ended: VecDeque<u64>,
    /// Segments that a crash left without an end, for the next one's first line.
    recovered: Vec<Value>,
    /// Lines that are in the chain and not yet in the file, and how much of them is.
    pending: Vec<u8>,
    written: usize,
    unsynced: bool,
    synced_at: SystemTime,
    folder: Folder,
}

impl Chain {
    /// Opens a log to go on where it ended. Makes no file but the lock; the first segment comes with the first record.
    pub(crate) fn open(settings: LogSettings, now: SystemTime) -> Result<Self, OpenError> {
        let dir = settings.dir.clone();
        let folder = |source| OpenError::Folder { dir: dir.clone(), source };
        let key = SigningKey::load(&settings.key)?;
        let held = Folder::take(&dir)?;
        let segments = segment::list(&dir).map_err(folder)?;
        let mut chain = Self {
            key,
            id: new_id(&dir, now),
            seq: 0,
            head: Hash::ZERO,
            open: None,
            next_number: segments.last().map_or(1, |(number, _)| number + 1),
            ended: segments.iter().map(|(number, _)| *number).collect(),
            recovered: Vec::new(),
            pending: Vec::new(),
            written: 0,
            unsynced: false,
            synced_at: now,
            settings,
            folder: held,
        };
        chain.recover(&segments)?;
        Ok(chain)
    }

    /// Finds where the chain ends. Segments without an end are left as they are, and noted.
    fn recover(&mut self, segments: &[(u64, PathBuf)]) -> Result<(), OpenError> {
        for (number, path) in segments.iter().rev() {
            let tail = segment::tail(path)
                .map_err(|source| OpenError::Folder { dir: self.settings.dir.clone(), source })?;
            let tail = tail.map_err(|problem: LineError| OpenError::Damaged {
                dir: self.settings.dir.clone(),
                file: path.clone(),
                problem: problem.to_string(),
            })?;
            let ended = tail.last.as_ref().is_some_and(|(_, _, kind)| kind == "checkpoint");
            if !ended || tail.torn_bytes > 0 {
                if tail.torn_bytes > 0 {
                    tracing::warn!(
                        file = %path.display(), bytes = tail.torn_bytes,
                        "the audit log ends in the middle of a line: the process or the machine died while it was \
                         written. The bytes stay, and the log goes on in a new file"
                    );
                }
                self.recovered.insert(
                    0,
                    json!({
                        "segment": number,
                        "torn_bytes": tail.torn_bytes,
                        "torn_sha256": tail.torn_hash.to_string(),
                    }),
                );
            }
            if let Some((seq, hash, _)) = tail.last {
                (self.seq, self.head) = (seq, hash);
                self.id = tail.log.unwrap_or_else(|| std::mem::take(&mut self.id));
                return Ok(());
            }
        }
        Ok(())
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn head(&self) -> Hash {
        self.head
    }

    /// The segment that is being written, or the last one.
    pub(crate) fn segment(&self) -> u64 {
        self.next_number - 1
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Makes sure that a record can be taken: the folder is ours, nothing of before is left to write, the file is there, and
    /// it is not full.
    pub(crate) fn prepare(&mut self, now: SystemTime) -> Result<(), WriteError> {
        self.hold()?;
        self.flush()?;
        if let Some(open) = &self.open {
            let here = fs::metadata(&open.path).map(|named| (named.dev(), named.ino())).ok();
            if here != Some(open.identity) {
                let path = open.path.clone();
                if let Err(source) = fs::metadata(&self.settings.dir) {
                    // With its folder it may come back.
                    return Err(WriteError::Write { path, source });
                }
                // The next segment takes up its last hash; whoever checks misses this one.
                self.open = None;
                self.unsynced = false;
                return Err(WriteError::Gone { path });
            }
        }
        let full = |open: &Open, settings: &LogSettings| {
            open.sealed
                || open.bytes >= settings.segment_bytes
                || now.duration_since(open.begun).unwrap_or_default() >= settings.segment_age
        };
        if self.open.as_ref().is_some_and(|open| full(open, &self.settings)) {
            self.end(now)?;
        }
        if self.open.is_none() {
            self.begin(now)?;
        }
        Ok(())
    }

    /// Makes sure that nobody else writes the log.
    fn hold(&mut self) -> Result<(), WriteError> {
        if self.folder.hold()? {
            self.ended.clear();
        }
        Ok(())
    }

    /// Puts a record into the chain: the inside of a JSON object, on one line. It reaches the file with [`Chain::flush`].
    pub(crate) fn append(&mut self, fields: &[u8]) {
        debug_assert!(!fields.contains(&b'\n'));
        self.seq += 1;
        let before = self.pending.len();
        self.head = line::write(&mut self.pending, self.seq, self.head, fields);
        if let Some(open) = &mut self.open {
            open.lines += 1;
            open.bytes += (self.pending.len() - before) as u64;
        }
    }

    /// Writes what is in the chain and not in the file, and forces it to the disk if every write is to be.
    pub(crate) fn flush(&mut self) -> Result<(), WriteError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let failed = |source| WriteError::Write { path: open.path.clone(), source };
        while self.written < self.pending.len() {
            match open.file.write(&self.pending[self.written..]) {
                Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
            self.unsynced = true;
        }
        self.pending.clear();
        self.written = 0;
        if self.unsynced && self.settings.sync == Sync::Each {
            open.file.sync_data().map_err(failed)?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Looks whether the folder is still ours, forces to the disk what has waited for long enough, and ends a segment that is
    /// old enough. Answers in what time it wants to be called again at the latest.
    pub(crate) fn tick(&mut self, now: SystemTime) -> Result<Option<Duration>, WriteError> {
        self.hold()?;
        let Some(open) = &self.open else { return Ok(None) };
        // A clock that was put back makes a segment young again; it then lives as long once more.
        let age = now.duration_since(open.begun).unwrap_or_default();
        let left = self.settings.segment_age.saturating_sub(age);
        if left.is_zero() {
            self.end(now)?;
            return Ok(None);
        }
        let Sync::Interval(interval) = self.settings.sync else { return Ok(Some(left)) };
        if !self.unsynced {
            self.synced_at = now;
            return Ok(Some(left));
        }
        let waited = now.duration_since(self.synced_at).unwrap_or(interval);
        if waited < interval {
            return Ok(Some(left.min(interval - waited)));
        }
        open.file.sync_data().map_err(|source| WriteError::Write { path: open.path.clone(), source })?;
        self.unsynced = false;
        self.synced_at = now;
        Ok(Some(left))
    }

    fn begin(&mut self, now: SystemTime) -> Result<(), WriteError> {
        let number = self.next_number;
        let path = self.settings.dir.join(segment::file_name(number));
        let failed = |source| WriteError::Write { path: path.clone(), source };
        // A key that was replaced signs from the next segment on; one that is away for a moment changes nothing.
        match SigningKey::load(&self.settings.key) {
            Ok(key) => self.key = key,
            Err(error) => tracing::warn!(%error, "the audit log goes on with the key that it has"),
        }
        let file = private().append(true).create_new(true).open(&path).map_err(failed)?;
        let identity = file.metadata().map(|file| (file.dev(), file.ino())).map_err(failed)?;
        self.open =
            Some(Open { file, path, number, lines: 0, bytes: 0, begun: now, identity, sealed: false });
        self.next_number += 1;
        let mut fields = json!({
            "kind": "begin",
            "time": time(now),
            "format": FORMAT,
            "log": self.id,
            "segment": number,
        });
        if !self.recovered.is_empty() {
            fields["recovered"] = std::mem::take(&mut self.recovered).into();
        }
        self.append(&inside(&fields));
        self.prune(now);
        if self.settings.sync != Sync::None {
            // The file's name, too, has to outlive a power failure.
            let dir = self.settings.dir.clone();
            let synced = File::open(&dir).and_then(|dir| dir.sync_all());
            synced.map_err(|source| WriteError::Write { path: dir, source })?;
        }
        Ok(())
    }

    /// Ends the segment: its last line is signed, and it is on the disk. Nothing is written where somebody else has gone on
    /// with the log: to him the segment is as it was.
    pub(crate) fn end(&mut self, now: SystemTime) -> Result<(), WriteError> {
        self.hold()?;
        self.flush()?;
        let Some(open) = &mut self.open else { return Ok(()) };
        if !open.sealed {
            let fields = json!({
                "kind": "checkpoint",
                "time": time(now),
                "log": self.id,
                "segment": open.number,
                "lines": open.lines + 1,
                "key": self.key.public().to_string(),
            });
            self.seq += 1;
            let (key, fields) = (&self.key, inside(&fields));
            let sign = |signed: &[u8]| key.sign(signed);
            self.head = line::write_with(&mut self.pending, self.seq, self.head, &fields, sign);
            // Whatever the disk takes of it now: what is left over is written by the next flush.
            open.sealed = true;
        }
        self.finish()
    }

    /// Lets another one have the folder. Nothing is written any more.
    pub(crate) fn unlock(&self) {
        self.folder.give_up();
    }

    /// Writes out an ended segment and lets go of it.
    fn finish(&mut self) -> Result<(), WriteError> {
        self.flush()?;
        let Some(open) = &self.open else { return Ok(()) };
        open.file.sync_all().map_err(|source| WriteError::Write { path: open.path.clone(), source })?;
        tracing::info!(segment = open.number, seq = self.seq, head = %self.head, "audit segment ended");
        self.ended.push_back(open.number);
        self.open = None;
        self.unsynced = false;
        Ok(())
    }

    /// Removes the oldest segments where there are more than are to be kept: the chain says so first, so that nobody takes it
    /// for somebody else's doing.
    fn prune(&mut self, now: SystemTime) {
        let Some(keep) = self.settings.keep_segments else { return };
        let keep = usize::try_from(keep).unwrap_or(usize::MAX).max(1);
        let Some(surplus) = self.ended.len().checked_sub(keep).filter(|surplus| *surplus > 0) else { return };
        let kept = self.ended[surplus];
        // What is kept begins with the hash of the last line that is not.
        let Ok(Some(head)) = segment::first_prev(&self.settings.dir.join(segment::file_name(kept))) else {
            return tracing::error!(segment = kept, "cannot read the audit segment: no old one is removed");
        };
        let through = self.ended[surplus - 1];
        let removed: Vec<u64> = self.ended.drain(..surplus).collect();
        let fields = json!({
            "kind": "pruned",
            "time": time(now),
            "through": through,
            "head": head.to_string(),
        });
        self.append(&inside(&fields));
        if let Err(error) = self.flush() {
            return tracing::error!(%error, "old audit segments are not removed");
        }
        for number in removed {
            let path = self.settings.dir.join(segment::file_name(number));
            if let Err(error) = fs::remove_file(&path) {
                tracing::error!(%error, file = %path.display(), "cannot remove an old audit segment");
            }
        }
    }
}

/// A file that nobody but its owner may read: it says who called what.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// RFC 3339 in UTC, with milliseconds.
pub(crate) fn time(now: SystemTime) -> String {
    humantime::format_rfc3339_millis(now).to_string()
}

/// An object's inside.
pub(crate) fn inside(fields: &Value) -> Vec<u8> {
    let mut text = fields.to_string().into_bytes();
    text.pop();
    text.remove(0);
    text
}

/// An id that no other log has: of where and when it was begun, by which process, which together happen once.
fn new_id(dir: &Path, now: SystemTime) -> String {
    let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed = format!("{}\0{nanos}\0{}", dir.display(), std::process::id());
    Hash::of(seed.as_bytes()).to_string()[..16].to_owned()
}
