//! The admin unix socket: made private, and a stale one removed only when nobody answers on it.

use super::AdminError;
use prism_platform::{Address, BindOptions, Listener, Platform, time};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt},
    path::Path,
    time::Duration,
};

/// How long an old socket may take to answer. A live one answers at once; a stopped process holds its queue
/// open and still accepts, so that it is not mistaken for dead either.
const ANSWER: Duration = Duration::from_secs(1);

pub(super) async fn bind(platform: &Platform, path: &Path) -> Result<Box<dyn Listener>, AdminError> {
    let failed = |source: io::Error| AdminError::Socket { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        // Who may enter the folder may replace the socket in it: 0700 where we make it.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let address = Address::Unix(path.to_owned());
    remove_stale(platform, path, &address).await?;
    platform.bind(&address, BindOptions::default()).await.map_err(failed)
}

async fn remove_stale(platform: &Platform, path: &Path, address: &Address) -> Result<(), AdminError> {
    let failed = |source: io::Error| AdminError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match time::timeout(ANSWER, platform.connect(address)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(_)) | Err(_) => Err(AdminError::InUse { path: path.to_owned() }),
    }
}
