//! The payloads of SETTINGS and GOAWAY, and the reasons that travel in GOAWAY and CANCEL.

use crate::wire::{Fields, Kind, MAX_FRAME};
use crate::{ProtocolError, wire::MIN_FRAME};
use bytestring::ByteString;
use std::fmt;

/// What a side agrees to receive. The first frame of each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Minor version.
    pub minor: u16,
    /// Calls open at once; ids are below it. A client's value means nothing.
    pub max_calls: u32,
    /// Body bytes that may be sent to this side on each call before it grants more.
    pub initial_credit: u32,
    /// The largest payload this side accepts, in bytes.
    pub max_frame: u32,
}

impl Settings {
    pub(crate) const LENGTH: usize = 16;

    pub(crate) fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..2].copy_from_slice(&self.minor.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.max_calls.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.initial_credit.to_le_bytes());
        bytes[12..].copy_from_slice(&self.max_frame.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields(payload);
        let mut parse = || {
            let minor = fields.u16()?;
            fields.u16()?;
            let (max_calls, initial_credit, max_frame) = (fields.u32()?, fields.u32()?, fields.u32()?);
            Some(Self { minor, max_calls, initial_credit, max_frame })
        };
        let settings = parse().ok_or(Kind::Settings.malformed())?;
        if settings.max_frame < MIN_FRAME {
            return Err(ProtocolError::Settings(settings.max_frame));
        }
        if settings.initial_credit > crate::wire::MAX_CREDIT {
            return Err(ProtocolError::CreditOverflow(0));
        }
        Ok(settings)
    }
}

macro_rules! numbers {
    ($(#[$outer:meta])* $type:ident { $($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$doc])* $name,)*
            /// A number that a later minor version gave a meaning.
            Other(u8),
        }

        impl $type {
            /// Its number on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number,)* Self::Other(number) => number }
            }

            /// What a number on the wire means.
            #[must_use]
            pub const fn from_number(number: u8) -> Self {
                match number { $($number => Self::$name,)* number => Self::Other(number) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$name => f.write_str($text),)* Self::Other(number) => write!(f, "reason {number}") }
            }
        }
    };
}

numbers! {
    /// Why a side takes the connection down.
    Reason {
        /// Nothing is wrong: it ends with the calls that were accepted.
        Drain = 0, "it is shutting down";
        /// The receiver broke the protocol.
        Protocol = 1, "protocol error";
        /// The receiver speaks another major version.
        Version = 2, "version not supported";
        /// Data beyond credit, or credit beyond bounds.
        FlowControl = 3, "flow control error";
        /// The receiver asks for more work than it takes answers.
        Flood = 4, "too many requests for answers";
    }
}

numbers! {
    /// Why a client gave a call up.
    CancelReason {
        /// Its own caller went away.
        Gone = 1, "the caller went away";
        /// Its deadline passed.
        Deadline = 2, "the deadline passed";
        /// The request's body broke before its end.
        Body = 3, "the request's body broke";
        /// The connection is over (made by the session, never sent).
        Connection = 4, "the connection is over";
    }
}

/// The end of a connection, announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// How many OPENs of this connection the sender has accepted; the later ones it has not begun.
    pub accepted: u64,
    /// Why.
    pub reason: Reason,
    /// Why, for a person.
    pub text: ByteString,
}

impl GoAway {
    const TEXT_OFFSET: usize = 12;
    /// Longer reasons are cut: a sentence, not a log.
    const MAX_TEXT: usize = 512;

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        let text = truncated(&self.text, Self::MAX_TEXT);
        to.extend_from_slice(&self.accepted.to_le_bytes());
        to.extend_from_slice(&[self.reason.number(), 0]);
        to.extend_from_slice(&(text.len() as u16).to_le_bytes());
        to.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn encoded_len(&self) -> usize {
        Self::TEXT_OFFSET + truncated(&self.text, Self::MAX_TEXT).len()
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields(payload);
        let mut parse = || {
            let accepted = fields.u64()?;
            let reason = Reason::from_number(fields.u8()?);
            fields.u8()?;
            let length = fields.u16()?;
            let text = std::str::from_utf8(fields.bytes(usize::from(length))?).ok()?;
            Some(Self { accepted, reason, text: ByteString::from(text) })
        };
        parse().ok_or(Kind::GoAway.malformed())
    }
}

impl fmt::Display for GoAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.is_empty() {
            true => self.reason.fmt(f),
            false => write!(f, "{}: {}", self.reason, self.text),
        }
    }
}

/// The longest start of `text` with at most `max` bytes.
pub(crate) fn truncated(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What this side asks for and allows.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Calls that a client may have open at once (servers only). Default: 10,000, as many as the SDK's gRPC
    /// server takes: long-lived streams hold a place each.
    pub max_calls: u32,
    /// Body bytes that the peer may send on each call before this side has taken any. Default: 64 KiB, which
    /// is what every stalled call may cost, and enough for nearly every unary one.
    pub initial_credit: u32,
    /// What a call's credit may grow to while its consumer keeps up. Default: 1 MiB, several times the buffer of
    /// a unix socket, so that neither side waits for the other's turn.
    pub max_credit: u32,
    /// What all calls of the connection together may have above `initial_credit`. Default: 16 MiB, for
    /// sixteen large transfers at full speed; more of them share it, none stops.
    pub growth: u64,
    /// The largest payload accepted, in bytes. Default: [`MAX_FRAME`].
    pub max_frame: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_calls: 10_000,
            initial_credit: 64 << 10,
            max_credit: 1 << 20,
            growth: 16 << 20,
            max_frame: MAX_FRAME,
        }
    }
}

impl Config {
    /// The same within what the protocol allows.
    pub(crate) fn bounded(mut self) -> Self {
        self.max_frame = self.max_frame.max(MIN_FRAME);
        self.initial_credit = self.initial_credit.clamp(1, crate::wire::MAX_CREDIT);
        self.max_credit = self.max_credit.clamp(self.initial_credit, crate::wire::MAX_CREDIT);
        self
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            minor: crate::wire::MINOR,
            max_calls: self.max_calls,
            initial_credit: self.initial_credit,
            max_frame: self.max_frame,
        }
    }
}
