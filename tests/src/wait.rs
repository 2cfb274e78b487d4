//! Waiting for something to become true, with a bound that only guards against hanging.

use std::{
    future::Future,
    thread,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up. Far above what a loaded two-core machine needs; no
/// test asserts on time.
pub const GUARD: Duration = Duration::from_secs(30);

/// Polls until `check` gives a value.
///
/// # Panics
/// When it has given none after [`GUARD`].
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < GUARD, "waited {GUARD:?} in vain: {what}");
        thread::sleep(Duration::from_millis(15));
    }
}

/// Polls until `check` gives a value, without blocking the thread between two tries.
///
/// # Panics
/// When it has given none after [`GUARD`].
pub async fn until_async<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(start.elapsed() < GUARD, "waited {GUARD:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

/// A future's result.
///
/// # Panics
/// When it takes longer than [`GUARD`].
pub async fn guard<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}
