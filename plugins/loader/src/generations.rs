//! How many libraries this process has loaded.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts generations: each load is one, for good. One costs some 1.1 MB and its sealed copy.
#[derive(Debug)]
pub struct Generations {
    loaded: AtomicUsize,
    limit: usize,
}

impl Generations {
    /// The default of `limit`: weeks of reloads, at some 70 MB in all for a small plugin.
    pub const DEFAULT_LIMIT: usize = 64;

    /// None yet.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { loaded: AtomicUsize::new(0), limit }
    }

    /// How many are loaded.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.loaded.load(Ordering::Relaxed)
    }

    /// How many there may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// One more, unless that is one too many.
    pub(crate) fn begin(&self) -> bool {
        self.loaded
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |loaded| {
                (loaded < self.limit).then_some(loaded + 1)
            })
            .is_ok()
    }
}
