//! Frames (RFC 9113 sections 4 and 6): their heads, and those of fixed form.

use crate::error::{Reason, Violation};

/// Bytes of a frame's head.
pub(crate) const HEAD: usize = 9;

/// How large a table of header fields the peer may use: what holds until SETTINGS say otherwise (section 6.5.2), and is enough.
pub(crate) const HEADER_TABLE: usize = 4096;

/// The most that a window may be (section 6.9.1).
pub(crate) const MOST_WINDOW: u32 = (1 << 31) - 1;

/// What connections begin with (section 6.9.2).
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

/// The least SETTINGS_MAX_FRAME_SIZE, and what holds until it is told otherwise (section 6.5.2).
pub(crate) const LEAST_FRAME: u32 = 16_384;
const MOST_FRAME: u32 = (1 << 24) - 1;

pub(crate) mod kind {
    //! Types of frames (section 6).
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
}

pub(crate) mod flag {
    //! Flags of frames (section 6).
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8; HEAD]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            // Section 4.1: the reserved bit "MUST be ignored when receiving".
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MOST_WINDOW,
        }
    }

    pub(crate) fn bytes(self) -> [u8; HEAD] {
        // No frame of ours is longer than 2^24.
        let [_, l0, l1, l2] = u32::try_from(self.length).unwrap_or(MOST_FRAME).to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// How many bytes at a payload's front and end are padding, of DATA and HEADERS.
pub(crate) fn padding(head: Head, payload: &[u8]) -> Result<(usize, usize), Violation> {
    if !head.has(flag::PADDED) {
        return Ok((0, 0));
    }
    let Some(padding) = payload.first().copied().map(usize::from) else {
        return Err(Violation::size("a padded frame has no length of its padding"));
    };
    // Section 6.1: "If the length of the padding is the length of the frame payload or greater, the recipient MUST treat this
    // as a connection error of type PROTOCOL_ERROR."
    if padding >= payload.len() {
        return Err(Violation::protocol("a frame is all padding"));
    }
    Ok((1, padding))
}

/// Four bytes of a payload, with the reserved bit taken away.
pub(crate) fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) & MOST_WINDOW)
}

/// What the peer's SETTINGS may say (section 6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    HeaderTableSize(u32),
    InitialWindowSize(u32),
    MaxFrameSize(u32),
    /// Nothing that matters to a server.
    Other,
}

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;

/// Reads the payload of a SETTINGS frame.
pub(crate) fn settings(
    payload: &[u8],
) -> Result<impl Iterator<Item = Result<Setting, Violation>>, Violation> {
    let (pairs, rest) = payload.as_chunks::<6>();
    // Section 6.5: "A SETTINGS frame with a length other than a multiple of 6 octets MUST be treated as a connection error
    // of type FRAME_SIZE_ERROR."
    if !rest.is_empty() {
        return Err(Violation::size("SETTINGS have a length that is no multiple of six"));
    }
    Ok(pairs.iter().map(|[i0, i1, v0, v1, v2, v3]| {
        let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
        match u16::from_be_bytes([*i0, *i1]) {
            HEADER_TABLE_SIZE => Ok(Setting::HeaderTableSize(value)),
            ENABLE_PUSH if value > 1 => Err(Violation::protocol("ENABLE_PUSH is neither 0 nor 1")),
            INITIAL_WINDOW_SIZE if value > MOST_WINDOW => {
                Err(Violation::Connection(Reason::FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is above 2^31-1"))
            }
            INITIAL_WINDOW_SIZE => Ok(Setting::InitialWindowSize(value)),
            MAX_FRAME_SIZE if !(LEAST_FRAME..=MOST_FRAME).contains(&value) => {
                Err(Violation::protocol("MAX_FRAME_SIZE is out of its range"))
            }
            MAX_FRAME_SIZE => Ok(Setting::MaxFrameSize(value)),
            _ => Ok(Setting::Other),
        }
    }))
}

/// What our own SETTINGS say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Announced {
    pub(crate) max_concurrent_streams: Option<u32>,
    pub(crate) initial_window: Option<u32>,
    pub(crate) max_frame: Option<u32>,
    pub(crate) max_header_list: Option<u32>,
}

impl Announced {
    /// The whole frame.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let pairs = [
            (MAX_CONCURRENT_STREAMS, self.max_concurrent_streams),
            (INITIAL_WINDOW_SIZE, self.initial_window),
            (MAX_FRAME_SIZE, self.max_frame),
            (MAX_HEADER_LIST_SIZE, self.max_header_list),
        ];
        let length = 6 * pairs.iter().filter(|(_, value)| value.is_some()).count();
        out.extend(Head { length, kind: kind::SETTINGS, flags: 0, stream: 0 }.bytes());
        for (identifier, value) in pairs {
            if let Some(value) = value {
                out.extend(identifier.to_be_bytes());
                out.extend(value.to_be_bytes());
            }
        }
    }
}

/// A frame whose payload is one number: RST_STREAM, WINDOW_UPDATE.
pub(crate) fn write_number(out: &mut Vec<u8>, kind: u8, stream: u32, number: u32) {
    out.extend(Head { length: 4, kind, flags: 0, stream }.bytes());
    out.extend(number.to_be_bytes());
}

/// A PING or its answer.
pub(crate) fn write_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    out.extend(Head { length: 8, kind: kind::PING, flags, stream: 0 }.bytes());
    out.extend(payload);
}

/// GOAWAY; `why` is for whoever debugs the peer.
pub(crate) fn write_goaway(out: &mut Vec<u8>, last: u32, reason: Reason, why: &str) {
    out.extend(Head { length: 8 + why.len(), kind: kind::GOAWAY, flags: 0, stream: 0 }.bytes());
    out.extend(last.to_be_bytes());
    out.extend(u32::from(reason).to_be_bytes());
    out.extend(why.as_bytes());
}
