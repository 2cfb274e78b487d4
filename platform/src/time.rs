//! The monotonic clock and timers. tokio's clock is already replaceable (paused in tests, stepped
//! by a simulation), so these are its types under our name.

pub use tokio::time::{Instant, Sleep, error::Elapsed, sleep, sleep_until, timeout, timeout_at};

use std::{cell::Cell, time::Duration};

/// A clock that moves in steps of a few milliseconds and costs a fifth of an exact one: to notice what takes much
/// longer than it should. It is the machine's own, in a simulation too, so nothing may depend on it.
#[must_use]
pub fn tick() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or_default()
}

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
