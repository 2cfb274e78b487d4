//! A worker's connection to a plugin: dialled when first needed, shared by all of the worker's calls,
//! replaced when it is gone.

use super::{
    dial::{Dialled, dial},
    peer::PeerIdentity,
};
use crate::{
    channel::ForwardError,
    worker::{Spawner, WorkerLocal},
};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Uri;
use prism_platform::{Address, Platform, time::Instant};
use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Calls that may wait on one worker for one plugin, for a connection or for a stream on it. Past that, a
/// quick refusal serves the caller better than a place in the queue.
const MAX_WAITING: usize = 1024;

/// A failed dial is remembered so long, doubling from the first to the last: long enough that a thousand
/// calls make one attempt, short enough that nobody notices when the plugin is back.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Where a plugin listens. Workers keep one connection each for it, whatever the number of namespaces.
pub(crate) struct Endpoint {
    address: Address,
    execute: Uri,
    execute_stream: Uri,
    /// Counts the times that the plugin was seen to be up. A failure remembered from before is out of date.
    epoch: AtomicU64,
}

impl Endpoint {
    pub(crate) fn new(address: Address) -> Self {
        // RFC 9113 section 8.3.1 wants an authority; a unix socket has none, and gRPC libraries say this.
        let authority = match &address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        let uri = |method| {
            format!("http://{authority}/prism.plugin.BackendPlugin/{method}").parse().unwrap_or_default()
        };
        Self {
            execute: uri("Execute"),
            execute_stream: uri("ExecuteStream"),
            address,
            epoch: AtomicU64::new(0),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn uri(&self, rpc: crate::Rpc) -> Uri {
        match rpc {
            crate::Rpc::Execute => self.execute.clone(),
            crate::Rpc::ExecuteStream => self.execute_stream.clone(),
        }
    }

    /// The plugin is up: workers may dial at once.
    pub(crate) fn is_up(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// This worker's way to the endpoint.
    pub(crate) fn upstream(self: &Arc<Self>, worker: &WorkerLocal) -> Rc<Upstream> {
        worker.slot(self, || Upstream {
            address: self.address.clone(),
            platform: worker.platform().clone(),
            spawner: worker.spawner(),
            state: RefCell::new(State::Idle),
            failures: Cell::new(0),
            active: Arc::default(),
            dialled: Notify::new(),
        })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.address)
    }
}

/// An open connection.
pub(crate) struct Connection {
    send: SendRequest<Bytes>,
    pub(crate) peer: Option<PeerIdentity>,
    closed: Cell<bool>,
}

impl Connection {
    /// A handle to send one call with.
    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.send.clone()
    }
}

enum State {
    Idle,
    Dialling,
    Open(Rc<Connection>),
    Failed { reason: String, until: Instant, epoch: u64 },
}

/// One worker's way to one endpoint.
pub(crate) struct Upstream {
    address: Address,
    platform: Platform,
    spawner: Spawner,
    state: RefCell<State>,
    /// Dials that failed in a row.
    failures: Cell<u32>,
    /// Calls under way or waiting.
    /// (Atomic only because answers are `Send`; the count never leaves the worker.)
    active: Arc<AtomicUsize>,
    dialled: Notify,
}

/// One call's place among the active ones.
pub(crate) struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstream {
    /// Takes a place for one call.
    pub(crate) fn admit(&self) -> Result<Admitted, ForwardError> {
        let active = self.active.load(Ordering::Relaxed);
        // What the peer takes at once does not wait. Asking for it costs a lock, so only when it matters.
        if active >= MAX_WAITING {
            let at_once = match &*self.state.borrow() {
                State::Open(connection) => connection.send.current_max_send_streams(),
                _ => 0,
            };
            if active - MAX_WAITING >= at_once {
                return Err(ForwardError::Overloaded(format!("{MAX_WAITING} for {}", self.address)));
            }
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        Ok(Admitted(Arc::clone(&self.active)))
    }

    /// The open connection, or the outcome of the dial that all callers share.
    pub(crate) async fn connection(self: &Rc<Self>, epoch: u64) -> Result<Rc<Connection>, ForwardError> {
        loop {
            let dialled = {
                let mut state = self.state.borrow_mut();
                match &*state {
                    State::Open(connection) if !connection.closed.get() => return Ok(Rc::clone(connection)),
                    State::Failed { reason, until, epoch: then }
                        if *then == epoch && Instant::now() < *until =>
                    {
                        return Err(ForwardError::Unavailable(reason.clone()));
                    }
                    State::Dialling => {}
                    State::Idle | State::Open(_) | State::Failed { .. } => {
                        *state = State::Dialling;
                        // A task of its own, so that the callers who wait may come and go.
                        self.spawner.spawn(Rc::clone(self).dial(epoch));
                    }
                }
                self.dialled.notified()
            };
            dialled.await;
        }
    }

    /// Forgets a connection that takes no more calls, unless it was replaced already. Calls under way on
    /// it go on.
    pub(crate) fn discard(&self, connection: &Rc<Connection>) {
        connection.closed.set(true);
        let mut state = self.state.borrow_mut();
        if matches!(&*state, State::Open(current) if Rc::ptr_eq(current, connection)) {
            *state = State::Idle;
        }
    }

    /// Dials, and then drives the connection until it ends.
    async fn dial(self: Rc<Self>, epoch: u64) {
        let outcome = dial(&self.platform, &self.address).await;
        let open = match outcome {
            Ok(Dialled { send, driver, peer }) => {
                self.failures.set(0);
                let connection = Rc::new(Connection { send, peer, closed: Cell::new(false) });
                *self.state.borrow_mut() = State::Open(Rc::clone(&connection));
                Some((driver, connection))
            }
            Err(reason) => {
                let failures = self.failures.get();
                self.failures.set(failures.saturating_add(1));
                let pause = LAST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(failures.min(8)));
                let until = Instant::now() + pause / 2 + self.platform.jitter(pause / 2);
                *self.state.borrow_mut() = State::Failed { reason, until, epoch };
                None
            }
        };
        self.dialled.notify_waiters();
        if let Some((driver, connection)) = open {
            let upstream = Rc::downgrade(&self);
            let connection = Rc::downgrade(&connection);
            // Else the driver would keep alive what it waits for to go.
            drop(self);
            if let Err(error) = driver.await {
                tracing::debug!(%error, "plugin connection ended");
            }
            if let (Some(upstream), Some(connection)) = (upstream.upgrade(), connection.upgrade()) {
                upstream.discard(&connection);
            }
        }
    }
}
