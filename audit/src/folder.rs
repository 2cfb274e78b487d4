//! The folder of a log, which one process alone writes: also when it is moved, or another one is put in its place.

use crate::{
    chain::{OpenError, WriteError, private},
    segment::{self, LOCK},
};
use std::{
    fs::{self, File, Metadata, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Device and number: what tells a file from another one of its name.
type Identity = (u64, u64);

fn identity(of: io::Result<Metadata>) -> io::Result<Identity> {
    of.map(|of| (of.dev(), of.ino()))
}

/// A folder that this process has for itself.
pub(crate) struct Folder {
    dir: PathBuf,
    identity: Identity,
    lock: File,
    locked: Identity,
}

impl Folder {
    /// Takes it. Makes no file but the lock.
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Folder { dir: dir.to_owned(), source };
        let lock = private().create(true).truncate(false).write(true).open(dir.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { dir: dir.to_owned() },
            TryLockError::Error(source) => failed(source),
        })?;
        let locked = identity(lock.metadata()).map_err(failed)?;
        let identity = identity(fs::metadata(dir)).map_err(failed)?;
        Ok(Self { dir: dir.to_owned(), identity, lock, locked })
    }

    /// Makes sure that nobody else can write by this name, before something is: the lock is that of the folder that has the
    /// name now. An empty folder that was put in its place, and one whose lock was removed, are taken; `true` if it is
    /// another folder.
    ///
    /// # Errors
    /// Somebody else has it, or there is another log in it: whoever put it there has to say what is meant.
    pub(crate) fn hold(&mut self) -> Result<bool, WriteError> {
        if identity(fs::metadata(self.dir.join(LOCK))).ok() == Some(self.locked) {
            return Ok(false);
        }
        let failed = |source| WriteError::Write { path: self.dir.clone(), source };
        let is_another = identity(fs::metadata(&self.dir)).map_err(failed)? != self.identity;
        if is_another && !segment::list(&self.dir).map_err(failed)?.is_empty() {
            return Err(WriteError::Another { dir: self.dir.clone() });
        }
        *self = Self::take(&self.dir).map_err(|error| match error {
            OpenError::InUse { dir } => WriteError::Taken { dir },
            OpenError::Folder { dir, source } => WriteError::Write { path: dir, source },
            other => failed(io::Error::other(other)),
        })?;
        tracing::warn!(dir = %self.dir.display(), "the lock of the audit log was not there any more; there is a new one");
        Ok(is_another)
    }

    /// Lets another one have it. Nothing is written any more.
    pub(crate) fn give_up(&self) {
        // Closing it does so in any case.
        let _ = self.lock.unlock();
    }
}
