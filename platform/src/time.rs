//! The monotonic clock and timers. tokio's clock is already replaceable (paused in tests, stepped
//! by a simulation), so these are its types under our name.

pub use tokio::time::{Instant, Sleep, error::Elapsed, sleep, sleep_until, timeout, timeout_at};

use std::{cell::Cell, time::Duration};

/// Time since this thread first asked: what a simulated wall clock adds to its first day.
pub(crate) fn since_start() -> Duration {
    thread_local!(static START: Cell<Option<Instant>> = const { Cell::new(None) });
    START.with(|start| {
        let now = Instant::now();
        let first = start.get().unwrap_or_else(|| {
            start.set(Some(now));
            now
        });
        now.saturating_duration_since(first)
    })
}
