//! One connection and all its calls, in one loop.
//!
//! A turn reads what there is, begins every new call and polls it at once, polls the calls that woke, and goes
//! round until nothing moves; then all that is to be said leaves in one write. A call that is ready at once is
//! never stored anywhere.

use super::{
    Server,
    call::{Call, Shared, Step},
    timers::Timers,
    wake::Woken,
};
use crate::server::outcome::{self, FIRST_MESSAGE};
use prism_plugin_frames::{Accepted, CallId, Config, ConnectionError, Reason, ServerSession};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

/// How long a client may take to follow its preface with SETTINGS. It sends both at once.
const GREETING: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what is there for it, before it is given up: a proxy reads all the
/// time, whatever becomes of its calls.
const STALL: Duration = Duration::from_secs(60);

/// Calls whose answer the socket does not take yet, before no new ones are read. What is held for a client that
/// does not read is bounded by it, and one large answer does not hold others up.
const UNSENT: usize = 256;

/// Rounds in a turn: a plugin that wakes itself all the time must let others on its thread have theirs.
const ROUNDS: usize = 16;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client is gone.
    Lost,
    /// From this side: there is something to be said before it is closed.
    Closing,
}

/// What becomes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The client has said nothing intelligible yet.
    Greeting,
    /// Nothing was written since: how far the stream of bytes was.
    Stall(u64),
    /// A call's deadline.
    Deadline { place: usize, serial: u64 },
    /// A stream's first message.
    FirstMessage { place: usize, serial: u64 },
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection's state.
pub(super) struct Connection {
    shared: Shared,
    /// By the number of the call on the wire: calls that did not end at once.
    calls: Vec<Option<Call>>,
    /// Of `calls`, those that are there.
    running: usize,
    woken: Woken,
    /// Those that woke, while they are polled.
    turn: Vec<u32>,
    timers: Timers<Due>,
    /// Calls so far.
    serial: u64,
    /// The socket took nothing since.
    stalled: Option<u64>,
    draining: Option<Signal>,
    cut: Option<Signal>,
}

impl Connection {
    pub(super) fn new(server: &Server, draining: Signal, cut: Signal) -> Self {
        let mut timers = Timers::new();
        timers.insert(Instant::now() + GREETING, Due::Greeting, |_| true);
        Self {
            shared: Shared {
                session: ServerSession::new(Config::default()),
                plugin: server.plugin.clone(),
                max_message_bytes: server.max_message_bytes,
            },
            calls: Vec::new(),
            running: 0,
            woken: Woken::new(),
            turn: Vec::new(),
            timers,
            serial: 0,
            stalled: None,
            draining: Some(draining),
            cut: Some(cut),
        }
    }

    /// Moves everything along. Ready when the connection is over; every call on it is, then.
    pub(super) fn poll<Io: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Ended> {
        for _ in 0..ROUNDS {
            self.woken.begin();
            let reading = self.poll_read(cx, io);
            self.work();
            let writing = self.shared.session.poll_write(cx, io);
            self.watch(writing.is_pending());
            self.poll_signals(cx);
            let overdue = self.poll_timers(cx);
            let ended = match (&reading, &writing) {
                (Poll::Ready(Err(ConnectionError::Protocol(_))), _) => Some(Ended::Closing),
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Some(Ended::Lost),
                _ if self.is_drained() => Some(Ended::Closing),
                _ => overdue,
            };
            if let Some(ended) = ended {
                self.calls.clear();
                return Poll::Ready(ended);
            }
            if reading.is_pending() && self.woken.poll_rest(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is queued; ready when that is done, or cannot be.
    pub(super) fn poll_flush<Io: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<()> {
        self.shared.session.poll_write(cx, io).map(drop)
    }

    /// Reads, begins the calls that arrived, and ends those that were given up. Pending too while the client
    /// does not take its answers.
    fn poll_read<Io: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Result<(), ConnectionError>> {
        let session = &mut self.shared.session;
        if self.stalled.is_some() && session.open_calls() > self.running + UNSENT {
            return Poll::Pending;
        }
        let read = session.poll_read(cx, io);
        // Asking for the time costs as much as all else that is done for a small call.
        let mut clock = None;
        while let Some(accepted) = self.shared.session.accept() {
            self.begin(accepted, &mut clock);
        }
        while let Some(id) = self.shared.session.next_cancelled() {
            // Every accepted call that is not finished is in its place.
            if let Some(call) = self.remove(id.index()) {
                call.fail(&mut self.shared, outcome::given_up());
            }
        }
        read
    }

    fn begin(&mut self, accepted: Accepted, clock: &mut Option<Instant>) {
        let id = accepted.id;
        let timeout = accepted.head.timeout;
        let deadline =
            timeout.and_then(|timeout| clock.get_or_insert_with(Instant::now).checked_add(timeout));
        self.serial += 1;
        let serial = self.serial;
        let mut cx = Context::from_waker(self.woken.waker(index(id)));
        let Some(call) = Call::begin(accepted, deadline, serial, &mut self.shared, &mut cx) else { return };
        let place = id.index();
        let waits = call.waits_for_first_message();
        if self.calls.len() <= place {
            self.calls.resize_with(place + 1, || None);
        }
        self.calls[place] = Some(call);
        self.running += 1;
        if let Some(at) = deadline {
            self.due(at, Due::Deadline { place, serial });
        }
        if waits {
            self.due(Instant::now() + FIRST_MESSAGE, Due::FirstMessage { place, serial });
        }
    }

    fn remove(&mut self, place: usize) -> Option<Call> {
        let call = self.calls.get_mut(place)?.take()?;
        self.running -= 1;
        Some(call)
    }

    /// Polls the calls that woke, and those that woke by that.
    fn work(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        for _ in 0..ROUNDS {
            self.woken.take(&mut turn);
            if turn.is_empty() {
                break;
            }
            for index in turn.drain(..) {
                let place = index as usize;
                let Some(Some(call)) = self.calls.get_mut(place) else { continue };
                let mut cx = Context::from_waker(self.woken.waker(index));
                if call.step(&mut self.shared, &mut cx) == Step::Done {
                    self.remove(place);
                }
            }
        }
        self.turn = turn;
    }

    /// Looks whether the client takes what there is for it.
    fn watch(&mut self, waiting: bool) {
        let written = waiting.then(|| self.shared.session.bytes_written());
        if written == self.stalled {
            return;
        }
        self.stalled = written;
        if let Some(written) = written {
            self.due(Instant::now() + STALL, Due::Stall(written));
        }
    }

    /// What is done here after the turn's write wakes the task, by the session.
    fn poll_signals(&mut self, cx: &mut Context<'_>) {
        if let Some(draining) = &mut self.draining {
            if draining.as_mut().poll(cx).is_pending() {
                return;
            }
            self.draining = None;
            self.shared.session.goaway(Reason::Drain, "the plugin is stopping");
        }
        if let Some(cut) = &mut self.cut {
            if cut.as_mut().poll(cx).is_pending() {
                return;
            }
            self.cut = None;
            for call in self.calls.drain(..).flatten() {
                call.fail(&mut self.shared, outcome::stopping());
            }
            self.running = 0;
        }
    }

    /// The goodbye is said, and nobody waits for anything.
    fn is_drained(&self) -> bool {
        self.draining.is_none() && self.stalled.is_none() && self.shared.session.open_calls() == 0
    }

    fn due(&mut self, at: Instant, what: Due) {
        let Self { timers, calls, stalled, shared, .. } = self;
        timers.insert(at, what, |due| lives(due, calls, *stalled, &shared.session));
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        loop {
            let Self { timers, calls, stalled, shared, .. } = self;
            let due = timers.poll_due(cx, |due| lives(due, calls, *stalled, &shared.session));
            let (place, error) = match due {
                Poll::Pending => return None,
                Poll::Ready(Due::Greeting | Due::Stall(_)) => return Some(Ended::Lost),
                Poll::Ready(Due::Deadline { place, .. }) => (place, outcome::overdue()),
                Poll::Ready(Due::FirstMessage { place, .. }) => (place, outcome::first_message_late()),
            };
            if let Some(call) = self.remove(place) {
                call.fail(&mut self.shared, error);
            }
        }
    }
}

/// What becomes due still matters.
fn lives(due: Due, calls: &[Option<Call>], stalled: Option<u64>, session: &ServerSession) -> bool {
    let at = |place: usize, serial| {
        calls.get(place).and_then(Option::as_ref).filter(|call: &&Call| call.serial == serial)
    };
    match due {
        Due::Greeting => !session.is_established(),
        Due::Stall(written) => stalled == Some(written),
        Due::Deadline { place, serial } => at(place, serial).is_some(),
        Due::FirstMessage { place, serial } => at(place, serial).is_some_and(Call::waits_for_first_message),
    }
}

/// A call's number on the wire, where it has 32 bits.
fn index(id: CallId) -> u32 {
    u32::try_from(id.index()).unwrap_or(u32::MAX)
}
