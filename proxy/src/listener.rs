//! A listening socket: taking connections in and giving each to the worker that has least to do.

use crate::{
    edge::Limits,
    snapshot::{ListenerState, Snapshot},
    worker::{Incoming, WorkerHandle},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use prism_filters::{auth::certificate_principal, metrics::ConnectionMetrics};
use prism_platform::{
    Accepted, Listener,
    time::{self, Instant},
};
use prism_tls::{ClientIdentity, ClientRefused, ServerTls};
use prometheus::IntCounter;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Which listener a connection came through; never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// How often a failed TLS handshake is said in the log: enough to see what is wrong, too seldom for strangers to fill a disk.
const SAY_FAILURES_EVERY: Duration = Duration::from_secs(1);

/// What all connections of a listener are told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    /// Finish what has begun, and begin nothing.
    pub(crate) drain: bool,
    /// The drain is over: what is left must end.
    pub(crate) cut: bool,
    /// Counts the times that what clients are let in by has changed: each is looked at again.
    pub(crate) reviews: u64,
}

/// Lets something be said, but not more often than every [`SAY_FAILURES_EVERY`].
#[derive(Default)]
struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    fn may(&self) -> bool {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = said.is_none_or(|said| now >= said + SAY_FAILURES_EVERY);
        if may {
            *said = Some(now);
        }
        may
    }
}

/// What connections, workers and the accept loop share of one listener.
pub(crate) struct ListenerHandle {
    id: ListenerId,
    name: Arc<str>,
    limits: ArcSwap<Limits>,
    tls: ArcSwapOption<ServerTls>,
    say_failure: Seldom,
    say_refused: Seldom,
    max_connections: AtomicUsize,
    open: AtomicUsize,
    metrics: ConnectionMetrics,
    orders: watch::Sender<Orders>,
    last: OnceLock<(Arc<Snapshot>, Arc<ListenerState>)>,
}

impl ListenerHandle {
    /// A listener that takes connections under these limits, in clear.
    #[must_use]
    pub(crate) fn new(
        id: ListenerId,
        name: Arc<str>,
        limits: Limits,
        max_connections: usize,
        metrics: ConnectionMetrics,
    ) -> Self {
        Self {
            id,
            name,
            limits: ArcSwap::from_pointee(limits),
            tls: ArcSwapOption::empty(),
            say_failure: Seldom::default(),
            say_refused: Seldom::default(),
            max_connections: max_connections.into(),
            open: AtomicUsize::new(0),
            metrics,
            orders: watch::Sender::new(Orders::default()),
            last: OnceLock::new(),
        }
    }

    pub(crate) fn id(&self) -> ListenerId {
        self.id
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// New limits, for connections that come from now on.
    pub(crate) fn set_limits(&self, limits: Limits, max_connections: usize) {
        self.limits.store(Arc::new(limits));
        self.max_connections.store(max_connections, Ordering::Relaxed);
    }

    pub(crate) fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.load_full()
    }

    /// What connections that come from now on are encrypted with, if they are. Clients that it would not let in go.
    pub(crate) fn set_tls(&self, tls: Option<Arc<ServerTls>>) {
        let now = tls.as_ref().map(Arc::as_ptr);
        if self.tls.swap(tls).as_ref().map(Arc::as_ptr) != now {
            self.review().review();
        }
    }

    /// Has every open connection looked at again, whenever it is called.
    pub(crate) fn review(&self) -> Review {
        Review(self.orders.clone())
    }

    /// Counts the times that TLS files had changed and could not be used.
    pub(crate) fn failed_renewals(&self) -> IntCounter {
        self.metrics.tls_failed_renewals.clone()
    }

    /// Counts it, and says some of them in the log.
    pub(crate) fn handshake_failed(&self, peer: Option<SocketAddr>, error: &io::Error) {
        self.metrics.tls_failed.inc();
        if self.say_failure.may() {
            let peer = peer.map(tracing::field::display);
            tracing::info!(listener = &*self.name, peer, %error, "TLS handshake failed");
        }
    }

    /// Counts it, and says some of them in the log.
    pub(crate) fn client_refused(
        &self,
        peer: Option<SocketAddr>,
        client: Option<&ClientIdentity>,
        why: &ClientRefused,
    ) {
        self.metrics.clients_refused.inc();
        if self.say_refused.may() {
            let peer = peer.map(tracing::field::display);
            let who = client.and_then(|client| certificate_principal(client).ok());
            tracing::info!(listener = &*self.name, who = who.as_deref(), peer, error = %why, "TLS client is not let in any more");
        }
    }

    pub(crate) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    /// Stops accepting; connections get GOAWAY and finish what they have begun.
    pub(crate) fn drain(&self) {
        self.orders.send_modify(|orders| orders.drain = true);
    }

    /// Ends what the drain has left.
    pub(crate) fn cut(&self) {
        self.orders.send_modify(|orders| orders.cut = true);
    }

    /// The last snapshot that had this listener, set when a new one has it no more.
    pub(crate) fn set_last(&self, snapshot: Arc<Snapshot>, state: Arc<ListenerState>) {
        // A listener is removed once.
        let _ = self.last.set((snapshot, state));
    }

    pub(crate) fn last(&self) -> Option<(Arc<Snapshot>, Arc<ListenerState>)> {
        self.last.get().cloned()
    }

    fn admit(self: &Arc<Self>, worker: Arc<AtomicUsize>) -> Option<ConnectionPermit> {
        let most = self.max_connections.load(Ordering::Relaxed);
        if self.open.fetch_add(1, Ordering::Relaxed) >= most {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.metrics.refused.inc();
            return None;
        }
        self.metrics.accepted.inc();
        self.metrics.open.inc();
        worker.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionPermit { listener: Arc::clone(self), worker })
    }
}

/// Has the open connections of a listener looked at again.
pub(crate) struct Review(watch::Sender<Orders>);

impl Review {
    pub(crate) fn review(&self) {
        self.0.send_modify(|orders| orders.reviews += 1);
    }
}

/// An admitted connection's place, held until it is over.
pub(crate) struct ConnectionPermit {
    listener: Arc<ListenerHandle>,
    worker: Arc<AtomicUsize>,
}

impl ConnectionPermit {
    pub(crate) fn listener(&self) -> &Arc<ListenerHandle> {
        &self.listener
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.listener.open.fetch_sub(1, Ordering::Relaxed);
        self.listener.metrics.open.dec();
        self.worker.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until the listener drains, then closes the socket.
pub(crate) async fn accept(
    handle: Arc<ListenerHandle>,
    socket: Box<dyn Listener>,
    workers: Arc<[WorkerHandle]>,
) {
    let mut orders = handle.orders();
    let mut backoff = Backoff::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = orders.wait_for(|orders| orders.drain) => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                backoff.reset();
                hand_over(&handle, accepted, &workers);
            }
            Err(error) if is_exhaustion(&error) => {
                // Trying again at once would spin: the queue stays readable while there are no descriptors.
                let pause = backoff.next(&handle.name, &error);
                tokio::select! {
                    biased;
                    _ = orders.wait_for(|orders| orders.drain) => return,
                    () = time::sleep(pause) => {}
                }
            }
            // The connection was gone before we took it (ECONNABORTED and the like, accept(2)): the next.
            Err(_) => {}
        }
    }
}

fn hand_over(handle: &Arc<ListenerHandle>, accepted: Accepted, workers: &[WorkerHandle]) {
    let Some(worker) = workers.iter().min_by_key(|worker| worker.load()) else { return };
    let Some(permit) = handle.admit(worker.load_counter()) else { return };
    let Ok(io) = accepted.io.detach() else { return };
    // A full queue means a worker that takes no connections: dropping this one is all that can be done.
    let _ = worker.send(Incoming { io, peer: accepted.peer, permit });
}

/// No descriptors or no memory, here or in the whole system: EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_exhaustion(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    /// 10 ms, doubled up to 640 ms: soon enough for a descriptor that is freed now, seldom enough to leave
    /// the processor to those who would free one.
    fn next(&mut self, listener: &str, error: &io::Error) -> Duration {
        let pause = Duration::from_millis(10 << self.0.min(6));
        if self.0 == 0 {
            tracing::warn!(listener, %error, "cannot accept connections; trying again");
        }
        self.0 = self.0.saturating_add(1);
        pause
    }

    fn reset(&mut self) {
        self.0 = 0;
    }
}
