//! What the SDK counts for every instance.

use prism_plugin_abi::Metrics;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Counts that only grow.
#[derive(Debug)]
pub(crate) struct Counters {
    requests: AtomicU64,
    failed: AtomicU64,
    finished: AtomicU64,
    nanoseconds: AtomicU64,
    since: i64,
    /// What was reported to the last client that named no instance: the RFC's plain protocol counts per
    /// interval and resets on fetch, which must not disturb those that name one.
    reported: Mutex<Reported>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    requests: u64,
    failed: u64,
    finished: u64,
    nanoseconds: u64,
}

#[derive(Debug)]
struct Reported {
    totals: Totals,
    backend: Metrics,
    at: i64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let since = wall_clock();
        Self {
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
            since,
            reported: Mutex::new(Reported {
                totals: Totals::default(),
                backend: Metrics::default(),
                at: since,
            }),
        }
    }

    pub(crate) fn began(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// A call that was dropped before its end is counted by [`began`](Self::began) alone.
    pub(crate) fn ended(&self, took: Duration, failed: bool) {
        self.finished.fetch_add(1, Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if failed {
            self.failed();
        }
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    fn totals(&self) -> Totals {
        Totals {
            requests: self.requests.load(Relaxed),
            failed: self.failed.load(Relaxed),
            finished: self.finished.load(Relaxed),
            nanoseconds: self.nanoseconds.load(Relaxed),
        }
    }

    /// Everything since the instance began.
    pub(crate) fn cumulative(&self, backend: Metrics) -> Metrics {
        fill(backend, self.totals(), self.since)
    }

    /// What was added since the last call of this function.
    pub(crate) fn interval(&self, backend: Metrics) -> Metrics {
        // First: of two that ask at once, the later one must not have the earlier figures.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.totals();
        let before = &*reported;
        let added = Totals {
            requests: now.requests - before.totals.requests,
            failed: now.failed - before.totals.failed,
            finished: now.finished - before.totals.finished,
            nanoseconds: now.nanoseconds - before.totals.nanoseconds,
        };
        let since = Metrics {
            queries_executed: backend.queries_executed.saturating_sub(before.backend.queries_executed),
            cache_hits: backend.cache_hits.saturating_sub(before.backend.cache_hits),
            cache_misses: backend.cache_misses.saturating_sub(before.backend.cache_misses),
            custom: backend.custom.since(&before.backend.custom),
            ..backend
        };
        let began = before.at;
        *reported = Reported { totals: now, backend, at: wall_clock() };
        fill(since, added, began)
    }
}

#[allow(clippy::cast_precision_loss)] // a mean
fn fill(backend: Metrics, totals: Totals, since: i64) -> Metrics {
    let mean = if totals.finished == 0 { 0.0 } else { totals.nanoseconds as f64 / totals.finished as f64 };
    Metrics {
        requests_total: totals.requests,
        requests_failed: totals.failed,
        latency_ms: mean / 1e6,
        interval_start_ns: since,
        ..backend
    }
}

/// Nanoseconds since 1970. A figure for people; nothing is decided by it, so a simulation may see it too.
#[expect(clippy::disallowed_methods, reason = "a plugin is its own process and has no platform seam")]
fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_abi::CustomMetrics;

    #[test]
    #[allow(clippy::cast_precision_loss)] // of small numbers
    fn intervals_do_not_disturb_totals() {
        let counters = Counters::new();
        let backend = |queries_executed| Metrics {
            queries_executed,
            connections_active: 3,
            custom: CustomMetrics::new().counter("evictions", queries_executed as f64),
            ..Metrics::default()
        };
        counters.began();
        counters.ended(Duration::from_millis(4), true);
        counters.began();
        let first = counters.interval(backend(10));
        assert_eq!((first.requests_total, first.requests_failed, first.queries_executed), (2, 1, 10));
        counters.began();
        counters.ended(Duration::from_millis(2), false);
        let second = counters.interval(backend(11));
        assert_eq!((second.requests_total, second.requests_failed, second.queries_executed), (1, 0, 1));
        assert_eq!((second.latency_ms, second.connections_active), (2.0, 3));
        assert_eq!(second.custom, CustomMetrics::new().counter("evictions", 1.0));
        assert!(second.interval_start_ns >= first.interval_start_ns);
        let total = counters.cumulative(backend(11));
        assert_eq!((total.requests_total, total.latency_ms, total.queries_executed), (3, 3.0, 11));
    }
}
