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

/// How often the files are looked at: soon enough for a key that has to go, and a few small reads each time.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// What files make, if they can.
pub(crate) struct Made<T> {
    /// Tells these contents from others.
    fingerprint: u64,
    made: Result<T, TlsError>,
}

impl<T> Made<T> {
    /// `identify` adds the contents, and `make` uses them.
    pub(crate) fn new<C>(
        contents: C,
        identify: impl FnOnce(&C, &mut DefaultHasher),
        make: impl FnOnce(C) -> Result<T, TlsError>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        identify(&contents, &mut hasher);
        Self { fingerprint: hasher.finish(), made: make(contents) }
    }
}

type Maker<T> = Box<dyn Fn() -> Made<T> + Send + Sync>;

pub(crate) struct Renewed<T> {
    make: Maker<T>,
    /// Called each time the files had changed and could not be used.
    failed: Box<dyn Fn() + Send + Sync>,
    current: ArcSwap<T>,
    /// Of the contents that were looked at last.
    seen: AtomicU64,
    /// Counts what was put in use.
    generation: AtomicU64,
    changes: watch::Sender<u64>,
    failures: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl<T: Send + Sync + 'static> Renewed<T> {
    pub(crate) fn new(
        make: impl Fn() -> Made<T> + Send + Sync + 'static,
        failed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let Made { fingerprint, made } = make();
        Ok(Self {
            make: Box::new(make),
            failed: Box::new(failed),
            current: ArcSwap::from_pointee(made?),
            seen: AtomicU64::new(fingerprint),
            generation: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            failures: AtomicU64::new(0),
            problem: Mutex::default(),
        })
    }

    pub(crate) fn current(&self) -> Arc<T> {
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
        let Made { fingerprint, made } = (self.make)();
        if self.seen.swap(fingerprint, Ordering::Relaxed) == fingerprint {
            return;
        }
        match made {
            Ok(made) => {
                self.current.store(Arc::new(made));
                self.set_problem(None);
                // Last: who waits for it finds the rest done.
                let generation = self.generation.load(Ordering::Relaxed) + 1;
                self.generation.store(generation, Ordering::Release);
                self.changes.send_replace(generation);
                tracing::info!("TLS certificates renewed");
            }
            Err(error) => {
                tracing::warn!(%error, "TLS certificates cannot be renewed; those in use stay in use");
                self.set_problem(Some(error.to_string()));
                self.failures.fetch_add(1, Ordering::Release);
                (self.failed)();
            }
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Looks at the files every [`INTERVAL`] until `renewed` is gone.
pub(crate) async fn keep_fresh<T: Send + Sync + 'static>(renewed: Weak<Renewed<T>>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(renewed) = renewed.upgrade() else { return };
        // A file system may hang, and then only this waits for it.
        if tokio::task::spawn_blocking(move || renewed.look()).await.is_err() {
            return;
        }
    }
}
