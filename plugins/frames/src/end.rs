//! The final frame of a call: its status, as in gRPC.

use crate::{
    ProtocolError,
    control::truncated,
    wire::{Fields, Kind},
};
use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::Code;

/// A call's outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// `None` is OK. A number that is no code arrives as [`Code::Unknown`], so that a failure never reads as
    /// success.
    pub code: Option<Code>,
    /// `grpc-message`, decoded. Sent up to 4 KiB; the rest is cut.
    pub message: ByteString,
    /// `grpc-status-details-bin`, decoded. Sent up to 8 KiB; longer ones are left out, since half of a message
    /// is none.
    pub details: Bytes,
}

/// Bytes before the texts.
const FIXED: usize = 6;
const MAX_MESSAGE: usize = 4 << 10;
const MAX_DETAILS: usize = 8 << 10;

impl End {
    /// The call succeeded.
    #[must_use]
    pub fn ok() -> Self {
        Self::default()
    }

    /// The call failed.
    #[must_use]
    pub fn error(code: Code, message: impl Into<ByteString>) -> Self {
        Self { code: Some(code), message: message.into(), details: Bytes::new() }
    }

    /// Whether the call succeeded.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code.is_none()
    }

    fn sent_details(&self) -> &[u8] {
        if self.details.len() <= MAX_DETAILS { &self.details } else { &[] }
    }

    pub(crate) fn encoded_len(&self) -> usize {
        FIXED + truncated(&self.message, MAX_MESSAGE).len() + self.sent_details().len()
    }

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        let message = truncated(&self.message, MAX_MESSAGE);
        let details = self.sent_details();
        // Codes are 0 to 16.
        to.extend_from_slice(&[self.code.map_or(0, |code| code.number() as u8), 0]);
        to.extend_from_slice(&(message.len() as u16).to_le_bytes());
        to.extend_from_slice(&(details.len() as u16).to_le_bytes());
        to.extend_from_slice(message.as_bytes());
        to.extend_from_slice(details);
    }

    /// Reads a head, copying its texts: nearly every one has none. What follows them is of a later minor
    /// version and ignored.
    pub(crate) fn decode(head: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields(head);
        let mut parse = || {
            let code = fields.u8()?;
            fields.u8()?;
            let (message, details) = (fields.u16()?, fields.u16()?);
            let message = std::str::from_utf8(fields.bytes(usize::from(message))?).ok()?;
            let details = fields.bytes(usize::from(details))?;
            Some(Self {
                code: (code != 0).then(|| Code::from_number(i32::from(code))),
                message: if message.is_empty() { ByteString::new() } else { ByteString::from(message) },
                details: if details.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(details) },
            })
        };
        parse().ok_or(Kind::End.malformed())
    }
}
