//! How these programs end.

use std::future::{self, Future};
use tokio::signal::unix::{SignalKind, signal};

/// Resolves at SIGTERM: then a program ends in good order, and one that is being trained writes its profile. To be called
/// on a runtime.
pub fn told() -> impl Future<Output = ()> + Send {
    let signal = signal(SignalKind::terminate());
    async {
        match signal {
            Ok(mut signal) => drop(signal.recv().await),
            // Without it the only way to end is to be killed.
            Err(_) => future::pending().await,
        }
    }
}
