//! A worker: one thread's share of the connections. A connection lives and dies on its worker, with that
//! worker's own upstream connections, so no request crosses a thread.
//!
//! A worker is a future: a thread of its own runs it, or a simulation does.

use crate::{
    connection::{self, Linger},
    edge::Edge,
    listener::ConnectionPermit,
    local::LocalServices,
    rights::Rights,
    snapshot::Snapshot,
};
use arc_swap::ArcSwap;
use prism_filters::Changes;
use prism_platform::{Detached, Platform, time};
use prism_plugin_host::WorkerLocal;
use std::{
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
};

/// Accepted connections that may wait for a worker: as many as a listen queue holds.
const QUEUE: usize = 1024;

/// How long connections have, once they are cut, to tell their clients so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection on its way to a worker.
pub(crate) struct Incoming {
    pub(crate) io: Detached,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) permit: ConnectionPermit,
}

/// The accept loop's end of a worker.
#[derive(Clone)]
pub struct WorkerHandle {
    queue: mpsc::Sender<Incoming>,
    load: Arc<AtomicUsize>,
}

impl WorkerHandle {
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(crate) fn load_counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.load)
    }

    pub(crate) fn send(&self, incoming: Incoming) -> Result<(), Incoming> {
        self.queue.try_send(incoming).map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// What a worker is made from; it may be moved to the thread that runs it.
pub struct Worker {
    queue: mpsc::Receiver<Incoming>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    platform: Platform,
    linger: Duration,
    health: crate::local::HealthSource,
    changes: Changes,
    cut: watch::Receiver<bool>,
}

impl Worker {
    /// A worker and the end that feeds it. When every feeding end is dropped it finishes its connections and
    /// ends; when `cut` turns true it ends at once.
    #[must_use]
    pub fn new(
        snapshots: &Arc<ArcSwap<Snapshot>>,
        platform: &Platform,
        linger: Duration,
        health: crate::local::HealthSource,
        changes: &Changes,
        cut: watch::Receiver<bool>,
    ) -> (Self, WorkerHandle) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (snapshots, platform, changes) = (Arc::clone(snapshots), platform.clone(), changes.clone());
        let worker = Self { queue, snapshots, platform, linger, health, changes, cut };
        (worker, WorkerHandle { queue: sender, load: Arc::default() })
    }

    /// Serves connections. Runs on a [`tokio::task::LocalSet`].
    pub async fn run(mut self) {
        let local = Rc::new(WorkerLocal::new(self.platform.clone()));
        let linger = Rc::new(Linger::new(self.linger));
        let services = Rc::new(LocalServices::new(&self.health, &self.snapshots));
        let rights = Rc::new(Rights::new(&self.changes));
        let mut looking = pin!(rights.look_after());
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                _ = self.cut.wait_for(|cut| *cut) => break,
                // Never over.
                () = &mut looking => {}
                ended = connections.join_next(), if !connections.is_empty() => report(ended),
                incoming = self.queue.recv() => {
                    let Some(incoming) = incoming else { break };
                    // Fails only when the system is out of memory for one more registration.
                    let Ok(io) = incoming.io.attach() else { continue };
                    let permit = incoming.permit;
                    let edge = Edge::new(
                        &self.snapshots,
                        permit.listener(),
                        &local,
                        &linger,
                        &services,
                        &rights,
                    );
                    let edge = Rc::new(edge);
                    connections.spawn_local(async move {
                        connection::serve(edge, io, incoming.peer).await;
                        drop(permit);
                    });
                }
            }
        }
        let finish = async {
            while let Some(ended) = connections.join_next().await {
                report(Some(ended));
            }
        };
        let cut_off = async {
            // An error means that nobody is left to cut: they have all the time they need.
            if self.cut.wait_for(|cut| *cut).await.is_err() {
                std::future::pending::<()>().await;
            }
            time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            biased;
            () = finish => {}
            () = looking => {}
            () = cut_off => {}
        }
        connections.shutdown().await;
        linger.finish().await;
    }
}

/// A panic costs its connection and nothing else; it is a bug all the same.
fn report(ended: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked: this is a bug, please report it");
    }
}
