//! Opening a library that nobody else may change.

use crate::{LoadError, Unsafe};
use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
    process::geteuid,
};
use std::{fs, fs::File, io, os::unix::fs::MetadataExt, path::Path};

/// May be written by the group or by anybody.
const OTHERS_WRITE: u32 = 0o022;
/// In such a directory only a file's owner may replace it.
const STICKY: u32 = 0o1000;

/// Opens `path`, which must be a regular file of root's or ours that nobody else can write or replace. The file is
/// checked by its descriptor: what is checked is what is read. Then its directories, up to the root.
pub(crate) fn open(path: &Path) -> Result<File, LoadError> {
    let read = |source: io::Error| LoadError::Read { path: path.to_owned(), source };
    let exposed = |problem| LoadError::Exposed { path: path.to_owned(), problem };
    // Not blocking, so that a pipe is refused below and not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP => exposed(Unsafe::NotAFile),
        error => read(error.into()),
    })?;
    let stat = rustix::fs::fstat(&descriptor).map_err(|error| read(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(exposed(Unsafe::NotAFile));
    }
    check(path, stat.st_uid, stat.st_mode & 0o7777, false).map_err(exposed)?;
    // Of the directory that the file is really in, whatever links led there.
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs::canonicalize(directory).map_err(read)?;
    for directory in directory.ancestors() {
        let stat = fs::metadata(directory).map_err(read)?;
        check(directory, stat.uid(), stat.mode() & 0o7777, true).map_err(exposed)?;
    }
    Ok(File::from(descriptor))
}

fn check(path: &Path, owner: u32, mode: u32, directory: bool) -> Result<(), Unsafe> {
    let ours = geteuid().as_raw();
    if owner != 0 && owner != ours {
        return Err(Unsafe::Owner { path: path.to_owned(), owner, ours });
    }
    if mode & OTHERS_WRITE != 0 && !(directory && mode & STICKY != 0) {
        return Err(Unsafe::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}
