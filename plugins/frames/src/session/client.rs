//! The side that opens calls: the proxy's.

mod drive;

use super::{
    link::Link,
    outbox::QUEUE,
    slot::{Begun, CallId, Finish, Outcome, Phase, register},
    table::Table,
};
use crate::{
    CallHead,
    control::{CancelReason, Config, GoAway, Reason},
    decoder::COPY,
    end::End,
    error::{Broken, OpenError, Stopped},
    frame,
    wire::MAX_HEAD,
};
use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::Payload;
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

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

    /// Asks the server whether it is alive; nothing happens while an answer is due, or before its SETTINGS are here.
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

const _: () = assert!(QUEUE >= COPY);
