//! Why a stream or a connection has ended.

use std::{fmt, io, sync::Arc};

/// An error code (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(u32);

impl Reason {
    /// Nothing went wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// The peer did what the protocol forbids.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something of our own failed.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// The peer sent more than its window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// Settings were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame for a stream that is over.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame of a wrong length.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was refused before anything was done for it.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is not wanted any more.
    pub const CANCEL: Self = Self(0x8);
    /// The peer's header compression cannot be followed.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// A tunnel broke.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer makes more work than it may.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The connection is not secure enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// The request wants HTTP/1.1.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The code's name, where the standard has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl From<u32> for Reason {
    fn from(code: u32) -> Self {
        Self(code)
    }
}

impl From<Reason> for u32 {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "unknown code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What ended a stream, or all of a connection's.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer has reset the stream.
    #[error("the stream was reset by the peer: {0}")]
    Reset(Reason),
    /// The stream was reset from here: what the peer sent breaks the protocol, or it is not wanted any more.
    #[error("the stream was reset: {0}")]
    Refused(Reason),
    /// The connection was ended from here.
    #[error("the connection was ended: {0}: {1}")]
    Connection(Reason, &'static str),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[source] Arc<io::Error>),
    /// The peer has closed the connection.
    #[error("the connection was closed by the peer")]
    Closed,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// What a frame did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// RFC 9113 section 5.4.2: one stream is over.
    Stream(u32, Reason),
    /// Section 5.4.1: the connection is.
    Connection(Reason, &'static str),
}

impl Violation {
    pub(crate) const fn protocol(why: &'static str) -> Self {
        Self::Connection(Reason::PROTOCOL_ERROR, why)
    }

    pub(crate) const fn size(why: &'static str) -> Self {
        Self::Connection(Reason::FRAME_SIZE_ERROR, why)
    }
}
