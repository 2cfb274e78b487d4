//! Keys that are kept fresh: read again or fetched again in the background, and the last good ones used until then.

use super::{
    Settings,
    fresh::{Shared, fingerprint, read, watch_file, watch_url},
    set::{KeySet, KeySetError, MOST_BYTES},
    settings::REFRESH,
};
use crate::auth::fetch::{Fetcher, Limits, SetupError, Url, UrlError};
use arc_swap::Guard;
use prism_platform::{
    Platform,
    time::{self, Instant},
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// How often tokens with unknown keys may have the URL asked. An issuer that changes its keys without a word is served half
/// a minute later at worst, and strangers who make up names cost it two requests a minute.
pub const REFETCH: Duration = Duration::from_secs(30);

/// What a question may take. Key sets are static documents: who needs longer is down.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a call waits for keys that are being fetched. Within that a healthy issuer answers, and callers whose deadline
/// is short are told while they still listen.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most calls that wait at a time; more are refused at once. They hold connections, and strangers can cause them.
const MOST_WAITING: usize = 256;

/// An issuer's keys as they are now. Shared by whoever checks with them; ends its background task when it is dropped.
pub struct Keys {
    origin: Origin,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Where they come from: equal ones are the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Url { url: Url, ca_cert: Option<PathBuf>, refresh: Duration },
}

/// Why keys cannot be had from where they should come from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file has no key set in it that can be used.
    #[error("{}: {source}", path.display())]
    Set {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeySetError,
    },
    /// The address is none.
    #[error("{url}: {source}")]
    Url {
        /// The address as it is written.
        url: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// The address cannot be asked.
    #[error("{url}: {source}")]
    Setup {
        /// The address.
        url: String,
        /// Why not.
        source: Box<SetupError>,
    },
    /// Neither a file nor an address, or both.
    #[error("keys come from a `file` or from a `url`, one of the two")]
    Origin,
}

impl Keys {
    /// Opens what the settings name. A file is read now; a URL is fetched in the background, and until it has answered
    /// there are no keys: an issuer that is down must not keep the proxy from starting. `previous` keys are kept if they
    /// come from the same place: what is known of it survives a reload.
    ///
    /// # Errors
    /// [`KeysError`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(
        settings: &Settings,
        platform: &Platform,
        base_dir: &Path,
        previous: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, KeysError> {
        let origin = match (&settings.file, &settings.url) {
            (Some(file), None) => Origin::File(base_dir.join(file)),
            (None, Some(url)) => Origin::Url {
                url: url.parse().map_err(|source| KeysError::Url { url: url.clone(), source })?,
                ca_cert: settings.ca_cert.as_ref().map(|path| base_dir.join(path)),
                refresh: settings.refresh.unwrap_or(REFRESH).get(),
            },
            _ => return Err(KeysError::Origin),
        };
        if let Some(previous) = previous.filter(|previous| previous.origin == origin) {
            return Ok(Arc::clone(previous));
        }
        let shared = Arc::new(Shared::default());
        let task = match &origin {
            Origin::File(path) => {
                let document = read(path);
                shared.seen.store(fingerprint(&document), Ordering::Relaxed);
                let document = document.map_err(|source| KeysError::Read { path: path.clone(), source })?;
                shared.install(&document).map_err(|source| KeysError::Set { path: path.clone(), source })?;
                shared.was_good();
                tokio::spawn(watch_file(Arc::clone(&shared), path.clone()))
            }
            Origin::Url { url, ca_cert, refresh } => {
                let limits = Limits { deadline: DEADLINE, body: MOST_BYTES };
                let fetcher = Fetcher::new(platform.clone(), url.clone(), ca_cert.as_deref(), limits)
                    .map_err(|source| KeysError::Setup { url: url.to_string(), source: source.into() })?;
                tokio::spawn(watch_url(Arc::clone(&shared), fetcher, platform.clone(), *refresh))
            }
        };
        Ok(Arc::new(Self { origin, shared, task }))
    }

    /// The keys that are in use; none until a URL has answered.
    #[must_use]
    pub fn current(&self) -> Guard<Option<Arc<KeySet>>> {
        self.shared.current.load()
    }

    /// Counts the sets that were put in use; 0 until there is one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.shared.generation.borrow()
    }

    /// Resolves when there is a set newer than `generation`: what was accepted before may be refused now. Cancel-safe.
    pub async fn newer_than(&self, generation: u64) {
        let mut generations = self.shared.generation.subscribe();
        if generations.wait_for(|now| *now > generation).await.is_err() {
            // The sender is in `self`.
            std::future::pending::<()>().await;
        }
    }

    /// How often the URL was asked.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.shared.rounds.borrow().begun
    }

    /// How long ago the file or the URL last had a set that could be used; `None` until it had one. The set need not have been
    /// another one.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let last = self.shared.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.elapsed())
    }

    /// How often it had none: fetches of a URL in vain, and times a file was changed to what cannot be used.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    /// Why there are no newer keys, if the last look at the file or the URL was in vain.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the URL asked, for a call with a key that is not in the set, and waits for the answer: a second at most, in a
    /// bounded number, and not at all if this was asked for within [`REFETCH`]. A file is looked at often enough. `true` if
    /// an answer came, good or bad, so that another look is worth it. Cancel-safe.
    pub async fn refetch(&self) -> bool {
        self.wait(true).await
    }

    /// Waits as [`Keys::refetch`] does, but for a question that is under way only.
    pub async fn fetched(&self) -> bool {
        self.wait(false).await
    }

    async fn wait(&self, may_ask: bool) -> bool {
        if matches!(self.origin, Origin::File(_)) {
            return false;
        }
        let Some(_place) = Place::take(&self.shared.waiting) else { return false };
        let mut rounds = self.shared.rounds.subscribe();
        let mut done = None;
        self.shared.rounds.send_if_modified(|rounds| {
            if rounds.running || rounds.wanted {
                done = Some(rounds.done);
                return false;
            }
            if !may_ask || rounds.last_wanted.is_some_and(|last| last.elapsed() < REFETCH) {
                return false;
            }
            done = Some(rounds.done);
            rounds.wanted = true;
            rounds.last_wanted = Some(Instant::now());
            true
        });
        let Some(done) = done else { return false };
        let answered = rounds.wait_for(|rounds| rounds.done > done);
        matches!(time::timeout(PATIENCE, answered).await, Ok(Ok(_)))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("origin", &self.origin).field("generation", &self.generation()).finish()
    }
}

/// One of [`MOST_WAITING`].
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        // Given back by its drop, too, if it is one too many.
        (waiting.fetch_add(1, Ordering::Relaxed) < MOST_WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
