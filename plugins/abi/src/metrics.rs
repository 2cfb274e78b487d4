//! What an instance of a plugin counts.

use crate::CustomMetrics;

/// What an instance counted since it began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Operations asked for.
    pub requests_total: u64,
    /// Of these, failed.
    pub requests_failed: u64,
    /// Mean time per operation, in milliseconds.
    pub latency_ms: f64,
    /// Backend connections in use.
    pub connections_active: u64,
    /// Backend connections kept for later.
    pub connections_idle: u64,
    /// Queries sent to the backend.
    pub queries_executed: u64,
    /// Answers found in a cache.
    pub cache_hits: u64,
    /// Answers not found in a cache.
    pub cache_misses: u64,
    /// When counting began, nanoseconds since 1970 (UTC).
    pub interval_start_ns: i64,
    /// What only this plugin counts.
    pub custom: CustomMetrics,
}
