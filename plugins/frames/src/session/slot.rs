//! One call on a connection, whichever side holds it.

use super::{received::Received, window::Window};
use crate::{control::CancelReason, end::End, error::Broken};
use prism_plugin_abi::Payload;
use std::task::Waker;

/// Names a call on one connection. A handle of a call that is over names nothing, even when its number is in
/// use again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl CallId {
    /// The number on the wire, below the connection's number of calls: an index for who keeps something per
    /// call.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No call.
    #[default]
    Free,
    /// A server has not accepted it yet.
    Offered,
    /// Somebody holds a handle.
    Open,
    /// Nobody holds a handle; a frame is still due before the id is free: the server's END.
    Closing,
}

/// How a side's own half of the call ends, once what is queued before it is sent.
#[derive(Debug, Default)]
pub(crate) enum Finish {
    #[default]
    No,
    HalfClose,
    End(End),
    /// Nothing more is sent.
    Sent,
}

/// How an answer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Begun {
    #[default]
    No,
    /// Without bytes, and its reader has not been told.
    Tell,
    /// It was told, or bytes say it.
    Told,
}

/// What a client's call came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    End(End),
    Broken(Broken),
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// In the ring of calls that have something to send.
    pub(crate) ringed: bool,

    pub(crate) received: Received,
    pub(crate) window: Window,
    /// The peer's half has ended.
    pub(crate) peer_done: bool,
    /// Client: what is to be told after the last data.
    pub(crate) outcome: Option<Outcome>,
    /// Client: whether the answer has begun.
    pub(crate) begun: Begun,
    /// Server: the client gave it up.
    pub(crate) cancelled: Option<CancelReason>,
    pub(crate) on_receive: Option<Waker>,

    /// Handed in, not queued for the socket.
    pub(crate) unsent: Payload,
    /// Bytes that the peer takes.
    pub(crate) credit: u32,
    pub(crate) finish: Finish,
    pub(crate) due_credit: u32,
    pub(crate) due_cancel: Option<CancelReason>,
    /// Server: that the answer begins is to be said.
    pub(crate) due_opened: bool,
    pub(crate) on_capacity: Option<Waker>,

    /// Client: which OPEN of the connection it was, from 0.
    pub(crate) number: u64,
    /// Client: how far the stream was when its OPEN was queued.
    pub(crate) position: u64,
}

impl Slot {
    /// Nothing more is sent of the call's body, and nothing more is asked for.
    pub(crate) fn stop_sending(&mut self) {
        if !self.unsent.is_empty() {
            self.unsent = Payload::new();
        }
        self.due_credit = 0;
        self.finish = Finish::Sent;
        wake(&mut self.on_capacity);
    }

    /// Nobody is going to take what was received.
    pub(crate) fn stop_receiving(&mut self) {
        self.received.clear();
        self.on_receive = None;
        self.on_capacity = None;
    }
}

pub(crate) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

pub(crate) fn register(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) if known.will_wake(waker) => {}
        place => *place = Some(waker.clone()),
    }
}
