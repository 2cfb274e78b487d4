//! How far a server's shutdown has come.

use tokio::sync::watch;

/// Phases follow each other in this order; none comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Calls are taken.
    Serving,
    /// No new ones; those in flight may end.
    Draining,
    /// Those in flight have had their time.
    Cut,
}

/// Resolves when `phase` has come; never where the server goes away before.
pub(super) fn reached(
    phases: &watch::Receiver<Phase>,
    phase: Phase,
) -> impl Future<Output = ()> + Send + 'static {
    let mut phases = phases.clone();
    async move {
        let never = phases.wait_for(|now| *now >= phase).await.is_err();
        if never {
            std::future::pending::<()>().await;
        }
    }
}
