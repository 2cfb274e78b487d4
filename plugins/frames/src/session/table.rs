//! All calls of a connection: a slab of slots, the ring of those with something to send, and what both sides do
//! with a call.

use super::{
    link::Link,
    slot::{Begun, CallId, Finish, Phase, Slot, register, wake},
    window::Window,
};
use crate::{
    control::Config,
    decoder::COPY,
    error::{ProtocolError, Stopped},
    frame,
    wire::{HALF_CLOSE, Kind, MAX_CREDIT},
};
use bytes::Bytes;
use prism_plugin_abi::Payload;
use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

/// What a call may hand in ahead of the socket, in bytes: the chunk that is being written and the next one.
const AHEAD: usize = 2 * crate::wire::CHUNK;

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) config: Config,
    pub(crate) slots: Vec<Slot>,
    /// Client: ids below `slots.len()` that are free, the last used first.
    free: Vec<u32>,
    /// Slots that are not free.
    pub(crate) open: usize,
    ring: VecDeque<u32>,
    /// What all windows have above their initial size.
    grown: u64,
}

impl Table {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, slots: Vec::new(), free: Vec::new(), open: 0, ring: VecDeque::new(), grown: 0 }
    }

    /// Client: a free id.
    pub(crate) fn next_free(&mut self) -> u32 {
        // There are never more slots than ids.
        self.free.pop().unwrap_or(self.slots.len() as u32)
    }

    /// Client: an id that was not used after all, or is not any more.
    pub(crate) fn give_back(&mut self, index: u32) {
        self.free.push(index);
    }

    /// Begins a call on a free slot.
    pub(crate) fn begin(&mut self, index: u32, phase: Phase, credit: u32) -> CallId {
        let at = index as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, Slot::default);
        }
        self.open += 1;
        let slot = &mut self.slots[at];
        slot.phase = phase;
        slot.window = Window::new(&self.config);
        slot.credit = credit;
        CallId { index, generation: slot.generation }
    }

    /// Ends a call; its id may be used again.
    pub(crate) fn release(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.phase == Phase::Free {
            return;
        }
        slot.window.release(&self.config, &mut self.grown);
        slot.generation = slot.generation.wrapping_add(1);
        slot.phase = Phase::Free;
        slot.received.clear();
        slot.peer_done = false;
        slot.outcome = None;
        slot.begun = Begun::No;
        slot.cancelled = None;
        slot.on_receive = None;
        if !slot.unsent.is_empty() {
            slot.unsent = Payload::new();
        }
        slot.finish = Finish::No;
        slot.due_credit = 0;
        slot.due_cancel = None;
        slot.due_opened = false;
        slot.on_capacity = None;
        self.open -= 1;
    }

    /// The slot that a handle names.
    pub(crate) fn get(&mut self, id: CallId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation && slot.phase == Phase::Open)
    }

    /// The slot of a call that a frame names, while there is one. `max` is the agreed number of calls.
    pub(crate) fn named(&mut self, call: u32, max: u32) -> Result<Option<&mut Slot>, ProtocolError> {
        if call >= max {
            return Err(ProtocolError::UnknownCall(call));
        }
        Ok(self.slots.get_mut(call as usize).filter(|slot| slot.phase != Phase::Free))
    }

    /// DATA arrived, or the data of an END.
    pub(crate) fn on_data(
        &mut self,
        call: u32,
        max: u32,
        data: Bytes,
        last: bool,
    ) -> Result<(), ProtocolError> {
        // A frame for a call that is over was on its way when it ended.
        let Some(slot) = self.named(call, max)? else { return Ok(()) };
        if slot.peer_done {
            return Err(ProtocolError::AfterEnd(call));
        }
        slot.window.arrived(call, data.len())?;
        slot.peer_done = last;
        if slot.phase != Phase::Closing && slot.cancelled.is_none() {
            let news = if !data.is_empty() {
                slot.begun = Begun::Told;
                true
            } else if !last && slot.begun == Begun::No {
                // Without bytes it says that the answer begins, which is news once.
                slot.begun = Begun::Tell;
                true
            } else {
                last
            };
            slot.received.push(data);
            if news {
                wake(&mut slot.on_receive);
            }
        }
        Ok(())
    }

    /// CREDIT arrived.
    pub(crate) fn on_credit(&mut self, call: u32, max: u32, bytes: u32) -> Result<(), ProtocolError> {
        let Some(slot) = self.named(call, max)? else { return Ok(()) };
        let credit = slot.credit.checked_add(bytes).filter(|credit| *credit <= MAX_CREDIT);
        slot.credit = credit.ok_or(ProtocolError::CreditOverflow(call))?;
        wake(&mut slot.on_capacity);
        if !slot.unsent.is_empty() {
            self.ring(call);
        }
        Ok(())
    }

    /// Puts a call into the ring.
    pub(crate) fn ring(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize).filter(|slot| !slot.ringed) {
            slot.ringed = true;
            self.ring.push_back(index);
        }
    }

    /// The next received piece of an open call; new credit is on its way.
    pub(crate) fn take(&mut self, id: CallId, link: &mut Link) -> Option<Bytes> {
        let slot = self.get(id)?;
        let piece = slot.received.pop()?;
        self.taken(id, piece.len(), link);
        Some(piece)
    }

    /// All received bytes of an open call.
    pub(crate) fn take_all(&mut self, id: CallId, link: &mut Link) -> Payload {
        let Some(slot) = self.get(id) else { return Payload::new() };
        let all = slot.received.take();
        self.taken(id, all.len(), link);
        all
    }

    fn taken(&mut self, id: CallId, bytes: usize, link: &mut Link) {
        let Some(slot) = self.slots.get_mut(id.index as usize) else { return };
        if slot.peer_done {
            return;
        }
        let all = slot.received.is_empty();
        let credit = slot.window.taken(bytes, all, &self.config, &mut self.grown);
        if credit > 0 {
            slot.due_credit += credit;
            self.ring(id.index);
            link.notify();
        }
    }

    /// How many bytes a call may hand in.
    pub(crate) fn poll_capacity(&mut self, cx: &mut Context<'_>, id: CallId) -> Poll<Result<usize, Stopped>> {
        let Some(slot) = self.get(id) else { return Poll::Ready(Err(Stopped)) };
        if !matches!(slot.finish, Finish::No) {
            return Poll::Ready(Err(Stopped));
        }
        let capacity = (slot.credit as usize).min(AHEAD).saturating_sub(slot.unsent.len());
        if capacity == 0 {
            register(&mut slot.on_capacity, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(capacity))
    }

    /// Hands in bytes of a call's body, and its half's end if `finish` is one.
    pub(crate) fn send(
        &mut self,
        id: CallId,
        mut data: Payload,
        finish: Finish,
        link: &mut Link,
    ) -> Result<(), Stopped> {
        let slot = self.get(id).filter(|slot| matches!(slot.finish, Finish::No)).ok_or(Stopped)?;
        let now = data.len() <= COPY
            && data.len() <= slot.credit as usize
            && slot.unsent.is_empty()
            && link.outbox.has_room();
        if now {
            slot.finish = finish;
            // Fits 32 bits: it is within the credit.
            slot.credit -= data.len() as u32;
            slot.due_opened &= data.is_empty();
            if emit(id.index, slot, &mut data, link) {
                self.release(id.index);
            }
        } else {
            if slot.unsent.is_empty() {
                slot.unsent = data;
            } else {
                while let Some(piece) = data.pop() {
                    slot.unsent.push(piece);
                }
            }
            slot.finish = finish;
            self.ring(id.index);
        }
        link.notify();
        Ok(())
    }

    /// One round of the ring: each call that has something to send queues at most one chunk.
    pub(crate) fn fill(&mut self, link: &mut Link) {
        if self.ring.is_empty() || !link.outbox.takes_chunks() {
            return;
        }
        for _ in 0..self.ring.len() {
            if !link.outbox.has_room() {
                return;
            }
            let Some(index) = self.ring.pop_front() else { return };
            self.turn(index, link);
        }
    }

    /// One call's turn.
    fn turn(&mut self, index: u32, link: &mut Link) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        slot.ringed = false;
        if slot.phase == Phase::Free {
            return;
        }
        if let Some(reason) = slot.due_cancel.take() {
            link.outbox.stage(|to| frame::cancel(to, index, reason));
            return;
        }
        // Bytes that leave now, or the end, say it as well.
        let silent = slot.unsent.is_empty() && matches!(slot.finish, Finish::No) || slot.credit == 0;
        if std::mem::take(&mut slot.due_opened) && silent {
            link.outbox.stage(|to| frame::header(to, Kind::Data, 0, index, 0));
        }
        if slot.due_credit > 0 {
            let credit = std::mem::take(&mut slot.due_credit);
            link.outbox.stage(|to| frame::credit(to, index, credit));
        }
        let count = slot.unsent.len().min(slot.credit as usize).min(link.chunk());
        let all = count == slot.unsent.len();
        slot.credit -= count as u32;
        let ended = if all {
            let mut data = std::mem::take(&mut slot.unsent);
            emit(index, slot, &mut data, link)
        } else {
            if count > 0 {
                link.outbox.stage(|to| frame::header(to, Kind::Data, 0, index, count));
                link.outbox.push_body(&mut slot.unsent, count);
            }
            false
        };
        if count > 0 {
            wake(&mut slot.on_capacity);
        }
        let more = !slot.unsent.is_empty() && slot.credit > 0;
        if ended {
            self.release(index);
        } else if more {
            self.ring(index);
        }
    }

    /// Nothing more is sent on any call.
    pub(crate) fn stop_ring(&mut self) {
        while let Some(index) = self.ring.pop_front() {
            if let Some(slot) = self.slots.get_mut(index as usize) {
                slot.ringed = false;
            }
        }
    }

    /// What is held for calls: slots, places in the ring, credit above the initial, bytes queued.
    pub(crate) fn leftovers(&self, link: &Link) -> [u64; 4] {
        [self.open as u64, self.ring.len() as u64, self.grown, link.outbox.position() - link.outbox.written()]
    }
}

/// Queues all of `data` and the end of the call's half; `true` when the call is over with it.
fn emit(index: u32, slot: &mut Slot, data: &mut Payload, link: &mut Link) -> bool {
    let count = data.len();
    let mut ended = false;
    match std::mem::take(&mut slot.finish) {
        Finish::No if count == 0 => return false,
        Finish::No => link.outbox.stage(|to| frame::header(to, Kind::Data, 0, index, count)),
        Finish::HalfClose => {
            slot.finish = Finish::Sent;
            link.outbox.stage(|to| frame::header(to, Kind::Data, HALF_CLOSE, index, count));
        }
        Finish::End(end) => {
            ended = true;
            link.outbox.stage(|to| frame::end(to, index, &end, count));
        }
        Finish::Sent => {
            slot.finish = Finish::Sent;
            return false;
        }
    }
    if count <= COPY {
        link.outbox.push_small(data);
    } else {
        link.outbox.push_body(data, count);
    }
    ended
}
