//! What can go wrong on a connection, and how a call learns of it.

use crate::control::{GoAway, Reason};
use bytestring::ByteString;
use std::io;

/// The peer broke the protocol. The connection ends, with a GOAWAY that says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The first bytes are not those of Prism frames.
    #[error("the peer does not speak Prism frames")]
    NotFrames,
    /// It speaks another major version.
    #[error("the peer speaks another major version of Prism frames ({0:?}), this side speaks 1")]
    Version(char),
    /// A payload longer than agreed.
    #[error("a {kind} frame of {length} bytes, {max} are allowed")]
    TooLarge {
        /// The frame's kind.
        kind: &'static str,
        /// Its payload, in bytes.
        length: u32,
        /// What is allowed.
        max: u32,
    },
    /// A payload too short for its fields, or text that is not UTF-8.
    #[error("a malformed {0} frame")]
    Malformed(&'static str),
    /// The first frame must be SETTINGS, and only the first.
    #[error("a {0} frame where SETTINGS were expected")]
    SettingsFirst(&'static str),
    /// SETTINGS came twice.
    #[error("a second SETTINGS frame")]
    SettingsAgain,
    /// SETTINGS that nobody can work with.
    #[error("SETTINGS with max_frame {0}, below the minimum of {min}", min = crate::wire::MIN_FRAME)]
    Settings(u32),
    /// A frame that only the other side may send.
    #[error("a {0} frame, which this side may not receive")]
    Direction(&'static str),
    /// A call id at or above the agreed number of calls.
    #[error("call id {0} is beyond the agreed number of calls")]
    UnknownCall(u32),
    /// An OPEN for a call that is open.
    #[error("call id {0} was opened while it was open")]
    CallReused(u32),
    /// DATA after the side's end.
    #[error("data on call {0} after its end")]
    AfterEnd(u32),
    /// More body bytes than there was credit for.
    #[error("data beyond the credit of call {0}")]
    CreditExceeded(u32),
    /// Credit beyond what a call may hold.
    #[error("the credit of call {0} exceeds 2^31 - 1 bytes")]
    CreditOverflow(u32),
    /// PINGs faster than their answers are read.
    #[error("more PINGs than answers are being read")]
    PingFlood,
}

impl ProtocolError {
    /// The code for the GOAWAY.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Version(_) | Self::NotFrames => Reason::Version,
            Self::CreditExceeded(_) | Self::CreditOverflow(_) => Reason::FlowControl,
            Self::PingFlood => Reason::Flood,
            _ => Reason::Protocol,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed it after it had said why.
    #[error("the peer closed the connection: {0}")]
    GoAway(GoAway),
    /// The socket failed.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The peer broke the protocol. What is queued, a GOAWAY last, should still be written, within a
    /// deadline.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl ConnectionError {
    /// The same for a call's caller, who sees no chain of sources.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Io(error) => format!("{self}: {error}"),
            _ => self.to_string(),
        }
    }
}

/// Why a call could not be opened. Nothing of it was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// As many calls are open as the server takes, or the write queue is full, or the server's SETTINGS have
    /// not arrived: wait with [`ClientSession::poll_ready`](crate::ClientSession::poll_ready).
    #[error("no room for another call on this connection")]
    Full,
    /// More callers wait for room than may.
    #[error("too many calls are waiting for this connection")]
    Overloaded,
    /// The server takes no new calls on this connection: dial another.
    #[error("the plugin takes no new calls on this connection")]
    GoAway,
    /// The connection is over: dial another.
    #[error("the connection is over: {0}")]
    Closed(ByteString),
    /// Namespace, principal, request id and trace together are too long.
    #[error("the call's context has {0} bytes, {max} are allowed", max = crate::wire::MAX_HEAD)]
    HeadTooLarge(usize),
}

/// The call takes no more bytes: it has ended, was cancelled, or its connection is over. Its reader says
/// which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call takes no more data")]
pub struct Stopped;

/// A call that has no END because its connection takes it no further: `UNAVAILABLE` for its caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Broken {
    /// The server may have seen it. When `false` it has not begun, and the call may be sent again on another
    /// connection.
    pub begun: bool,
    /// Why, for a person.
    pub reason: ByteString,
}
