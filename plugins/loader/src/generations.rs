//! How many libraries this process has loaded.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts generations: each load is one, for good. One costs some 1.1 MB and its sealed copy.
#[derive(Debug, Default)]
pub struct Generations(AtomicUsize);

impl Generations {
    /// How many are loaded.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, unless there are `limit`.
    pub(crate) fn begin(&self, limit: usize) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |loaded| {
                (loaded < limit).then_some(loaded + 1)
            })
            .is_ok()
    }
}
