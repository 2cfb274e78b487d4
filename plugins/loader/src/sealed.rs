//! A copy of a library in memory that cannot be changed any more.

use crate::LoadError;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, RawFd},
        unix::fs::FileExt,
    },
    path::Path,
};

/// Anonymous memory, sealed against everything.
#[derive(Debug)]
pub(crate) struct Sealed(File);

impl Sealed {
    /// Copies `file`, which may have `limit` bytes.
    pub(crate) fn copy(file: &File, limit: u64, path: &Path) -> Result<Self, LoadError> {
        let seal = |source: io::Error| LoadError::Seal { path: path.to_owned(), source };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels from 6.3 on can be set to have memory not executable unless it is asked for; those before do not
        // know the flag.
        let descriptor = match memfd_create("prism-plugin", flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => memfd_create("prism-plugin", flags),
            other => other,
        }
        .map_err(|error| seal(error.into()))?;
        let mut memory = File::from(descriptor);
        let copied = io::copy(&mut file.take(limit + 1), &mut memory)
            .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        if copied > limit {
            return Err(LoadError::TooLarge { path: path.to_owned(), limit });
        }
        let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        fcntl_add_seals(&memory, all).map_err(|error| seal(error.into()))?;
        Ok(Self(memory))
    }

    /// All of it.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.0.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    pub(crate) fn is_same(&self, other: &Self) -> io::Result<bool> {
        let len = self.0.metadata()?.len();
        if len != other.0.metadata()?.len() {
            return Ok(false);
        }
        let [mut one, mut another] = [(); 2].map(|()| vec![0u8; 64 << 10]);
        let mut at = 0;
        while at < len {
            let count = usize::try_from(len - at).unwrap_or(usize::MAX).min(one.len());
            self.0.read_exact_at(&mut one[..count], at)?;
            other.0.read_exact_at(&mut another[..count], at)?;
            if one[..count] != another[..count] {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(true)
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
