//! The side that opens calls: the proxy's.

use super::{
    link::Link,
    outbox::QUEUE,
    slot::{Begun, CallId, Finish, Outcome, Phase, Slot, register, wake},
    table::Table,
};
use crate::{
    CallHead,
    control::{CancelReason, Config, GoAway, Reason},
    decoder::{COPY, Sink},
    end::End,
    error::{Broken, ConnectionError, OpenError, ProtocolError, Stopped},
    frame::{self, Frame},
    wire::{Kind, MAX_HEAD},
};
use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::Payload;
use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll, Waker, ready},
};
use tokio::io::{AsyncRead, AsyncWrite};

/// Callers that may wait for room. More of them than calls that any server takes would only find out later that
/// there is none.
const WAITERS: usize = 16 << 10;

/// What a client's call tells its caller.
#[derive(Debug)]
pub enum ClientEvent {
    /// The answer has begun, and there are no bytes of it yet: what gRPC says with response headers. Not said
    /// where bytes or the end come first.
    Opened,
    /// Bytes of the answer; never empty.
    Data(Bytes),
    /// The call is over; its handle names nothing any more.
    End(End),
    /// The connection takes the call no further; its handle names nothing any more.
    Broken(Broken),
}

/// A connection's state on the side that opens calls.
///
/// One owner drives it with [`ClientSession::poll_read`] and then [`ClientSession::poll_write`], each turn in this
/// order; calls in between only queue, and wake the driver once. Nothing in it blocks, waits or allocates per
/// call beyond what payloads need.
#[derive(Debug)]
pub struct ClientSession {
    link: Link,
    table: Table,
    /// Calls opened so far.
    opens: u64,
    waiters: VecDeque<Waker>,
}

impl ClientSession {
    /// A session that has not seen its server. `config.max_calls` means nothing here: the server's counts.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let config = config.bounded();
        let mut link = Link::new(&config);
        link.greet(&config.settings());
        Self { link, table: Table::new(config), opens: 0, waiters: VecDeque::new() }
    }

    /// Whether the server's SETTINGS are here: calls may be opened.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.link.peer.is_some()
    }

    /// How many calls the server takes at once; 0 before it said so.
    #[must_use]
    pub fn max_calls(&self) -> usize {
        self.link.peer.as_ref().map_or(0, |peer| peer.max_calls as usize)
    }

    /// Calls that hold an id.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.table.open
    }

    /// Whether the connection takes no new calls: the server announced its end, or it is over. With
    /// [`ClientSession::open_calls`] at 0 it may be closed.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.link.goaway.is_some() || self.link.closed.is_some()
    }

    /// Frames received so far: a sign of life.
    #[must_use]
    pub fn frames_received(&self) -> u64 {
        self.link.received()
    }

    /// Asks the server whether it is alive; nothing happens while an answer is due.
    pub fn ping(&mut self) {
        self.link.ping();
    }

    /// Whether the answer to a ping is due. It stands behind what the server had queued before.
    #[must_use]
    pub fn is_ping_outstanding(&self) -> bool {
        self.link.is_ping_outstanding()
    }

    /// Room for one more call. It is nobody's until [`ClientSession::open`].
    ///
    /// # Errors
    /// [`OpenError::GoAway`], [`OpenError::Closed`]; [`OpenError::Overloaded`] when 16,384 callers are waiting.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OpenError>> {
        match self.check_room() {
            Err(OpenError::Full) if self.waiters.len() >= WAITERS => Poll::Ready(Err(OpenError::Overloaded)),
            Err(OpenError::Full) => {
                self.waiters.push_back(cx.waker().clone());
                // The driver tells waiters; it must know of them.
                self.link.notify();
                Poll::Pending
            }
            room => Poll::Ready(room),
        }
    }

    fn check_room(&self) -> Result<(), OpenError> {
        if let Some(reason) = &self.link.closed {
            return Err(OpenError::Closed(reason.clone()));
        }
        if self.link.goaway.is_some() {
            return Err(OpenError::GoAway);
        }
        if self.table.open >= self.max_calls() || !self.link.outbox.has_room() {
            return Err(OpenError::Full);
        }
        Ok(())
    }

    /// Opens a call. A body of at most 4 KiB travels in the first frame if the server's initial credit allows
    /// it; what there is no credit for waits in the session. `last`: the body is complete.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was sent.
    pub fn open(&mut self, head: &CallHead<'_>, body: Payload, last: bool) -> Result<CallId, OpenError> {
        self.check_room()?;
        let head_length = head.encoded_len();
        if head_length > MAX_HEAD {
            return Err(OpenError::HeadTooLarge(head_length));
        }
        let credit = self.link.peer.as_ref().map_or(0, |peer| peer.initial_credit);
        let index = self.table.next_free();
        let id = self.table.begin(index, Phase::Open, credit);
        let count = body.len();
        let now = count <= COPY && count <= credit as usize;
        let position = self.link.outbox.position();
        let data = if now { count } else { 0 };
        self.link.outbox.stage(|to| frame::open(to, index, head, data, last && now));
        if now {
            self.link.outbox.push_small(&body);
        }
        if let Some(slot) = self.table.get(id) {
            slot.number = self.opens;
            slot.position = position;
            slot.credit -= data as u32;
            if last {
                slot.finish = if now { Finish::Sent } else { Finish::HalfClose };
            }
            if !now {
                slot.unsent = body;
                self.table.ring(index);
            }
        }
        self.opens += 1;
        self.link.notify();
        Ok(id)
    }

    /// How many bytes the call takes now: within the server's credit, and within what the session keeps ahead of
    /// the socket. Pending while that is none.
    ///
    /// # Errors
    /// [`Stopped`]: the call takes no more; its reader says why.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, id: CallId) -> Poll<Result<usize, Stopped>> {
        match self.table.get(id) {
            Some(slot) if slot.outcome.is_none() => self.table.poll_capacity(cx, id),
            _ => Poll::Ready(Err(Stopped)),
        }
    }

    /// Hands in bytes of the call's body; `last` ends it. Who sends more than
    /// [`ClientSession::poll_capacity`] said has the rest kept in the session until there is credit for it.
    ///
    /// # Errors
    /// [`Stopped`]: the call takes no more; its reader says why.
    pub fn send(&mut self, id: CallId, data: impl Into<Payload>, last: bool) -> Result<(), Stopped> {
        match self.table.get(id) {
            Some(slot) if slot.outcome.is_none() => {
                let finish = if last { Finish::HalfClose } else { Finish::No };
                self.table.send(id, data.into(), finish, &mut self.link)
            }
            _ => Err(Stopped),
        }
    }

    /// What the call has for its caller. Taking data lets the server send more; not taking any stops only this
    /// call. After [`ClientEvent::End`] or [`ClientEvent::Broken`] the handle names nothing; asked again, it
    /// says `Broken`.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>, id: CallId) -> Poll<ClientEvent> {
        if let Some(data) = self.table.take(id, &mut self.link) {
            return Poll::Ready(ClientEvent::Data(data));
        }
        let Some(slot) = self.table.get(id) else {
            let reason = ByteString::from_static("the call is over");
            return Poll::Ready(ClientEvent::Broken(Broken { begun: true, reason }));
        };
        let Some(outcome) = slot.outcome.take() else {
            if slot.begun == Begun::Tell {
                slot.begun = Begun::Told;
                return Poll::Ready(ClientEvent::Opened);
            }
            register(&mut slot.on_receive, cx.waker());
            return Poll::Pending;
        };
        self.release(id.index);
        Poll::Ready(match outcome {
            Outcome::End(end) => ClientEvent::End(end),
            Outcome::Broken(broken) => ClientEvent::Broken(broken),
        })
    }

    /// Gives a call up, or its handle after the end was not asked for: what drops a call calls this. Its id is
    /// free once the server has confirmed. Does nothing for a handle that names nothing.
    pub fn cancel(&mut self, id: CallId, reason: CancelReason) {
        let Some(slot) = self.table.get(id) else { return };
        if slot.outcome.is_some() {
            // Nothing more is coming.
            self.release(id.index);
            return;
        }
        slot.stop_sending();
        slot.stop_receiving();
        slot.phase = Phase::Closing;
        if self.link.outbox.has_room() {
            self.link.outbox.stage(|to| frame::cancel(to, id.index, reason));
        } else {
            slot.due_cancel = Some(reason);
            self.table.ring(id.index);
        }
        self.link.notify();
    }

    fn release(&mut self, index: u32) {
        self.table.release(index);
        self.table.give_back(index);
        if !self.waiters.is_empty() {
            self.link.notify();
        }
    }

    /// Reads what there is and takes it in. `Ready(Ok)`: there may be more, give the calls their turn and come
    /// again. Begins the driver's turn, which must end with [`ClientSession::poll_write`].
    ///
    /// # Errors
    /// The connection is over: every call has been told. After [`ConnectionError::Protocol`] what is queued
    /// should still be written. Later calls say [`ConnectionError::Closed`].
    pub fn poll_read<Io: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Result<(), ConnectionError>> {
        self.link.begin_turn();
        if self.link.closed.is_some() {
            return Poll::Ready(Err(ConnectionError::Closed));
        }
        let mut bytes = 0;
        let error = loop {
            match ready!(self.link.poll_fill(cx, io)) {
                Ok(count) => bytes += count,
                Err(error) => break error,
            }
            if let Err(error) = Link::take_in(self, |session| &mut session.link) {
                self.link.send_goaway(GoAway {
                    accepted: 0,
                    reason: error.reason(),
                    text: error.to_string().into(),
                });
                break error.into();
            }
            if !Link::reads_on(bytes) {
                return Poll::Ready(Ok(()));
            }
        };
        self.fail(&error.told());
        Poll::Ready(Err(error))
    }

    /// Writes everything that is queued, in as few calls as there are rounds. `Ready(Ok)`: nothing is left; the
    /// waker is called when there is. Ends the driver's turn.
    ///
    /// # Errors
    /// The socket failed; every call has been told.
    pub fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Result<(), ConnectionError>> {
        let table = &mut self.table;
        let outcome = self.link.poll_write(cx, io, |link| table.fill(link));
        if let Poll::Ready(Err(error)) = outcome {
            return Poll::Ready(Err(self.broke(error)));
        }
        self.wake_waiters(cx);
        outcome.map_err(ConnectionError::Io)
    }

    fn broke(&mut self, error: io::Error) -> ConnectionError {
        let error = ConnectionError::Io(error);
        self.fail(&error.told());
        error
    }

    /// The connection is over for a reason that the owner knows (an unanswered ping): every call is told.
    pub fn close(&mut self, reason: &str) {
        self.fail(reason);
    }

    /// The agreed number of calls.
    #[inline]
    fn max(&self) -> u32 {
        self.link.peer.as_ref().map_or(0, |peer| peer.max_calls)
    }

    fn on_goaway(&mut self, goaway: GoAway) {
        let reason = ByteString::from(format!("the plugin closes the connection: {goaway}"));
        for index in 0..self.table.slots.len() {
            let slot = &mut self.table.slots[index];
            if slot.phase != Phase::Free && slot.outcome.is_none() && slot.number >= goaway.accepted {
                self.break_call(index, false, &reason);
            }
        }
        // A second one may only lower the number; the reason of the last is the one to tell.
        self.link.goaway = Some(goaway);
    }

    /// No frame is going to come for a call.
    fn break_call(&mut self, index: usize, begun: bool, reason: &ByteString) {
        let slot: &mut Slot = &mut self.table.slots[index];
        if slot.phase == Phase::Closing {
            self.release(index as u32);
            return;
        }
        slot.stop_sending();
        slot.peer_done = true;
        slot.outcome = Some(Outcome::Broken(Broken { begun, reason: reason.clone() }));
        wake(&mut slot.on_receive);
    }

    fn fail(&mut self, reason: &str) {
        if self.link.closed.is_some() {
            return;
        }
        let reason = ByteString::from(reason);
        self.link.closed = Some(reason.clone());
        let written = self.link.outbox.written();
        for index in 0..self.table.slots.len() {
            let slot = &self.table.slots[index];
            if slot.phase != Phase::Free && slot.outcome.is_none() {
                // Of what was never handed to the socket, nobody can have begun.
                let begun = slot.position < written;
                self.break_call(index, begun, &reason);
            }
        }
        self.table.stop_ring();
        for waiter in self.waiters.drain(..) {
            waiter.wake();
        }
        self.link.notify();
    }

    /// Tells as many waiters as there is room for. Some may be gone, so the driver comes again until the room is
    /// taken or nobody waits.
    fn wake_waiters(&mut self, cx: &mut Context<'_>) {
        if self.waiters.is_empty() || matches!(self.check_room(), Err(OpenError::Full)) {
            return;
        }
        let room = if self.is_going_away() { usize::MAX } else { self.max_calls() - self.table.open };
        for waiter in self.waiters.drain(..room.min(self.waiters.len())) {
            waiter.wake();
        }
        if !self.waiters.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    /// What the session holds for calls: slots, ring, credit above the initial, bytes queued. All 0 when idle.
    #[must_use]
    pub fn leftovers(&self) -> [u64; 4] {
        self.table.leftovers(&self.link)
    }

    /// Slots that exist.
    #[cfg(test)]
    pub(crate) fn slots(&self) -> usize {
        self.table.slots.len()
    }

    /// Bytes received so far.
    #[cfg(test)]
    pub(crate) fn read_bytes(&self) -> u64 {
        self.link.read_bytes
    }

    /// Announces that this side opens no more calls and why.
    pub fn goaway(&mut self, reason: Reason, text: &str) {
        if self.link.closed.is_none() {
            self.link.send_goaway(GoAway { accepted: 0, reason, text: ByteString::from(text) });
        }
    }
}

impl Sink for ClientSession {
    fn open(&mut self, _: u32, _: crate::OpenHead, _: Bytes, _: bool) -> Result<(), ProtocolError> {
        self.link.count(Kind::Open)?;
        Err(ProtocolError::Direction(Kind::Open.name()))
    }

    fn data(&mut self, call: u32, data: Bytes, _: bool) -> Result<(), ProtocolError> {
        self.link.count(Kind::Data)?;
        let max = self.max();
        self.table.on_data(call, max, data, false)
    }

    fn end(&mut self, call: u32, end: End, data: Bytes) -> Result<(), ProtocolError> {
        self.link.count(Kind::End)?;
        let max = self.max();
        self.table.on_data(call, max, data, true)?;
        let Some(slot) = self.table.named(call, max)? else { return Ok(()) };
        if slot.phase == Phase::Closing {
            self.release(call);
            return Ok(());
        }
        slot.stop_sending();
        slot.outcome = Some(Outcome::End(end));
        Ok(())
    }

    fn other(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        match self.link.other(frame)? {
            Some(Frame::Credit { call, bytes }) => {
                let max = self.max();
                self.table.on_credit(call, max, bytes)
            }
            Some(Frame::GoAway(goaway)) => {
                self.on_goaway(goaway);
                Ok(())
            }
            Some(Frame::Cancel { .. }) => Err(ProtocolError::Direction(Kind::Cancel.name())),
            // Waiters are told of SETTINGS at the end of the turn.
            _ => Ok(()),
        }
    }
}

const _: () = assert!(QUEUE >= COPY);
