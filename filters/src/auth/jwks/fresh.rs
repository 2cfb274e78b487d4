//! What keeps keys fresh: the state that its task shares with those who use it, and the task.

use super::{
    Unusable,
    set::{KeySet, KeySetError, MOST_BYTES},
};
use crate::{auth::fetch::Fetcher, watched};
use arc_swap::ArcSwapOption;
use prism_platform::{
    Platform,
    time::{self, Instant},
};
use prism_tls::file;
use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// How often a file is looked at: as often as other files of keys.
pub const LOOK: Duration = watched::INTERVAL;

/// After a failure it is asked again soon, then less and less often: an issuer that comes up again is not met by all its
/// clients at once.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Shared {
    pub(super) current: ArcSwapOption<KeySet>,
    /// Of the document, or of the reason that there is none, that was looked at last.
    pub(super) seen: AtomicU64,
    /// Counts the sets that were put in use.
    pub(super) generation: watch::Sender<u64>,
    pub(super) rounds: watch::Sender<Rounds>,
    pub(super) waiting: AtomicUsize,
    pub(super) problem: Mutex<Option<String>>,
    /// When the file or the URL last had a set that could be used.
    pub(super) last_good: Mutex<Option<Instant>>,
    /// How often it had none.
    pub(super) failures: AtomicU64,
}

/// Of the questions to the URL. There is one at a time, because one task asks.
#[derive(Clone, Copy, Default)]
pub(super) struct Rounds {
    /// Asked for by a call, and not begun.
    pub(super) wanted: bool,
    pub(super) running: bool,
    pub(super) begun: u64,
    pub(super) done: u64,
    pub(super) last_wanted: Option<Instant>,
}

impl Shared {
    /// Puts a document in use, if it can be.
    pub(super) fn install(&self, document: &[u8]) -> Result<(), KeySetError> {
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

    /// There was a good set just now.
    pub(super) fn was_good(&self) {
        *self.last_good.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Takes what a look has found, and says so if it is news. Whether it is good.
    fn take<E: fmt::Display>(
        &self,
        document: &Result<impl AsRef<[u8]>, E>,
        origin: &dyn fmt::Display,
    ) -> bool {
        let good = self.judge(document, origin);
        if good {
            self.was_good();
        }
        good
    }

    fn judge<E: fmt::Display>(
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
pub(super) fn fingerprint<E: fmt::Display>(document: &Result<impl AsRef<[u8]>, E>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match document {
        Ok(document) => document.as_ref().hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish().max(1)
}

/// Reads a regular file up to a byte more than a set may have. Blocks.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // One byte more is read than a set may have, and then refused.
    file::read(path, MOST_BYTES as u64)
}

pub(super) async fn watch_file(shared: Arc<Shared>, path: PathBuf) {
    loop {
        time::sleep(LOOK).await;
        let wanted = path.clone();
        // A file system may hang, and then only this waits for it.
        let Ok(document) = tokio::task::spawn_blocking(move || read(&wanted)).await else { return };
        let before = shared.seen.load(Ordering::Relaxed);
        // The same mistake once more, twice a second, is the same one.
        if !shared.take(&document, &path.display()) && shared.seen.load(Ordering::Relaxed) != before {
            shared.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(super) async fn watch_url(shared: Arc<Shared>, fetcher: Fetcher, platform: Platform, refresh: Duration) {
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
        if !good {
            shared.failures.fetch_add(1, Ordering::Relaxed);
        }
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
