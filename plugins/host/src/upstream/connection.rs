//! A worker's connection to a plugin: dialled when first needed, shared by all of the worker's calls,
//! replaced when it is gone.

use super::{Backoff, Carrier, Closed, Dialled, PeerIdentity, Target, endpoint::Shared, within_deadline};
use crate::{
    channel::ForwardError,
    worker::{Spawner, WorkerLocal},
};
use prism_platform::{Platform, time::Instant};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// Calls that may wait on one worker for one plugin, for a connection or for a stream on it. Past that, a
/// quick refusal serves the caller better than a place in the queue.
pub(crate) const MAX_WAITING: usize = 1024;

/// Dials whose outcome a call waits for while each connection is over before the call has its turn. Two: the
/// first may be to a process on its way out.
const DIALS: u32 = 2;

/// An open connection.
pub(crate) struct Connection<C> {
    pub(crate) carrier: C,
    pub(crate) peer: Option<PeerIdentity>,
    target: Arc<Target>,
    /// Of the certificates that it was opened with.
    generation: u64,
    closed: Cell<bool>,
}

impl<C: Carrier> Connection<C> {
    fn takes_calls(&self) -> bool {
        !self.closed.get() && self.generation == self.target.generation() && self.carrier.takes_calls()
    }

    /// It takes no more calls: the next one dials. Calls under way on it go on.
    pub(crate) fn close(&self) {
        self.closed.set(true);
    }
}

enum State<C> {
    Idle,
    Dialling,
    Open(Rc<Connection<C>>),
    Failed { reason: String, until: Instant, epoch: u64 },
}

/// One worker's way to one endpoint.
pub(crate) struct Upstream<C> {
    target: Arc<Target>,
    shared: Arc<Shared>,
    platform: Platform,
    spawner: Spawner,
    state: RefCell<State<C>>,
    backoff: Backoff,
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

impl<C: Carrier> Upstream<C> {
    pub(crate) fn new(worker: &WorkerLocal, target: &Arc<Target>, shared: &Arc<Shared>) -> Self {
        Self {
            target: Arc::clone(target),
            shared: Arc::clone(shared),
            platform: worker.platform().clone(),
            spawner: worker.spawner(),
            state: RefCell::new(State::Idle),
            backoff: Backoff::default(),
            active: Arc::default(),
            dialled: Notify::new(),
        }
    }

    /// Takes a place for one call.
    pub(crate) fn admit(&self) -> Result<Admitted, ForwardError> {
        let active = self.active.load(Ordering::Relaxed);
        // What the peer takes at once does not wait. Asking for it costs a lock, so only when it matters.
        if active >= MAX_WAITING {
            let at_once = match &*self.state.borrow() {
                State::Open(connection) => connection.carrier.at_once(),
                _ => 0,
            };
            if active - MAX_WAITING >= at_once {
                return Err(ForwardError::Overloaded(format!("{MAX_WAITING} for {}", self.target)));
            }
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        Ok(Admitted(Arc::clone(&self.active)))
    }

    /// Calls under way or waiting, and whether it cannot be connected to just now.
    pub(crate) fn load(&self) -> (usize, bool) {
        let failing = matches!(&*self.state.borrow(), State::Failed { until, epoch, .. }
            if *epoch == self.shared.epoch() && Instant::now() < *until);
        (self.active.load(Ordering::Relaxed), failing)
    }

    #[cfg(test)]
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// The open connection, if there is one.
    pub(crate) fn open(&self) -> Option<Rc<Connection<C>>> {
        match &*self.state.borrow() {
            State::Open(connection) if connection.takes_calls() => Some(Rc::clone(connection)),
            _ => None,
        }
    }

    /// The open connection, or the outcome of the dial that all callers share.
    pub(crate) async fn connection(self: &Rc<Self>) -> Result<Rc<Connection<C>>, ForwardError> {
        let epoch = self.shared.epoch();
        let mut waited = 0;
        loop {
            let dialled = {
                let mut state = self.state.borrow_mut();
                match &*state {
                    State::Open(connection) if connection.takes_calls() => return Ok(Rc::clone(connection)),
                    State::Failed { reason, until, epoch: then }
                        if *then == epoch && Instant::now() < *until =>
                    {
                        return Err(ForwardError::Unavailable(reason.clone()));
                    }
                    _ if waited == DIALS => {
                        let reason = "it closes its connections as soon as they are open";
                        return Err(ForwardError::Unavailable(format!("{}: {reason}", self.target)));
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
            waited += 1;
        }
    }

    /// Forgets a connection that takes no more calls, unless it was replaced already. Calls under way on
    /// it go on.
    pub(crate) fn discard(&self, connection: &Rc<Connection<C>>) {
        connection.close();
        let mut state = self.state.borrow_mut();
        if matches!(&*state, State::Open(current) if Rc::ptr_eq(current, connection)) {
            *state = State::Idle;
        }
    }

    /// Dials, and then drives the connection until it ends.
    async fn dial(self: Rc<Self>, epoch: u64) {
        // Read first: should they be renewed meanwhile, the connection is replaced, which does no harm.
        let generation = self.target.generation();
        let handshake = C::handshake(&self.platform, &self.target);
        let open = match within_deadline(&self.target, handshake).await {
            Ok(Dialled { carrier, peer, driver }) => {
                self.backoff.reset(&self.target);
                let connection = Rc::new(Connection {
                    carrier,
                    peer,
                    target: Arc::clone(&self.target),
                    generation,
                    closed: Cell::new(false),
                });
                *self.state.borrow_mut() = State::Open(Rc::clone(&connection));
                Some((driver, connection))
            }
            Err(mut reason) => {
                let until = self.backoff.failed(&self.platform);
                if C::UNWATCHED {
                    // What a service of plain HTTP makes of HTTP/2.
                    if ["does not speak HTTP/2", "closed the connection"]
                        .iter()
                        .any(|end| reason.contains(end))
                    {
                        reason.push_str(" (a target of HTTP/1.1 is written with `protocol: http1`)");
                    }
                    self.backoff.tell(&reason);
                }
                *self.state.borrow_mut() = State::Failed { reason, until, epoch };
                None
            }
        };
        self.dialled.notify_waiters();
        if let Some((driver, connection)) = open {
            let (upstream, weak) = (Rc::downgrade(&self), Rc::downgrade(&connection));
            let (shared, address) = (Arc::clone(&self.shared), Arc::clone(&self.target));
            // Else the driver would keep alive what it waits for to go.
            drop((self, connection));
            match driver.await {
                Closed::Ended(reason) => tracing::debug!(%address, reason, "a connection ended"),
                Closed::Violated(reason) => {
                    shared.count_violation();
                    tracing::warn!(%address, reason, "the peer broke the protocol, its connection was closed");
                }
            }
            if let (Some(upstream), Some(connection)) = (upstream.upgrade(), weak.upgrade()) {
                upstream.discard(&connection);
            }
        }
    }
}
