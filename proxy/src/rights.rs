//! Rights that end: whoever has a call under way is looked at again when the configuration changes, when something that
//! filters go by changes, and when a credential ends. Each worker looks after its own.

use crate::{
    edge::Edge,
    snapshot::{Place, Route},
};
use bytestring::ByteString;
use prism_filters::{
    Caller, Changes, Held, Rejection, RequestContext,
    authz::{Approval, Wanted},
};
use prism_platform::time::{Instant, sleep};
use prism_tls::ClientIdentity;
use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;

/// How often a worker looks whether something has changed: what has to end ends well within a second.
const INTERVAL: Duration = Duration::from_millis(250);

/// What decided over a call when it was let in: how often that had changed by then, the configuration included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Basis(u64);

struct Seat {
    waker: Waker,
    expires: Option<Instant>,
    /// It has to be looked at again.
    is_due: bool,
}

/// A worker's calls that can end early.
pub(crate) struct Rights {
    changes: Changes,
    seats: RefCell<Vec<Option<Seat>>>,
    free: RefCell<Vec<usize>>,
    taken: Notify,
}

impl Rights {
    pub(crate) fn new(changes: &Changes) -> Self {
        Self {
            changes: changes.clone(),
            seats: RefCell::default(),
            free: RefCell::default(),
            taken: Notify::new(),
        }
    }

    /// What decides over a call that arrives now. To be asked before anything of it is read, the snapshot too: a change that
    /// comes in between is then one too many, and never one too few.
    pub(crate) fn now(&self) -> Basis {
        Basis(self.changes.count())
    }

    /// Looks whether something has changed, for as long as the worker runs.
    pub(crate) async fn look_after(&self) {
        let mut last = self.now();
        loop {
            while self.free.borrow().len() == self.seats.borrow().len() {
                self.taken.notified().await;
            }
            sleep(INTERVAL).await;
            let (basis, now) = (self.now(), Instant::now());
            for seat in self.seats.borrow_mut().iter_mut().flatten() {
                if basis != last || seat.expires.is_some_and(|expires| expires <= now) {
                    seat.is_due = true;
                    seat.waker.wake_by_ref();
                }
            }
            last = basis;
        }
    }

    fn take(&self, seat: Seat) -> usize {
        let at = self.free.borrow_mut().pop();
        let mut seats = self.seats.borrow_mut();
        self.taken.notify_one();
        match at {
            Some(at) => {
                seats[at] = Some(seat);
                at
            }
            None => {
                seats.push(Some(seat));
                seats.len() - 1
            }
        }
    }

    fn leave(&self, at: usize) {
        self.seats.borrow_mut()[at] = None;
        self.free.borrow_mut().push(at);
    }

    /// The one at `at` has to be looked at.
    fn call_up(&self, at: usize) {
        if let Some(seat) = &mut self.seats.borrow_mut()[at] {
            seat.is_due = true;
        }
    }

    /// Whether the one at `at` has to be looked at; it is woken when that changes.
    fn is_due(&self, at: usize, waker: &Waker) -> bool {
        let mut seats = self.seats.borrow_mut();
        let Some(seat) = &mut seats[at] else { return false };
        if !seat.waker.will_wake(waker) {
            seat.waker.clone_from(waker);
        }
        std::mem::take(&mut seat.is_due)
    }
}

/// A call's seat. Given up when it is dropped.
pub(crate) struct Seated {
    edge: Rc<Edge>,
    at: usize,
}

impl Seated {
    /// Whether a call by `caller`, let in by `basis`, has to be looked at again. It is woken when that changes. The first time, it
    /// takes its seat.
    pub(crate) fn is_due(
        seat: &mut Option<Self>,
        edge: &Rc<Edge>,
        basis: Basis,
        caller: Option<&Caller>,
        waker: &Waker,
    ) -> bool {
        let rights = edge.rights();
        if let Some(seat) = seat {
            return rights.is_due(seat.at, waker);
        }
        let expires = caller.and_then(Caller::expires);
        let at = rights.take(Seat { waker: waker.clone(), expires, is_due: false });
        *seat = Some(Self { edge: Rc::clone(edge), at });
        // Something may have changed before it sat down.
        rights.now() != basis
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.edge.rights().leave(self.at);
    }
}

/// A call under way, as it was let in.
pub(crate) struct Right {
    edge: Rc<Edge>,
    place: Option<Arc<Place>>,
    basis: Basis,
    caller: Option<Caller>,
    namespace: ByteString,
    operation: Option<ByteString>,
    wanted: Wanted,
    client: Option<Arc<ClientIdentity>>,
    approval: Option<Approval>,
    is_answering: bool,
    is_held_back: bool,
    seat: Option<Seated>,
}

impl Right {
    /// What `cx`'s call was let in by, with the seat that it has taken.
    pub(crate) fn new(
        edge: &Rc<Edge>,
        place: Option<&Arc<Place>>,
        basis: Basis,
        cx: &RequestContext,
        seat: Option<Seated>,
    ) -> Self {
        Self {
            edge: Rc::clone(edge),
            place: place.cloned(),
            basis,
            caller: cx.caller().cloned(),
            namespace: cx.namespace().clone(),
            operation: cx.known_operation().cloned(),
            wanted: cx.wanted().clone(),
            client: cx.client().cloned(),
            approval: cx.approval(),
            is_answering: false,
            is_held_back: false,
            seat,
        }
    }

    /// The same of a call of which nothing has been done, because its client holds something of it back.
    pub(crate) fn while_it_is_held_back(mut self) -> Self {
        self.is_held_back = true;
        self
    }

    /// The same of a call whose answer begins.
    pub(crate) fn while_it_answers(mut self) -> Self {
        self.is_answering = true;
        let rights = self.edge.rights();
        if let Some(seat) = &self.seat
            && rights.now() != self.basis
        {
            // What changed while it was awaited may mean more to a call that can go on for ever.
            rights.call_up(seat.at);
        }
        self
    }

    /// Ready when the call must end. Woken when it is to be asked again.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        let due = Seated::is_due(&mut self.seat, &self.edge, self.basis, self.caller.as_ref(), cx.waker());
        match due.then(|| self.recheck()) {
            Some(Err(rejection)) => Poll::Ready(rejection),
            Some(Ok(())) | None => Poll::Pending,
        }
    }

    /// What would decide over it now.
    pub(crate) fn now(&self) -> Basis {
        self.edge.rights().now()
    }

    /// Asks again, by what is now.
    ///
    /// # Errors
    /// It would not be let in any more.
    pub(crate) fn recheck(&self) -> Result<(), Rejection> {
        let current = self.edge.current();
        let (snapshot, listener) = self.edge.here(&current);
        let route = self.place.as_ref().and_then(|place| listener.routes().same(place));
        let namespace = snapshot.namespace(&self.namespace);
        let guarded = namespace.and_then(|namespace| namespace.guarded());
        let wanted = match &self.wanted {
            Wanted::Forward(_) => {
                Wanted::Forward(route.and_then(Route::forward).and_then(|forward| forward.policy().cloned()))
            }
            wanted => wanted.clone(),
        };
        let held = Held {
            caller: self.caller.as_ref(),
            namespace: &self.namespace,
            operation: self.operation.as_ref(),
            wanted: &wanted,
            guarded: guarded.as_deref(),
            exists: namespace.is_some(),
            client: self.client.as_ref(),
            is_answering: self.is_answering,
            is_held_back: self.is_held_back,
            approval: self.approval,
        };
        let chain = route.map_or(listener.default_chain(), |route| route.chain());
        chain.iter().try_for_each(|filter| filter.recheck(&held))
    }
}
