//! The envelope around a payload: `ExecuteRequest`, `ExecuteResponse`, `StreamRequest` and
//! `StreamResponse` as gRPC frames, to and from the call types of `prism-plugin-abi`.
//!
//! [`control`] has the rest of the plugin protocol: the calls that are few.
//!
//! Only the envelope is read and written; the payload inside stays in the pieces that it came in.

#[cfg(feature = "config")]
mod config;
pub mod control;
mod custom;
mod framing;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod unwrap;
mod wire;

#[cfg(feature = "config")]
pub use config::{ConfigError, encode_config};
pub use framing::{Deframer, encode_control};
pub use reply::{StreamReply, decode_reply, decode_stream_reply, encode_reply, encode_stream_reply};
pub use request::{behind, decode_message, decode_request, encode_request, raw_request_head, typed_request};
pub use unwrap::{Event, Expected, Unwrap, result_of};

/// An answer that does not follow the plugin protocol, or a message that cannot be framed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The compressed flag is set. The proxy never negotiates compression with a plugin.
    #[error("the message is compressed, which was not negotiated")]
    Compressed,
    /// Not a gRPC message at all.
    #[error(transparent)]
    Prefix(#[from] prism_proto::envelope::BadPrefix),
    /// Fewer bytes came than were announced.
    #[error("a message of {declared} bytes ended after {got}")]
    Truncated {
        /// Bytes announced.
        declared: usize,
        /// Bytes that came.
        got: usize,
    },
    /// More than one message where there must be one.
    #[error("bytes follow the only message that may be there")]
    Trailing,
    /// gRPC's length has 32 bits.
    #[error(transparent)]
    TooLong(#[from] prism_proto::envelope::TooLong),
    /// More than whoever reads is ready to take.
    #[error("a message of {declared} bytes is above the limit of {limit}")]
    TooLarge {
        /// Bytes announced.
        declared: usize,
        /// Bytes that are taken at most.
        limit: usize,
    },
    /// Not the protobuf message it should be.
    #[error("malformed {message}: {problem}")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A field that may occur once occurs twice.
    #[error("malformed {message}: `{field}` occurs twice")]
    Duplicate {
        /// Which message.
        message: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// A result of another type than the operation declares.
    #[error("its result is `{got}`, and not a message of type `{expected}`")]
    OtherResult {
        /// The type's URL.
        expected: bytestring::ByteString,
        /// What came.
        got: bytestring::ByteString,
    },
}
