//! What one worker knows of one listener: where a connection finds everything that it needs.

use crate::{
    connection::Linger,
    listener::ListenerHandle,
    local::LocalServices,
    rights::Rights,
    snapshot::{ListenerState, Snapshot},
};
use arc_swap::ArcSwap;
use prism_plugin_host::WorkerLocal;
use prism_tls::ServerTls;
use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The limits that a connection keeps to, from its first byte to its last: those of the configuration that
/// it was accepted under.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// HTTP/2 settings.
    pub http2: prism_config::Http2,
    /// HTTP/1.1 settings.
    pub http1: prism_config::Http1,
    /// How long a connection may take to say what it speaks.
    pub handshake_timeout: Duration,
    /// How long bytes may wait that should move.
    pub stall_timeout: Duration,
    /// How long a connection may have no call.
    pub idle_timeout: Duration,
    /// Most header fields of a request.
    pub max_header_fields: usize,
}

impl Limits {
    /// From a listener's configuration.
    #[must_use]
    pub(crate) fn new(listener: &prism_config::Listener) -> Self {
        let prism_config::Listener { http2, http1, limits, .. } = listener;
        Self {
            handshake_timeout: limits.handshake_timeout.into(),
            stall_timeout: limits.stall_timeout.into(),
            idle_timeout: limits.idle_timeout.into(),
            max_header_fields: http2.max_header_fields,
            http2: http2.clone(),
            http1: http1.clone(),
        }
    }
}

/// One connection's surroundings.
pub(crate) struct Edge {
    snapshots: Arc<ArcSwap<Snapshot>>,
    listener: Arc<ListenerHandle>,
    limits: Arc<Limits>,
    worker: Rc<WorkerLocal>,
    linger: Rc<Linger>,
    local: Rc<LocalServices>,
    rights: Rc<Rights>,
    draining: watch::Receiver<bool>,
    cut: watch::Receiver<bool>,
    secured: Cell<bool>,
}

impl Edge {
    /// The surroundings of connections of `listener` on this worker, as the configuration has it now.
    #[must_use]
    pub(crate) fn new(
        snapshots: &Arc<ArcSwap<Snapshot>>,
        listener: &Arc<ListenerHandle>,
        worker: &Rc<WorkerLocal>,
        linger: &Rc<Linger>,
        local: &Rc<LocalServices>,
        rights: &Rc<Rights>,
    ) -> Self {
        Self {
            snapshots: Arc::clone(snapshots),
            limits: listener.limits(),
            draining: listener.draining(),
            listener: Arc::clone(listener),
            worker: Rc::clone(worker),
            linger: Rc::clone(linger),
            local: Rc::clone(local),
            rights: Rc::clone(rights),
            cut: listener.cutting(),
            secured: Cell::new(false),
        }
    }

    /// What is current for a request that arrives now.
    ///
    /// A listener that was just removed from the configuration still has connections: their last requests
    /// are served as its last configuration had it.
    pub(crate) fn current(&self) -> (Arc<Snapshot>, Arc<ListenerState>) {
        let snapshot = self.snapshots.load_full();
        match snapshot.listener(self.listener.id()) {
            Some(state) => {
                let state = Arc::clone(state);
                (snapshot, state)
            }
            None => self.listener.last().unwrap_or_else(|| {
                let state = Arc::new(ListenerState::empty(self.listener.name()));
                (snapshot, state)
            }),
        }
    }

    /// The connection is encrypted.
    pub(crate) fn set_secured(&self) {
        self.secured.set(true);
    }

    /// Whether the connection is encrypted, whatever the listener does with those that come now.
    pub(crate) fn is_secured(&self) -> bool {
        self.secured.get()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What a connection that begins now is encrypted with, if it is.
    pub(crate) fn tls(&self) -> Option<Arc<ServerTls>> {
        self.listener.tls()
    }

    /// A connection ended in its TLS handshake.
    pub(crate) fn handshake_failed(&self, peer: Option<SocketAddr>, error: &io::Error) {
        self.listener.handshake_failed(peer, error);
    }

    pub(crate) fn worker(&self) -> &WorkerLocal {
        &self.worker
    }

    pub(crate) fn linger(&self) -> &Rc<Linger> {
        &self.linger
    }

    /// The worker's calls that can end early.
    pub(crate) fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(crate) fn local(&self) -> &LocalServices {
        &self.local
    }

    /// Resolves when the listener, or the whole proxy, drains.
    pub(crate) fn draining(&self) -> impl Future<Output = ()> + 'static {
        until_true(self.draining.clone())
    }

    /// Resolves when the drain is over and what is left must end.
    pub(crate) fn cut(&self) -> impl Future<Output = ()> + 'static {
        until_true(self.cut.clone())
    }

    /// The drain is over.
    pub(crate) fn is_cut(&self) -> bool {
        *self.cut.borrow()
    }
}

async fn until_true(mut receiver: watch::Receiver<bool>) {
    // An error means that the sender is gone: that is the end as well.
    let _ = receiver.wait_for(|value| *value).await;
}
