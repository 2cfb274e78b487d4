//! What every frame has in common: the preface, the header, the kinds, and bounds.

use crate::ProtocolError;

/// What either side sends first: eight bytes, the last of them the major version. The first byte differs from
/// HTTP/2's preface (`PRI * HTTP/2.0`) and from TLS (0x16), so one byte tells who speaks.
pub const PREFACE: [u8; 8] = *b"\0PRISM/1";

/// The minor version spoken here. A higher one may add kinds of frame, flags, and fields at the end of
/// payloads and heads; all of these are skipped by who does not know them.
pub const MINOR: u16 = 0;

/// Bytes of a frame's header.
pub const HEADER: usize = 12;

/// The most body bytes in one frame. Calls take turns at this granularity: it is what a small call waits for at
/// most per large one, about 10 µs of copying, and large enough that headers and turns cost nothing beside it.
pub const CHUNK: usize = 64 << 10;

/// The most bytes in the head of an OPEN or END: what HTTP servers allow for all header fields of a request.
pub const MAX_HEAD: usize = 16 << 10;

/// The largest payload accepted by default: a chunk and a head.
pub const MAX_FRAME: u32 = (CHUNK + MAX_HEAD + 2) as u32;

/// No peer may ask for frames smaller than this: a head and a quarter of a chunk must fit.
pub const MIN_FRAME: u32 = (CHUNK / 4 + MAX_HEAD + 2) as u32;

/// The most bytes in the payload of any other kind; a GOAWAY with its reason is the longest.
pub const MAX_CONTROL: u32 = 4 << 10;

/// The most credit that a call may hold, in bytes.
pub const MAX_CREDIT: u32 = i32::MAX as u32;

/// The kinds of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Settings = 1,
    Open = 2,
    Data = 3,
    End = 4,
    Credit = 5,
    Cancel = 6,
    GoAway = 7,
    Ping = 8,
    Pong = 9,
}

impl Kind {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Settings,
            2 => Self::Open,
            3 => Self::Data,
            4 => Self::End,
            5 => Self::Credit,
            6 => Self::Cancel,
            7 => Self::GoAway,
            8 => Self::Ping,
            9 => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Settings => "SETTINGS",
            Self::Open => "OPEN",
            Self::Data => "DATA",
            Self::End => "END",
            Self::Credit => "CREDIT",
            Self::Cancel => "CANCEL",
            Self::GoAway => "GOAWAY",
            Self::Ping => "PING",
            Self::Pong => "PONG",
        }
    }

    /// A payload of this kind that is not as long as it says.
    pub(crate) const fn malformed(self) -> ProtocolError {
        ProtocolError::Malformed(self.name())
    }
}

/// Flag of OPEN and DATA: the client's side of the call ends with this frame.
pub(crate) const HALF_CLOSE: u8 = 1;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) call: u32,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let [a, b, c, d] = self.length.to_le_bytes();
        let [e, f, g, h] = self.call.to_le_bytes();
        [a, b, c, d, self.kind, self.flags, 0, 0, e, f, g, h]
    }

    pub(crate) fn decode(bytes: [u8; HEADER]) -> Self {
        let [a, b, c, d, kind, flags, _, _, e, f, g, h] = bytes;
        Self { length: u32::from_le_bytes([a, b, c, d]), kind, flags, call: u32::from_le_bytes([e, f, g, h]) }
    }
}

/// Reads little-endian fields off the front of a payload; `None` past its end.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// What the first bytes of a connection say about who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// Prism frames, of whatever major version: hand the connection, these bytes included, to a
    /// [`ServerSession`](crate::ServerSession).
    Frames,
    /// Something else.
    Other,
    /// Too few bytes to tell.
    NeedMore,
}

/// Tells Prism frames from other protocols by a connection's first bytes. One byte is enough to see that it
/// is something else.
#[must_use]
pub fn detect(first: &[u8]) -> Detection {
    let Some((magic, _)) = PREFACE.split_last_chunk::<1>() else { return Detection::Other };
    let common = first.len().min(magic.len());
    if first[..common] != magic[..common] {
        Detection::Other
    } else if common == magic.len() {
        Detection::Frames
    } else {
        Detection::NeedMore
    }
}
