//! Frames as values.

use crate::{
    CallHead, OpenHead,
    control::{CancelReason, GoAway, Settings},
    end::End,
    wire::{HALF_CLOSE, Header, Kind},
};
use bytes::Bytes;

/// What a [`Decoder`](crate::Decoder) finds. A frame with a large body comes in several pieces: an `Open`
/// without the rest of its data, `Data` as it arrives, and what ended it last.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The first frame of a direction.
    Settings(Settings),
    /// A call begins.
    Open {
        /// Its id.
        call: u32,
        /// What is called, for whom.
        head: OpenHead,
        /// The first bytes of its body.
        data: Bytes,
        /// The client's side ends with them.
        last: bool,
    },
    /// Bytes of a call's body.
    Data {
        /// The call.
        call: u32,
        /// The bytes.
        data: Bytes,
        /// The client's side ends with them.
        last: bool,
    },
    /// A call ends.
    End {
        /// The call.
        call: u32,
        /// How.
        end: End,
        /// The last bytes of its body, before the end.
        data: Bytes,
    },
    /// More bytes may be sent.
    Credit {
        /// The call.
        call: u32,
        /// How many more.
        bytes: u32,
    },
    /// The client gives a call up.
    Cancel {
        /// The call.
        call: u32,
        /// Why.
        reason: CancelReason,
    },
    /// The connection ends.
    GoAway(GoAway),
    /// To be answered at once.
    Ping([u8; 8]),
    /// The answer.
    Pong([u8; 8]),
}

impl Frame {
    /// Appends the frame, as one.
    ///
    /// Sessions write frames with less ado; this is for tests, fuzzers and other implementations' tests.
    pub fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Settings(settings) => {
                header(to, Kind::Settings, 0, 0, Settings::LENGTH);
                to.extend_from_slice(&settings.encode());
            }
            Self::Open { call, head, data, last } => {
                let head = CallHead { method: head.method, timeout: head.timeout, context: &head.context };
                open(to, *call, &head, data.len(), *last);
                to.extend_from_slice(data);
            }
            Self::Data { call, data, last } => {
                header(to, Kind::Data, if *last { HALF_CLOSE } else { 0 }, *call, data.len());
                to.extend_from_slice(data);
            }
            Self::End { call, end: outcome, data } => {
                end(to, *call, outcome, data.len());
                to.extend_from_slice(data);
            }
            Self::Credit { call, bytes } => credit(to, *call, *bytes),
            Self::Cancel { call, reason } => cancel(to, *call, *reason),
            Self::GoAway(goaway) => {
                header(to, Kind::GoAway, 0, 0, goaway.encoded_len());
                goaway.encode(to);
            }
            Self::Ping(payload) => ping(to, Kind::Ping, *payload),
            Self::Pong(payload) => ping(to, Kind::Pong, *payload),
        }
    }
}

/// Appends a header. Lengths are bounded by what callers put into a frame, far below 4 GiB.
pub(crate) fn header(to: &mut Vec<u8>, kind: Kind, flags: u8, call: u32, length: usize) {
    to.extend_from_slice(&Header { length: length as u32, kind: kind as u8, flags, call }.encode());
}

/// Appends an OPEN up to its data.
pub(crate) fn open(to: &mut Vec<u8>, call: u32, head: &CallHead<'_>, data: usize, last: bool) {
    let length = head.encoded_len();
    header(to, Kind::Open, if last { HALF_CLOSE } else { 0 }, call, 2 + length + data);
    to.extend_from_slice(&(length as u16).to_le_bytes());
    head.encode(to);
}

/// Appends an END up to its data.
pub(crate) fn end(to: &mut Vec<u8>, call: u32, end: &End, data: usize) {
    let length = end.encoded_len();
    header(to, Kind::End, 0, call, 2 + length + data);
    to.extend_from_slice(&(length as u16).to_le_bytes());
    end.encode(to);
}

/// Appends a CREDIT.
pub(crate) fn credit(to: &mut Vec<u8>, call: u32, bytes: u32) {
    header(to, Kind::Credit, 0, call, 4);
    to.extend_from_slice(&bytes.to_le_bytes());
}

/// Appends a CANCEL.
pub(crate) fn cancel(to: &mut Vec<u8>, call: u32, reason: CancelReason) {
    header(to, Kind::Cancel, 0, call, 1);
    to.push(reason.number());
}

/// Appends a PING or PONG.
pub(crate) fn ping(to: &mut Vec<u8>, kind: Kind, payload: [u8; 8]) {
    header(to, kind, 0, 0, payload.len());
    to.extend_from_slice(&payload);
}
