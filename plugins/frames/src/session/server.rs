//! The side that answers calls: the plugin's.

mod drive;

use super::{
    link::Link,
    slot::{CallId, Finish, Phase, register},
    table::Table,
};
use crate::{
    OpenHead,
    control::{CancelReason, Config, GoAway, Reason},
    end::End,
    error::Stopped,
};
use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::Payload;
use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

/// A call that arrived.
#[derive(Debug)]
pub struct Accepted {
    /// Its handle.
    pub id: CallId,
    /// What is called, for whom.
    pub head: OpenHead,
    /// What is here of its body.
    pub body: Payload,
    /// That is all of it: [`ServerSession::poll_recv`] has nothing more but a cancellation.
    pub last: bool,
}

/// What a server's call tells who answers it.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// Bytes of the request; never empty.
    Data(Bytes),
    /// The client's side has ended.
    HalfClose,
    /// The client gave the call up, or the connection is over: drop what works on it and call
    /// [`ServerSession::finish`]. A handle that names nothing says this too.
    Cancelled(CancelReason),
}

/// A connection's state on the side that answers calls.
///
/// One owner drives it: [`ServerSession::poll_read`], then [`ServerSession::accept`] until there is none,
/// [`ServerSession::next_cancelled`] until there is none, whatever calls can be moved along, and
/// [`ServerSession::poll_write`] last. Every accepted call is ended with [`ServerSession::finish`].
#[derive(Debug)]
pub struct ServerSession {
    link: Link,
    table: Table,
    offered: VecDeque<(CallId, OpenHead)>,
    cancelled: VecDeque<CallId>,
    /// OPENs accepted so far.
    opens: u64,
    going_away: bool,
}

impl ServerSession {
    /// A session that expects the client's preface.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let config = config.bounded();
        let mut link = Link::new(&config);
        link.greet(&config.settings());
        Self {
            link,
            table: Table::new(config),
            offered: VecDeque::new(),
            cancelled: VecDeque::new(),
            opens: 0,
            going_away: false,
        }
    }

    /// Whether the client's preface and SETTINGS are here.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.link.peer.is_some()
    }

    /// Calls that are not over, those included of which the END has not left yet.
    #[must_use]
    pub fn open_calls(&self) -> usize {
        self.table.open
    }

    /// Frames received so far: a sign of life.
    #[must_use]
    pub fn frames_received(&self) -> u64 {
        self.link.received()
    }

    /// Bytes written so far: whether they grow tells a peer that reads slowly from one that does not.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.link.outbox.written()
    }

    /// Asks the client whether it is alive; nothing happens while an answer is due, or before its SETTINGS are here.
    pub fn ping(&mut self) {
        self.link.ping();
    }

    /// Whether the answer to a ping is due.
    #[must_use]
    pub fn is_ping_outstanding(&self) -> bool {
        self.link.is_ping_outstanding()
    }

    /// The next call that arrived, with all of its body that is here.
    pub fn accept(&mut self) -> Option<Accepted> {
        loop {
            let (id, head) = self.offered.pop_front()?;
            let slot = self.table.slots.get_mut(id.index as usize);
            let offered =
                slot.filter(|slot| slot.generation == id.generation && slot.phase == Phase::Offered);
            // Else it was cancelled in the meantime.
            if let Some(slot) = offered {
                slot.phase = Phase::Open;
                let last = slot.peer_done;
                let body = self.table.take_all(id, &mut self.link);
                return Some(Accepted { id, head, body, last });
            }
        }
    }

    /// The next accepted call that the client gave up and that is not finished: drop what works on it, and
    /// [`ServerSession::finish`] it.
    pub fn next_cancelled(&mut self) -> Option<CallId> {
        loop {
            let id = self.cancelled.pop_front()?;
            if self.table.get(id).is_some() {
                return Some(id);
            }
        }
    }

    /// Why the client gave the call up, if it did. A handle that names nothing is of a call that is over.
    pub fn cancelled(&mut self, id: CallId) -> Option<CancelReason> {
        self.table.get(id).map_or(Some(CancelReason::Connection), |slot| slot.cancelled)
    }

    /// What the call has for who answers it. Taking data lets the client send more; not taking any stops only
    /// this call.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>, id: CallId) -> Poll<ServerEvent> {
        if let Some(data) = self.table.take(id, &mut self.link) {
            return Poll::Ready(ServerEvent::Data(data));
        }
        let Some(slot) = self.table.get(id) else {
            return Poll::Ready(ServerEvent::Cancelled(CancelReason::Connection));
        };
        if let Some(reason) = slot.cancelled {
            return Poll::Ready(ServerEvent::Cancelled(reason));
        }
        if slot.peer_done {
            return Poll::Ready(ServerEvent::HalfClose);
        }
        register(&mut slot.on_receive, cx.waker());
        Poll::Pending
    }

    /// How many bytes of the answer the call takes now: within the client's credit, and within what the session
    /// keeps ahead of the socket. Pending while that is none.
    ///
    /// # Errors
    /// [`Stopped`]: the call takes no more, [`ServerSession::poll_recv`] says why.
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, id: CallId) -> Poll<Result<usize, Stopped>> {
        self.table.poll_capacity(cx, id)
    }

    /// Says that the answer has begun although there are no bytes of it yet, which gRPC says with its response
    /// headers: a DATA frame without bytes. To be said at most once, and not after bytes.
    ///
    /// # Errors
    /// [`Stopped`]: the call takes no more, [`ServerSession::poll_recv`] says why.
    pub fn open_answer(&mut self, id: CallId) -> Result<(), Stopped> {
        let slot = self.table.get(id).filter(|slot| matches!(slot.finish, Finish::No)).ok_or(Stopped)?;
        slot.due_opened = true;
        self.table.ring(id.index);
        self.link.notify();
        Ok(())
    }

    /// Hands in bytes of the answer. Who sends more than [`ServerSession::poll_capacity`] said has the rest kept
    /// in the session until there is credit for it.
    ///
    /// # Errors
    /// [`Stopped`]: the call takes no more, [`ServerSession::poll_recv`] says why.
    pub fn send(&mut self, id: CallId, data: impl Into<Payload>) -> Result<(), Stopped> {
        self.table.send(id, data.into(), Finish::No, &mut self.link)
    }

    /// Ends a call: `data` are the last bytes of its answer. A small answer is one frame with its end. The handle
    /// names nothing from here on; what there is no credit for is kept until there is, or until the client
    /// cancels. Of a cancelled call only the end is sent. Does nothing for a handle that names nothing.
    pub fn finish(&mut self, id: CallId, end: End, data: impl Into<Payload>) {
        let Some(slot) = self.table.get(id) else { return };
        let data = if slot.cancelled.is_some() {
            // Sending had been stopped; the END is still due.
            slot.finish = Finish::No;
            Payload::new()
        } else {
            data.into()
        };
        slot.stop_receiving();
        if self.table.send(id, data, Finish::End(end), &mut self.link).is_ok()
            && let Some(slot) = self.table.get(id)
        {
            slot.phase = Phase::Closing;
        }
    }

    /// Takes no more calls: those that arrive from here on are not begun, and the client is told so. The ones
    /// that were accepted go on.
    pub fn goaway(&mut self, reason: Reason, text: &str) {
        if self.going_away || self.link.closed.is_some() {
            return;
        }
        self.going_away = true;
        self.link.send_goaway(GoAway { accepted: self.opens, reason, text: ByteString::from(text) });
    }

    /// Whether [`ServerSession::goaway`] was called.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.going_away
    }

    /// What the session holds for calls: slots, ring, credit above the initial, bytes queued. All 0 when idle.
    #[must_use]
    pub fn leftovers(&self) -> [u64; 4] {
        self.table.leftovers(&self.link)
    }

    /// Places in the queues of calls to be accepted and cancelled.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.offered.len() + self.cancelled.len()
    }

    /// Bytes received so far.
    #[cfg(test)]
    pub(crate) fn read_bytes(&self) -> u64 {
        self.link.read_bytes
    }
}
