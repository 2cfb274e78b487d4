//! A connection that carries frames: its handshake, and the one task that reads and writes it.

use super::{call, liveness::Liveness};
use crate::{
    channel::{Rpc, WireBody, WireReply},
    upstream::{
        Admitted, CallCarrier, Carrier, Closed, Connection, Dialled, Failed, PeerIdentity, Target, Who,
    },
};
use prism_platform::{Io, Platform, time};
use prism_plugin_abi::CallContext;
use prism_plugin_frames::{ClientSession, Config, ConnectionError, Reason};
use prism_tls::alpn;
use std::{
    cell::{Cell, RefCell, RefMut},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// What a peer that broke the protocol is given to take the reason. It may have stopped reading.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A connection's state, shared by its driver and its calls, all on one worker. Nobody holds a borrow across an
/// await, and what a session wakes runs later.
pub(super) struct Shared {
    session: RefCell<ClientSession>,
    /// No new calls come: it ends with those that are open.
    leaving: Cell<bool>,
}

impl Shared {
    fn new(session: ClientSession) -> Self {
        Self { session: RefCell::new(session), leaving: Cell::new(false) }
    }

    pub(super) fn session(&self) -> RefMut<'_, ClientSession> {
        self.session.borrow_mut()
    }
}

/// Prism frames, as one open connection. Dropping it closes it once its calls are over.
pub(crate) struct Frames {
    shared: Rc<Shared>,
}

impl Frames {
    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.shared.leaving.set(true);
        // Tells the driver too.
        self.shared.session().goaway(Reason::Drain, "");
    }
}

impl Carrier for Frames {
    async fn handshake(platform: &Platform, target: &Target) -> Result<Dialled<Self>, String> {
        let mut io = target.connect(platform, alpn::FRAMES, Who::Worker).await?;
        let peer = PeerIdentity::of(&io);
        let mut session = ClientSession::new(Config::default());
        poll_fn(|cx| greet(&mut session, &mut io, cx)).await?;
        let shared = Rc::new(Shared::new(session));
        let driver = Box::pin(drive(io, Rc::clone(&shared)));
        Ok(Dialled { carrier: Self { shared }, peer, driver })
    }

    fn takes_calls(&self) -> bool {
        !self.shared.session().is_going_away()
    }

    fn at_once(&self) -> usize {
        self.shared.session().max_calls()
    }
}

impl CallCarrier for Frames {
    async fn attempt(
        connection: Rc<Connection<Self>>,
        rpc: Rpc,
        context: &CallContext,
        admitted: &mut Option<Admitted>,
        body: WireBody,
    ) -> Result<WireReply, Failed> {
        call::attempt(connection, rpc, context, admitted, body).await
    }
}

/// Exchanges prefaces and SETTINGS.
fn greet(session: &mut ClientSession, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
    let read = session.poll_read(cx, io);
    let written = session.poll_write(cx, io);
    if session.is_established() {
        // Calls would wait for a place that never comes.
        return Poll::Ready(match session.max_calls() {
            0 => Err("its SETTINGS allow no call (max_calls 0)".to_owned()),
            _ => Ok(()),
        });
    }
    let problem = match (read, written) {
        (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => error,
        (Poll::Ready(Ok(())), _) => {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        (Poll::Pending, _) => return Poll::Pending,
    };
    Poll::Ready(Err(match problem {
        ConnectionError::Closed => "it closed the connection at once".to_owned(),
        error => format!("it does not speak frames/1: {}", describe(&error)),
    }))
}

/// An error with its cause.
fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Io(source) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

/// Reads and writes until the connection is over. Calls only queue, and wake this task; on the worker's queue it
/// stands behind everything that is ready now, so what all of that queued leaves in one write.
async fn drive(mut io: Io, shared: Rc<Shared>) -> Closed {
    let mut liveness = Liveness::default();
    let error = poll_fn(|cx| turn(&mut io, &shared, &mut liveness, cx)).await;
    match error {
        None => Closed::Ended("closed in good order".to_owned()),
        Some(ConnectionError::Protocol(error)) => {
            // The session has queued a GOAWAY with the reason.
            let last_words = poll_fn(|cx| shared.session().poll_write(cx, &mut io));
            drop(time::timeout(LAST_WORDS, last_words).await);
            Closed::Violated(error.to_string())
        }
        Some(error) => Closed::Ended(describe(&error)),
    }
}

/// One turn. Ready when the connection is over: with an error, or because nobody needs it any more.
fn turn(
    io: &mut Io,
    shared: &Shared,
    liveness: &mut Liveness,
    cx: &mut Context<'_>,
) -> Poll<Option<ConnectionError>> {
    let mut session = shared.session();
    match session.poll_read(cx, io) {
        Poll::Ready(Err(error)) => return Poll::Ready(Some(error)),
        // There may be more, but the calls that this was for have their turn first.
        Poll::Ready(Ok(())) => cx.waker().wake_by_ref(),
        Poll::Pending => {}
    }
    if liveness.poll(&mut session, cx).is_ready() {
        return Poll::Ready(Some(ConnectionError::Closed));
    }
    if let Poll::Ready(Err(error)) = session.poll_write(cx, io) {
        return Poll::Ready(Some(error));
    }
    // Whatever is not written then concerns no call, and a peer that does not read would hold it up for ever.
    let over = (shared.leaving.get() || session.is_going_away()) && session.open_calls() == 0;
    if over { Poll::Ready(None) } else { Poll::Pending }
}
