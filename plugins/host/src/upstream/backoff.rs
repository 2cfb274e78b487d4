//! How long a failed dial is remembered.

use prism_platform::{Platform, time::Instant};
use std::{cell::Cell, time::Duration};

/// A failed dial is remembered so long, doubling from the first to the last: long enough that a thousand
/// calls make one attempt, short enough that nobody notices when the peer is back.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Dials that failed in a row.
#[derive(Default)]
pub(crate) struct Backoff(Cell<u32>);

impl Backoff {
    /// A dial succeeded. Whether some had failed before it.
    pub(crate) fn reset(&self) -> bool {
        self.0.replace(0) > 0
    }

    /// A dial failed: until when that is remembered, and whether it is the first in a row.
    pub(crate) fn failed(&self, platform: &Platform) -> (Instant, bool) {
        let failures = self.0.get();
        self.0.set(failures.saturating_add(1));
        let pause = LAST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(failures.min(8)));
        (Instant::now() + pause / 2 + platform.jitter(pause / 2), failures == 0)
    }
}
