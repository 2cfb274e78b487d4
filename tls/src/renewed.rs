//! Something that is made of files, and made again when they change.

use crate::TlsError;
use arc_swap::ArcSwap;
use std::{
    hash::{DefaultHasher, Hasher},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// How often a client's files are looked at: soon enough for a key that has to go, and a few small reads each time. More often,
/// a renewal file by file would replace every connection several times.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// How often a server's files are looked at: whoever was revoked has to be out within a second.
pub const SERVER_INTERVAL: Duration = Duration::from_millis(500);

/// Where files are, and what they make.
pub(crate) trait Source: Send + Sync + 'static {
    /// How often they are looked at.
    const INTERVAL: Duration;
    /// What is made of them.
    type Made: Send + Sync + 'static;
    /// What is in them.
    type Contents<'a>;

    /// Reads them. Blocks.
    fn read(&self) -> Self::Contents<'_>;

    /// Adds what tells these contents from others.
    fn identify(contents: &Self::Contents<'_>, hasher: &mut DefaultHasher);

    /// # Errors
    /// The contents cannot be used.
    fn make(&self, contents: Self::Contents<'_>) -> Result<Self::Made, TlsError>;

    /// These are in use now, in place of `before`. Must not block.
    fn renewed(&self, before: &Self::Made, now: &Self::Made) {
        let _ = (before, now);
    }

    /// The files had changed and could not be used. Must not block.
    fn failed(&self) {}
}

fn fingerprint<S: Source>(contents: &S::Contents<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    S::identify(contents, &mut hasher);
    hasher.finish()
}

pub(crate) struct Renewed<S: Source> {
    source: S,
    current: ArcSwap<S::Made>,
    /// Of the contents that were looked at last.
    seen: AtomicU64,
    /// Counts what was put in use.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    failures: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl<S: Source> Renewed<S> {
    pub(crate) fn new(source: S) -> Result<Self, TlsError> {
        let contents = source.read();
        let seen = fingerprint::<S>(&contents);
        let made = source.make(contents)?;
        Ok(Self {
            source,
            current: ArcSwap::from_pointee(made),
            seen: AtomicU64::new(seen),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            failures: AtomicU64::new(0),
            problem: Mutex::default(),
        })
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn current(&self) -> Arc<S::Made> {
        self.current.load_full()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Resolves when something newer than `generation` is in use.
    pub(crate) async fn newer_than(&self, generation: u64) {
        let mut changes = self.changes.subscribe();
        if changes.wait_for(|now| *now > generation).await.is_err() {
            // The sender is in `self`.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files once, and says what is wrong with them if that is news. Blocks.
    pub(crate) fn look(&self) {
        let contents = self.source.read();
        let fingerprint = fingerprint::<S>(&contents);
        if self.seen.swap(fingerprint, Ordering::Relaxed) == fingerprint {
            return;
        }
        match self.source.make(contents) {
            Ok(made) => {
                let made = Arc::new(made);
                let before = self.current.swap(Arc::clone(&made));
                self.set_problem(None);
                // Last: who waits for it finds the rest done.
                let generation = self.generation.load(Ordering::Relaxed) + 1;
                self.generation.store(generation, Ordering::Release);
                self.changes.send_replace(generation);
                self.source.renewed(&before, &made);
                tracing::info!("TLS certificates renewed");
            }
            Err(error) => {
                tracing::warn!(%error, "TLS certificates cannot be renewed; those in use stay in use");
                self.set_problem(Some(error.to_string()));
                self.failures.fetch_add(1, Ordering::Release);
                self.source.failed();
            }
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Looks at the files every [`Source::INTERVAL`] until `renewed` is gone.
pub(crate) async fn keep_fresh<S: Source>(renewed: Weak<Renewed<S>>) {
    loop {
        tokio::time::sleep(S::INTERVAL).await;
        let Some(renewed) = renewed.upgrade() else { return };
        // A file system may hang, and then only this waits for it.
        if tokio::task::spawn_blocking(move || renewed.look()).await.is_err() {
            return;
        }
    }
}
