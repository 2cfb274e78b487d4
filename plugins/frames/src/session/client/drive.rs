//! The driver's turns of a client: what comes in, what goes out, and how it ends.

use super::{ClientSession, Outcome, Phase};
use crate::{
    control::GoAway,
    decoder::Sink,
    end::End,
    error::{Broken, ConnectionError, OpenError, ProtocolError},
    frame::Frame,
    session::{link::Link, slot::wake},
    wire::Kind,
};
use bytes::Bytes;
use bytestring::ByteString;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

impl ClientSession {
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
        let read = Link::poll_read(self, |session| &mut session.link, |_| 0, cx, io);
        if let Poll::Ready(Err(error)) = &read {
            self.fail(&error.told());
        }
        read
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
        let outcome = outcome.map_err(|error| {
            let error = ConnectionError::Io(error);
            self.fail(&error.told());
            error
        });
        self.wake_waiters(cx);
        outcome
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
        let slot = &mut self.table.slots[index];
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
