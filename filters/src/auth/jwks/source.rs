//! Keys that are kept fresh: read again or fetched again in the background, and the last good ones used until then.

use super::{
    Settings, Unusable,
    set::{KeySet, KeySetError, MOST_BYTES},
    settings::REFRESH,
};
use crate::auth::fetch::{Fetcher, Limits, SetupError, Url, UrlError};
use arc_swap::{ArcSwapOption, Guard};
use prism_platform::{
    Platform,
    time::{self, Instant},
};
use std::{
    fmt,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// How often a file is looked at: as often as those of TLS.
pub const LOOK: Duration = prism_tls::INTERVAL;

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

/// After a failure it is asked again soon, then less and less often: an issuer that comes up again is not met by all its
/// clients at once.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

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

#[derive(Default)]
struct Shared {
    current: ArcSwapOption<KeySet>,
    /// Of the document, or of the reason that there is none, that was looked at last.
    seen: AtomicU64,
    /// Counts the sets that were put in use.
    generation: watch::Sender<u64>,
    rounds: watch::Sender<Rounds>,
    waiting: AtomicUsize,
    problem: Mutex<Option<String>>,
}

/// Of the questions to the URL. There is one at a time, because one task asks.
#[derive(Clone, Copy, Default)]
struct Rounds {
    /// Asked for by a call, and not begun.
    wanted: bool,
    running: bool,
    begun: u64,
    done: u64,
    last_wanted: Option<Instant>,
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

impl Shared {
    /// Puts a document in use, if it can be.
    fn install(&self, document: &[u8]) -> Result<(), KeySetError> {
        let (set, unused) = KeySet::read(document)?;
        for (place, why) in unused {
            // Most issuers have keys for encryption beside the others.
            if why == Unusable::OtherUse {
                tracing::debug!("key {place} of a key set is not used: {why}");
            } else {
                tracing::warn!("key {place} of a key set is not used: {why}");
            }
        }
        let former = self.current.load_full();
        let set = Arc::new(match &former {
            Some(former) => set.keeping(former),
            None => set,
        });
        if former.as_ref().is_some_and(|former| former.same(&set)) {
            return Ok(());
        }
        self.current.store(Some(Arc::clone(&set)));
        if let Some(former) = former {
            former.retire_all_but(&set);
        }
        // Last: who waits for it finds the rest done.
        self.generation.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Takes what a look has found, and says so if it is news. Whether it is good.
    fn take<E: fmt::Display>(
        &self,
        document: &Result<impl AsRef<[u8]>, E>,
        origin: &dyn fmt::Display,
    ) -> bool {
        let fingerprint = fingerprint(document);
        if self.seen.swap(fingerprint, Ordering::Relaxed) == fingerprint {
            return self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        }
        let problem = match document {
            Ok(document) => self.install(document.as_ref()).err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        match &problem {
            None => tracing::info!(%origin, "keys renewed"),
            Some(problem) if self.current.load().is_some() => {
                tracing::warn!(%origin, %problem, "keys cannot be renewed; those in use stay in use");
            }
            Some(problem) => {
                tracing::warn!(%origin, %problem, "there are no keys; calls with tokens are answered UNAVAILABLE");
            }
        }
        let good = problem.is_none();
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        good
    }
}

/// Tells one document, or reason for none, from another; never 0. Not secret, and never out of the process.
fn fingerprint<E: fmt::Display>(document: &Result<impl AsRef<[u8]>, E>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match document {
        Ok(document) => document.as_ref().hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish().max(1)
}

/// Reads a regular file up to a byte more than a set may have. Blocks.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: a pipe would be waited for.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut document = Vec::new();
    File::open(path)?.take(MOST_BYTES as u64 + 1).read_to_end(&mut document)?;
    Ok(document)
}

async fn watch_file(shared: Arc<Shared>, path: PathBuf) {
    loop {
        time::sleep(LOOK).await;
        let wanted = path.clone();
        // A file system may hang, and then only this waits for it.
        let Ok(document) = tokio::task::spawn_blocking(move || read(&wanted)).await else { return };
        shared.take(&document, &path.display());
    }
}

async fn watch_url(shared: Arc<Shared>, fetcher: Fetcher, platform: Platform, refresh: Duration) {
    let mut rounds = shared.rounds.subscribe();
    let mut retry = FIRST_RETRY;
    loop {
        shared.rounds.send_modify(|rounds| {
            rounds.wanted = false;
            rounds.running = true;
            rounds.begun += 1;
        });
        let document = fetcher.get().await;
        let good = shared.take(&document, fetcher.url());
        shared.rounds.send_modify(|rounds| {
            rounds.running = false;
            rounds.done += 1;
        });
        let pause = if good {
            retry = FIRST_RETRY;
            // A tenth sooner at random, so that many proxies that started at once do not ask at once for ever.
            refresh.saturating_sub(platform.jitter(refresh / 10))
        } else {
            let pause = retry;
            retry = (retry * 2).min(LAST_RETRY);
            pause
        };
        let wanted = async {
            // The sender is in `shared`, which this task holds.
            let _ = rounds.wait_for(|rounds| rounds.wanted).await;
        };
        let _ = time::timeout(pause, wanted).await;
    }
}
