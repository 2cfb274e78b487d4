//! A file that is looked at again and again, and what it last said that made sense.

use arc_swap::{ArcSwap, Guard};
use prism_tls::file;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, task::JoinHandle};
use zeroize::Zeroizing;

/// How often it is looked at, as a listener's certificates are: who is taken out of it has lost his calls within a second.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is larger than such a file has reason to be.
    #[error("{path}: it has more than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it may have.
        limit: u64,
    },
    /// What is in it makes no sense.
    #[error("{0}")]
    Content(String),
}

/// Reads a regular file of at most `limit` bytes. It may hold secrets, so no copy stays.
///
/// # Errors
/// It cannot be read, or has more bytes.
pub fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let bytes =
        file::read(path, limit).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    match bytes.len() as u64 > limit {
        true => Err(FileError::TooLarge { path: path.to_owned(), limit }),
        false => Ok(bytes),
    }
}

type Parse<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

struct Shared<T> {
    path: PathBuf,
    limit: u64,
    parse: Parse<T>,
    current: ArcSwap<T>,
    /// What was read last, whether or not it made sense; of an error, its text.
    seen: Mutex<Zeroizing<Vec<u8>>>,
}

/// What a file holds. Dropping it ends the looking.
pub(crate) struct Watched<T> {
    shared: Arc<Shared<T>>,
    looking: Option<JoinHandle<()>>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the file, and looks at it from now on, where there is a runtime to do so in. `changed` is called whenever it has
    /// changed and made sense. Blocks.
    ///
    /// # Errors
    /// It cannot be used now.
    pub(crate) fn open(
        path: PathBuf,
        limit: u64,
        parse: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let bytes = read(&path, limit)?;
        let current = ArcSwap::from_pointee(parse(&bytes).map_err(FileError::Content)?);
        let shared =
            Arc::new(Shared { path, limit, parse: Box::new(parse), current, seen: Mutex::new(bytes) });
        let looking = Handle::try_current().ok().map(|runtime| {
            let shared = Arc::downgrade(&shared);
            let changed = Arc::new(changed);
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(INTERVAL).await;
                    let (Some(shared), changed) = (shared.upgrade(), Arc::clone(&changed)) else { return };
                    // A file system may hang, and then only this waits for it.
                    let looked = tokio::task::spawn_blocking(move || {
                        if shared.look() {
                            changed();
                        }
                    });
                    if looked.await.is_err() {
                        return;
                    }
                }
            })
        });
        Ok(Self { shared, looking })
    }

    /// Looks at once.
    #[cfg(test)]
    pub(crate) fn look(&self) -> bool {
        self.shared.look()
    }

    /// What it said last.
    pub(crate) fn current(&self) -> Guard<Arc<T>> {
        self.shared.current.load()
    }
}

impl<T> Shared<T> {
    /// Whether something new is in use. What is wrong with the file is told when that is news.
    fn look(&self) -> bool {
        let read = read(&self.path, self.limit);
        let (bytes, read) = match read {
            Ok(bytes) => (bytes.clone(), Ok(bytes)),
            Err(error) => (Zeroizing::new(error.to_string().into_bytes()), Err(error)),
        };
        let before =
            std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), bytes.clone());
        if before == bytes {
            return false;
        }
        let path = self.path.display();
        match read.and_then(|bytes| (self.parse)(&bytes).map_err(FileError::Content)) {
            Ok(made) => {
                self.current.store(Arc::new(made));
                tracing::info!(%path, "a file has changed and is in use");
                true
            }
            Err(error) => {
                tracing::warn!(%path, %error, "a file has changed and cannot be used; what it said before stays in use");
                false
            }
        }
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking {
            looking.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::Mode;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn number(bytes: &[u8]) -> Result<u64, String> {
        String::from_utf8_lossy(bytes).trim().parse().map_err(|error| format!("{error}"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_made_sense_last_stays_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let changes = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&changes);
        let changed = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let watched = Watched::open(path.clone(), 16, number, changed).unwrap();
        let looks = async || {
            for _ in 0..3 {
                tokio::time::sleep(INTERVAL).await;
                // The look itself is on a thread that no paused clock waits for.
                std::thread::sleep(Duration::from_millis(20));
            }
            **watched.current()
        };
        assert_eq!(looks().await, 1);
        std::fs::write(&path, "2").unwrap();
        assert_eq!(looks().await, 2);
        for nonsense in ["two", "", "11111111111111111"] {
            std::fs::write(&path, nonsense).unwrap();
            assert_eq!(looks().await, 2, "{nonsense}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(looks().await, 2);
        std::fs::write(&path, "3").unwrap();
        assert_eq!(looks().await, 3);
        assert_eq!(changes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        for path in [path, folder.path().to_owned(), folder.path().join("none")] {
            assert!(matches!(read(&path, 9), Err(FileError::Read { .. })), "{}", path.display());
        }
    }
}
