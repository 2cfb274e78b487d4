//! What one worker knows of one listener: where a connection finds everything that it needs.

use crate::{
    connection::Linger,
    listener::{ListenerHandle, Orders},
    local::LocalServices,
    rights::Rights,
    snapshot::{ListenerState, Snapshot},
};
use arc_swap::ArcSwap;
use futures_util::{Stream, stream};
use prism_plugin_host::WorkerLocal;
use prism_tls::{ClientIdentity, ClientRefused, ServerTls};
use std::{
    cell::{Cell, OnceCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
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

/// What is current, held for as long as a request needs it.
pub(crate) struct Current {
    snapshot: Arc<Snapshot>,
    removed: OnceCell<(Arc<Snapshot>, Arc<ListenerState>)>,
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
    orders: watch::Receiver<Orders>,
    /// How often what clients are let in by had changed when this one was accepted: before it was looked at.
    reviews: u64,
    secured: Cell<bool>,
    client: OnceCell<Arc<ClientIdentity>>,
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
        let orders = listener.orders();
        let reviews = orders.borrow().reviews;
        Self {
            snapshots: Arc::clone(snapshots),
            limits: listener.limits(),
            orders,
            reviews,
            listener: Arc::clone(listener),
            worker: Rc::clone(worker),
            linger: Rc::clone(linger),
            local: Rc::clone(local),
            rights: Rc::clone(rights),
            secured: Cell::new(false),
            client: OnceCell::new(),
        }
    }

    /// What is current for a request that arrives now.
    pub(crate) fn current(&self) -> Current {
        Current { snapshot: self.snapshots.load_full(), removed: OnceCell::new() }
    }

    /// What is current of this listener.
    ///
    /// A listener that was just removed from the configuration still has connections: their last requests
    /// are served as its last configuration had it.
    pub(crate) fn here<'a>(&self, current: &'a Current) -> (&'a Snapshot, &'a ListenerState) {
        if let Some(state) = current.snapshot.listener(self.listener.id()) {
            return (&current.snapshot, state);
        }
        let (snapshot, state) = current.removed.get_or_init(|| {
            self.listener.last().unwrap_or_else(|| {
                let state = Arc::new(ListenerState::empty(self.listener.name()));
                (Arc::clone(&current.snapshot), state)
            })
        });
        (snapshot, state)
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

    pub(crate) fn worker(&self) -> &Rc<WorkerLocal> {
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

    /// States whom the handshake has verified, once.
    pub(crate) fn set_client(&self, client: Arc<ClientIdentity>) {
        let _ = self.client.set(client);
    }

    /// Whom the handshake has verified.
    pub(crate) fn client(&self) -> Option<&Arc<ClientIdentity>> {
        self.client.get()
    }

    /// Whether the listener would let the client in now. Not whether it would in clear, or encrypted: what that is stays as
    /// it is.
    ///
    /// # Errors
    /// It would not.
    pub(crate) fn verify_client(&self) -> Result<(), ClientRefused> {
        let client = self.client().map(|client| &**client);
        match self.tls() {
            Some(tls) => tls.verify_again(client),
            None if client.is_some() => Err(ClientRefused::NotAsked),
            None => Ok(()),
        }
    }

    /// How long it is until the client has to be verified again though nothing changes.
    pub(crate) fn client_end(&self) -> Option<Duration> {
        self.tls()?.next_end(self.client()?)
    }

    /// A connection ends because its client would not be let in any more.
    pub(crate) fn client_refused(&self, peer: Option<SocketAddr>, why: &ClientRefused) {
        self.listener.client_refused(peer, self.client().map(|client| &**client), why);
    }

    /// How often what clients are let in by had changed when this one was accepted.
    pub(crate) fn reviews(&self) -> u64 {
        self.reviews
    }

    /// What the listener's connections are told: how things are, and then each change.
    pub(crate) fn orders(&self) -> impl Stream<Item = Orders> + 'static {
        let mut orders = self.orders.clone();
        orders.mark_changed();
        stream::unfold(orders, |mut orders| async move {
            orders.changed().await.ok()?;
            let told = *orders.borrow_and_update();
            Some((told, orders))
        })
    }
}
