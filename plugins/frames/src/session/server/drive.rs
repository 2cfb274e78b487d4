//! The driver's turns of a server: what comes in, what goes out, and how it ends.

use super::ServerSession;
use crate::{
    Method, OpenHead,
    control::CancelReason,
    decoder::Sink,
    end::End,
    error::{ConnectionError, ProtocolError},
    frame::Frame,
    session::{
        link::Link,
        slot::{CallId, Finish, Phase, wake},
    },
    wire::Kind,
};
use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::{Code, Payload};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

impl ServerSession {
    /// Reads what there is and takes it in. `Ready(Ok)`: there may be more, give the calls their turn and come
    /// again. Begins the driver's turn, which must end with [`ServerSession::poll_write`].
    ///
    /// # Errors
    /// The connection is over: every call is cancelled. After [`ConnectionError::Protocol`] what is queued
    /// should still be written. Later calls say [`ConnectionError::Closed`].
    pub fn poll_read<Io: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Result<(), ConnectionError>> {
        let read = Link::poll_read(
            self,
            |session| &mut session.link,
            |session| {
                session.going_away = true;
                session.opens
            },
            cx,
            io,
        );
        if let Poll::Ready(Err(error)) = &read {
            self.fail(&error.told());
        }
        read
    }

    /// Writes everything that is queued, in as few calls as there are rounds. `Ready(Ok)`: nothing is left; the
    /// waker is called when there is. Ends the driver's turn.
    ///
    /// # Errors
    /// The socket failed; every call is cancelled.
    pub fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<Result<(), ConnectionError>> {
        let table = &mut self.table;
        let outcome = self.link.poll_write(cx, io, |link| table.fill(link));
        outcome.map_err(|error| {
            let error = ConnectionError::Io(error);
            self.fail(&error.told());
            error
        })
    }

    /// Ends a call that nobody has accepted.
    fn reject(&mut self, call: u32, end: End) {
        if let Some(slot) = self.table.slots.get_mut(call as usize) {
            slot.stop_receiving();
            slot.finish = Finish::No;
            slot.phase = Phase::Open;
            let id = CallId { index: call, generation: slot.generation };
            self.finish(id, end, Payload::new());
        }
    }

    fn on_cancel(&mut self, call: u32, reason: CancelReason) -> Result<(), ProtocolError> {
        let Some(slot) = self.table.named(call, self.table.config.max_calls)? else { return Ok(()) };
        match slot.phase {
            Phase::Offered => self.reject(call, End::error(Code::Cancelled, reason.to_string())),
            // It is finished; of its answer only the end is still of use.
            Phase::Closing => {
                slot.unsent = Payload::new();
                self.table.ring(call);
            }
            Phase::Open if slot.cancelled.is_none() => {
                slot.cancelled = Some(reason);
                slot.stop_sending();
                slot.received.clear();
                wake(&mut slot.on_receive);
                let id = CallId { index: call, generation: slot.generation };
                self.queue_cancelled(id);
            }
            Phase::Open | Phase::Free => {}
        }
        Ok(())
    }

    fn queue_cancelled(&mut self, id: CallId) {
        // Calls finished without having been asked for leave their entries behind.
        if self.cancelled.len() >= 2 * self.table.open.max(64) {
            let slots = &self.table.slots;
            self.cancelled.retain(|id| {
                slots.get(id.index as usize).is_some_and(|slot| slot.generation == id.generation)
            });
        }
        self.cancelled.push_back(id);
    }

    fn fail(&mut self, reason: &str) {
        if self.link.closed.is_some() {
            return;
        }
        self.link.closed = Some(ByteString::from(reason));
        self.offered.clear();
        self.table.stop_ring();
        for index in 0..self.table.slots.len() {
            let slot = &mut self.table.slots[index];
            let id = CallId { index: index as u32, generation: slot.generation };
            match slot.phase {
                Phase::Free => {}
                Phase::Offered | Phase::Closing => self.table.release(id.index),
                Phase::Open => {
                    let told = slot.cancelled.replace(CancelReason::Connection).is_some();
                    slot.stop_sending();
                    slot.received.clear();
                    wake(&mut slot.on_receive);
                    if !told {
                        self.queue_cancelled(id);
                    }
                }
            }
        }
        self.link.notify();
    }
}

impl Sink for ServerSession {
    fn open(&mut self, call: u32, head: OpenHead, data: Bytes, last: bool) -> Result<(), ProtocolError> {
        self.link.count(Kind::Open)?;
        let max = self.table.config.max_calls;
        if self.table.named(call, max)?.is_some() {
            return Err(ProtocolError::CallReused(call));
        }
        if self.going_away {
            return Ok(());
        }
        self.opens += 1;
        let credit = self.link.peer.as_ref().map_or(0, |peer| peer.initial_credit);
        let id = self.table.begin(call, Phase::Offered, credit);
        self.table.on_data(call, max, data, last)?;
        if let Method::Other(number) = head.method {
            self.reject(
                call,
                End::error(Code::Unimplemented, format!("frames method {number} is not known")),
            );
            return Ok(());
        }
        // Calls cancelled before they were accepted leave their entries behind.
        if self.offered.len() >= 2 * self.table.open.max(64) {
            let slots = &self.table.slots;
            self.offered.retain(|(id, _)| {
                slots
                    .get(id.index as usize)
                    .is_some_and(|slot| slot.generation == id.generation && slot.phase == Phase::Offered)
            });
        }
        self.offered.push_back((id, head));
        Ok(())
    }

    fn data(&mut self, call: u32, data: Bytes, last: bool) -> Result<(), ProtocolError> {
        self.link.count(Kind::Data)?;
        self.table.on_data(call, self.table.config.max_calls, data, last)
    }

    fn end(&mut self, _: u32, _: End, _: Bytes) -> Result<(), ProtocolError> {
        self.link.count(Kind::End)?;
        Err(ProtocolError::Direction(Kind::End.name()))
    }

    fn other(&mut self, frame: Frame) -> Result<(), ProtocolError> {
        let max = self.table.config.max_calls;
        match self.link.other(frame)? {
            Some(Frame::Credit { call, bytes }) => self.table.on_credit(call, max, bytes),
            Some(Frame::Cancel { call, reason }) => self.on_cancel(call, reason),
            Some(Frame::GoAway(goaway)) => {
                self.link.goaway = Some(goaway);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
