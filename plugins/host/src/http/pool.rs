//! One worker's HTTP/1.1 connections to a service: one request at a time on each, kept for the next one for a while.

use crate::{
    channel::ForwardError,
    upstream::{Backoff, MAX_WAITING, Target, within_deadline},
    worker::{Spawner, WorkerLocal},
};
use prism_platform::{
    Platform,
    time::{Instant, sleep_until},
};
use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

/// How long a connection without a request is kept. Below what servers keep theirs in common (nginx 75 s, Apache and Node
/// less): one that closes first is noticed, for an idle connection is read from.
const IDLE: Duration = Duration::from_secs(30);

/// Idle connections that a worker keeps to one service: past a burst, what stays is what a steady load needs.
const MOST_IDLE: usize = 32;

/// An HTTP/1.1 connection, as far as the pool knows it.
pub(super) trait Pooled: Sized + 'static {
    /// Connects. Without a deadline.
    ///
    /// # Errors
    /// Why there is no connection, without the address.
    fn dial(
        platform: &Platform,
        target: &Target,
    ) -> impl Future<Output = Result<(Self, impl Future<Output = ()> + 'static), String>>;

    /// It can take a request now.
    fn is_ready(&self) -> bool;

    /// It will never take another.
    fn is_closed(&self) -> bool;
}

struct Idle<C> {
    connection: C,
    generation: u64,
    idle_since: IdleSince,
}

/// Since when a connection has nothing to do; `None` while it has.
type IdleSince = Rc<Cell<Option<Instant>>>;

/// One worker's connections to a service.
pub(super) struct Pool<C> {
    target: Arc<Target>,
    platform: Platform,
    spawner: Spawner,
    idle: RefCell<Vec<Idle<C>>>,
    /// Open, idle ones too.
    open: Rc<Cell<usize>>,
    backoff: Backoff,
    failed: RefCell<Option<(Instant, String)>>,
}

/// When a request gets a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    /// When none is idle; of those that are, it gets the one that had something to do last.
    WhereNoneIsIdle,
    /// In any case: what ended one idle connection, as a restart does, has perhaps ended them all.
    Always,
}

/// A connection that has one request. It goes back to its pool by [`Pool::give_back`], or is closed when it is dropped.
pub(super) struct Lease<C> {
    pub(super) connection: C,
    /// It had a request before.
    pub(super) reused: bool,
    /// Of the certificates that it was opened with.
    generation: u64,
    idle_since: IdleSince,
}

impl<C: Pooled> Pool<C> {
    pub(super) fn new(worker: &WorkerLocal, target: &Arc<Target>) -> Self {
        Self {
            target: Arc::clone(target),
            platform: worker.platform().clone(),
            spawner: worker.spawner(),
            idle: RefCell::default(),
            open: Rc::default(),
            backoff: Backoff::default(),
            failed: RefCell::default(),
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failed.borrow().as_ref().is_some_and(|(until, _)| Instant::now() < *until)
    }

    /// A connection for one request.
    ///
    /// # Errors
    /// None can be had.
    pub(super) async fn lease(&self, dial: Dial) -> Result<Lease<C>, ForwardError> {
        if dial == Dial::WhereNoneIsIdle
            && let Some(Idle { connection, generation, idle_since }) = self.take_idle()
        {
            idle_since.set(None);
            return Ok(Lease { connection, reused: true, generation, idle_since });
        }
        if let Some((until, reason)) = &*self.failed.borrow()
            && Instant::now() < *until
        {
            return Err(ForwardError::Unavailable(reason.clone()));
        }
        if self.open.get() >= MAX_WAITING {
            return Err(ForwardError::Overloaded(format!("{MAX_WAITING} for {}", self.target)));
        }
        let place = Place::take(&self.open);
        // Read first: should they be renewed meanwhile, the connection has one request, which does no harm.
        let generation = self.target.generation();
        match within_deadline(&self.target, C::dial(&self.platform, &self.target)).await {
            Ok((connection, driver)) => {
                self.backoff.reset(&self.target);
                *self.failed.borrow_mut() = None;
                let idle_since = IdleSince::default();
                self.spawner.spawn(drive(driver, Rc::clone(&idle_since), place));
                Ok(Lease { connection, reused: false, generation, idle_since })
            }
            Err(reason) => {
                let until = self.backoff.failed(&self.platform);
                self.backoff.tell(&reason);
                *self.failed.borrow_mut() = Some((until, reason.clone()));
                Err(ForwardError::Unavailable(reason))
            }
        }
    }

    fn take_idle(&self) -> Option<Idle<C>> {
        let mut idle = self.idle.borrow_mut();
        self.sort_out(&mut idle);
        let at = idle.iter().rposition(|idle| idle.connection.is_ready())?;
        Some(idle.remove(at))
    }

    /// Keeps a connection whose request is over. It may take a moment until it is ready for another.
    pub(super) fn give_back(&self, lease: Lease<C>) {
        let Lease { connection, generation, idle_since, .. } = lease;
        let mut idle = self.idle.borrow_mut();
        idle_since.set(Some(Instant::now()));
        idle.push(Idle { connection, generation, idle_since });
        self.sort_out(&mut idle);
        idle.truncate(MOST_IDLE);
    }

    /// Closes those that are over, and those that were opened with certificates that have been renewed since: the other side
    /// would perhaps not be taken any more.
    fn sort_out(&self, idle: &mut Vec<Idle<C>>) {
        let generation = self.target.generation();
        idle.retain(|idle| idle.generation == generation && !idle.connection.is_closed());
    }
}

/// Counts a connection for as long as it is open.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Moves a connection until it ends, or has been idle for too long.
async fn drive(driver: impl Future<Output = ()>, idle_since: IdleSince, place: Place) {
    let mut driver = pin!(driver);
    let mut timer = pin!(sleep_until(Instant::now() + IDLE));
    poll_fn(|cx| {
        if driver.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let until = idle_since.get().unwrap_or(now) + IDLE;
            if until <= now {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await;
    drop(place);
}
