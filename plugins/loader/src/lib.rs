//! Shared libraries as plugins.
//!
//! `dlopen` runs constructors, so a library is checked before: who may write the file ([`mod@open`]), then a copy of
//! it in sealed memory that nobody can change any more, then what the ELF file says of itself ([`mod@manifest`]).
//! Loaded is that very copy. A library is never unloaded, because the destructors of its threads' variables would
//! point into nothing; each load is a new generation, and there is a bound on those.

mod error;
mod generations;
mod image;
mod load;
mod manifest;
mod open;
mod sealed;

pub use error::{LoadError, Problem, Unsafe};
pub use generations::Generations;
pub use load::{Loaded, load};
pub use manifest::Manifest;

use sealed::Sealed;
use std::path::{Path, PathBuf};

/// The largest library, in bytes. A plugin with a TLS stack and a database driver has 10 to 30 MB with its debug
/// information stripped, ten times that with it.
pub const MAX_LIBRARY_BYTES: u64 = 512 << 20;

/// A library that may be loaded: nothing of it has run.
#[derive(Debug)]
pub struct Checked {
    path: PathBuf,
    sealed: Sealed,
    manifest: Manifest,
}

impl Checked {
    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Both have the same bytes.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn is_same(&self, other: &Self) -> Result<bool, LoadError> {
        self.sealed
            .is_same(&other.sealed)
            .map_err(|source| LoadError::Read { path: self.path.clone(), source })
    }
}

/// Reads a library and checks it. Runs nothing of it. Blocks on the file system.
///
/// # Errors
/// It cannot be read, others may write it, or it is no plugin for this proxy.
pub fn check(path: &Path) -> Result<Checked, LoadError> {
    let file = open::open(path)?;
    let sealed = Sealed::copy(&file, MAX_LIBRARY_BYTES, path)?;
    let bytes = sealed.read().map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let manifest =
        manifest::read(&bytes).map_err(|problem| LoadError::Refused { path: path.to_owned(), problem })?;
    Ok(Checked { path: path.to_owned(), sealed, manifest })
}
