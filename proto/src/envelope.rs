//! The bytes that go in front of a payload, so that it need not be copied into a message.
//!
//! Protobuf writes a field as tag, length, value. When the payload is the last field, all that stands
//! before it can be written while only its length is known, and the payload's own bytes follow as they
//! are, in as many pieces as they come. Every function here returns such a head, gRPC prefix included;
//! exactly as many bytes as it was told must follow. The head of a small payload has room for it, and not a
//! byte more: both together are one allocation, frozen as they are.

use bytes::{BufMut, BytesMut};

/// Field numbers of the messages that carry payloads, for those who walk them by hand.
pub mod field {
    /// `ExecuteRequest` and `StreamRequest`.
    pub mod request {
        /// `operation`
        pub const OPERATION: u32 = 1;
        /// `typed_params`
        pub const TYPED_PARAMS: u32 = 2;
        /// `raw_params`
        pub const RAW_PARAMS: u32 = 3;
        /// `metadata`
        pub const METADATA: u32 = 4;
    }

    /// `ExecuteResponse`.
    pub mod response {
        /// `success`
        pub const SUCCESS: u32 = 1;
        /// `error`
        pub const ERROR: u32 = 2;
        /// `error_code`
        pub const ERROR_CODE: u32 = 3;
        /// `typed_result`
        pub const TYPED_RESULT: u32 = 4;
        /// `raw_result`
        pub const RAW_RESULT: u32 = 5;
        /// `metrics`
        pub const METRICS: u32 = 6;
    }

    /// `StreamResponse`.
    pub mod stream_response {
        /// `typed_result`
        pub const TYPED_RESULT: u32 = 1;
        /// `raw_result`
        pub const RAW_RESULT: u32 = 2;
        /// `is_final`
        pub const IS_FINAL: u32 = 3;
        /// `error`
        pub const ERROR: u32 = 4;
        /// `error_code`
        pub const ERROR_CODE: u32 = 5;
    }

    /// `google.protobuf.Any`.
    pub mod any {
        /// `type_url`
        pub const TYPE_URL: u32 = 1;
        /// `value`
        pub const VALUE: u32 = 2;
    }

    /// An entry of a map.
    pub mod entry {
        /// The key.
        pub const KEY: u32 = 1;
        /// The value.
        pub const VALUE: u32 = 2;
    }
}

/// Bytes of a gRPC message prefix.
pub const PREFIX_LEN: usize = 5;

/// What stands before every gRPC message ("Length-Prefixed-Message" of the gRPC over HTTP/2 protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The message is compressed, by the `grpc-encoding` header.
    pub compressed: bool,
    /// Its length in bytes, as it is on the wire.
    pub length: u32,
}

/// The first byte of a prefix is neither 0 nor 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the compressed flag of a gRPC message is {0}, neither 0 nor 1")]
pub struct BadPrefix(pub u8);

impl Prefix {
    /// Its bytes.
    #[must_use]
    pub fn encode(self) -> [u8; PREFIX_LEN] {
        let [a, b, c, d] = self.length.to_be_bytes();
        [u8::from(self.compressed), a, b, c, d]
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`BadPrefix`]: whatever this is, it is not a gRPC message.
    pub fn parse([flag, a, b, c, d]: [u8; PREFIX_LEN]) -> Result<Self, BadPrefix> {
        match flag {
            0 | 1 => Ok(Self { compressed: flag == 1, length: u32::from_be_bytes([a, b, c, d]) }),
            _ => Err(BadPrefix(flag)),
        }
    }
}

/// The payload that will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows<'a> {
    /// None: the head is the whole message.
    Nothing,
    /// So many bytes of `raw_params` or `raw_result`.
    Raw(usize),
    /// So many bytes of an encoded message of this type.
    Typed {
        /// `type.googleapis.com/<full name>`
        type_url: &'a str,
        /// The encoded message's length in bytes.
        length: usize,
    },
}

impl Follows<'_> {
    /// Bytes that follow the head.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Raw(length) | Self::Typed { length, .. } => length,
        }
    }

    /// Bytes between the other fields and the payload.
    fn introduction(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Raw(length) => 1 + varint_len(length as u64),
            Self::Typed { type_url, length } => {
                let before = text_len(type_url) + 1 + varint_len(length as u64);
                1 + varint_len((before + length) as u64) + before
            }
        }
    }
}

/// Bytes of the largest payload that its head has room for. A second piece costs an allocation, and over HTTP/2 a
/// frame of its own later: more than copying a small payload.
pub const SMALL: usize = 1024;

/// A message would exceed what a gRPC prefix can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {0} bytes exceeds the 4 GiB that a gRPC length prefix can say")]
pub struct TooLong(pub usize);

/// The head of an `ExecuteRequest`; of a `StreamRequest` too, whose field numbers are the same.
///
/// # Errors
/// [`TooLong`]
pub fn request<'m>(
    operation: &str,
    metadata: impl IntoIterator<Item = (&'m str, &'m str), IntoIter: Clone>,
    params: Follows<'_>,
) -> Result<BytesMut, TooLong> {
    use field::request::{METADATA, OPERATION, RAW_PARAMS, TYPED_PARAMS};
    let metadata = metadata.into_iter();
    let entry_len = |(key, value)| text_len(key) + text_len(value);
    let entries = metadata.clone().map(entry_len).map(|length| 1 + varint_len(length as u64) + length);
    let mut head = Head::new(text_len(operation) + entries.sum::<usize>(), params);
    // First, so that whoever authorizes the call sees it first.
    head.text(OPERATION, operation);
    for (key, value) in metadata {
        let length = entry_len((key, value));
        head.tag(METADATA, 2);
        head.varint(length as u64);
        head.text(field::entry::KEY, key);
        head.text(field::entry::VALUE, value);
    }
    head.finish(params, TYPED_PARAMS, RAW_PARAMS)
}

/// The heads of one operation's `ExecuteRequest`s (or `StreamRequest`s) with typed parameters, which differ in their lengths
/// alone: all else is written once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedRequest {
    /// The operation, and the tag of `typed_params`.
    operation: Box<[u8]>,
    /// The type's URL, and the tag of `value`.
    type_url: Box<[u8]>,
}

impl TypedRequest {
    /// Of this operation, with parameters of the type with this URL.
    #[must_use]
    pub fn new(operation: &str, type_url: &str) -> Self {
        let field = |number, text, tag| {
            let mut bytes = Head(BytesMut::new());
            bytes.text(number, text);
            bytes.tag(tag, 2);
            bytes.0[..].into()
        };
        Self {
            operation: field(field::request::OPERATION, operation, field::request::TYPED_PARAMS),
            type_url: field(field::any::TYPE_URL, type_url, field::any::VALUE),
        }
    }

    /// The head of a message with so many bytes of parameters; what [`request`] would write. A stream's later messages
    /// name no operation, because the first one did.
    ///
    /// # Errors
    /// [`TooLong`]
    pub fn head(&self, first: bool, length: usize) -> Result<BytesMut, TooLong> {
        let tag = self.operation.len() - 1;
        let operation = if first { &self.operation[..] } else { &self.operation[tag..] };
        let any = self.type_url.len() + varint_len(length as u64) + length;
        let message = operation.len() + varint_len(any as u64) + any;
        let prefix = u32::try_from(message).map_err(|_| TooLong(message))?;
        // All but a payload that is too large to be copied.
        let room = if length <= SMALL { message } else { message - length };
        let mut head = Head(BytesMut::with_capacity(PREFIX_LEN + room));
        head.0.put_slice(&Prefix { compressed: false, length: prefix }.encode());
        head.0.put_slice(operation);
        head.varint(any as u64);
        head.0.put_slice(&self.type_url);
        head.varint(length as u64);
        Ok(head.0)
    }
}

/// The head of an `ExecuteResponse` that reports success.
///
/// # Errors
/// [`TooLong`]
pub fn response(result: Follows<'_>) -> Result<BytesMut, TooLong> {
    use field::response::{RAW_RESULT, SUCCESS, TYPED_RESULT};
    let mut head = Head::new(2, result);
    head.tag(SUCCESS, 0);
    head.varint(1);
    head.finish(result, TYPED_RESULT, RAW_RESULT)
}

/// A whole `ExecuteResponse` that reports failure.
///
/// # Errors
/// [`TooLong`]
pub fn failure(code: i32, message: &str) -> Result<BytesMut, TooLong> {
    failed(field::response::ERROR, message, field::response::ERROR_CODE, code)
}

/// The head of a `StreamResponse`.
///
/// # Errors
/// [`TooLong`]
pub fn stream_response(result: Follows<'_>) -> Result<BytesMut, TooLong> {
    use field::stream_response::{RAW_RESULT, TYPED_RESULT};
    Head::new(0, result).finish(result, TYPED_RESULT, RAW_RESULT)
}

/// A whole `StreamResponse` that reports failure and is final.
///
/// # Errors
/// [`TooLong`]
pub fn stream_failure(code: i32, message: &str) -> Result<BytesMut, TooLong> {
    use field::stream_response::{ERROR, ERROR_CODE, IS_FINAL};
    let code = sign_extended(code);
    let mut head = Head::new(2 + text_len(message) + 1 + varint_len(code), Follows::Nothing);
    head.tag(IS_FINAL, 0);
    head.varint(1);
    head.text(ERROR, message);
    head.tag(ERROR_CODE, 0);
    head.varint(code);
    head.finish(Follows::Nothing, 0, 0)
}

fn failed(error: u32, message: &str, error_code: u32, code: i32) -> Result<BytesMut, TooLong> {
    let code = sign_extended(code);
    let mut head = Head::new(text_len(message) + 1 + varint_len(code), Follows::Nothing);
    head.text(error, message);
    head.tag(error_code, 0);
    head.varint(code);
    head.finish(Follows::Nothing, 0, 0)
}

/// Protobuf writes a negative int32 as ten bytes.
fn sign_extended(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

struct Head(BytesMut);

impl Head {
    /// With `fields` bytes before what introduces the payload.
    fn new(fields: usize, follows: Follows<'_>) -> Self {
        let room = Some(follows.length()).filter(|length| *length <= SMALL).unwrap_or(0);
        let mut bytes = BytesMut::with_capacity(PREFIX_LEN + fields + follows.introduction() + room);
        bytes.put_bytes(0, PREFIX_LEN);
        Self(bytes)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    /// A text field; left out when empty, as protobuf does.
    fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.tag(field, 2);
            self.varint(text.len() as u64);
            self.0.put_slice(text.as_bytes());
        }
    }

    fn finish(mut self, follows: Follows<'_>, typed: u32, raw: u32) -> Result<BytesMut, TooLong> {
        match follows {
            Follows::Nothing => {}
            // Tag and length are written for an empty payload too: in a oneof, presence is information.
            Follows::Raw(length) => {
                self.tag(raw, 2);
                self.varint(length as u64);
            }
            Follows::Typed { type_url, length } => {
                let value = 1 + varint_len(length as u64) + length;
                self.tag(typed, 2);
                self.varint((text_len(type_url) + value) as u64);
                self.text(field::any::TYPE_URL, type_url);
                self.tag(field::any::VALUE, 2);
                self.varint(length as u64);
            }
        }
        let message = self.0.len() - PREFIX_LEN + follows.length();
        let length = u32::try_from(message).map_err(|_| TooLong(message))?;
        self.0[..PREFIX_LEN].copy_from_slice(&Prefix { compressed: false, length }.encode());
        Ok(self.0)
    }
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes of a text field with a number below 16.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + varint_len(text.len() as u64) + text.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{
        self, execute_request::Params, execute_response::Result as Outcome, stream_response,
    };
    use proptest::prelude::*;
    use prost::Message;

    fn message(head: &BytesMut, payload: &[u8]) -> Vec<u8> {
        assert_eq!(head.capacity(), head.len() + payload.len(), "neither too little nor too much room");
        let prefix = Prefix::parse(head[..PREFIX_LEN].try_into().unwrap()).unwrap();
        let message = [&head[PREFIX_LEN..], payload].concat();
        assert_eq!((prefix.compressed, prefix.length as usize), (false, message.len()));
        message
    }

    proptest! {
        #[test]
        fn heads_and_payloads_are_messages(
            operation in "[a-z]{0,200}",
            metadata in prop::collection::hash_map("[a-z]{0,9}", ".{0,200}", 0..4),
            url in ".{0,150}",
            payload in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let length = payload.len();
            let pairs = || metadata.iter().map(|(key, value)| (&**key, &**value));

            let raw = request(&operation, pairs(), Follows::Raw(length)).unwrap();
            let decoded = plugin::ExecuteRequest::decode(&*message(&raw, &payload)).unwrap();
            prop_assert_eq!(&decoded.operation, &operation);
            prop_assert_eq!(&decoded.metadata, &metadata);
            prop_assert_eq!(decoded.params, Some(Params::RawParams(payload.clone().into())));

            let typed = Follows::Typed { type_url: &url, length };
            let any = crate::google::protobuf::Any { type_url: url.clone(), value: payload.clone().into() };
            let head = request(&operation, pairs(), typed).unwrap();
            let decoded = plugin::ExecuteRequest::decode(&*message(&head, &payload)).unwrap();
            prop_assert_eq!(decoded.params, Some(Params::TypedParams(any.clone())));
            let heads = TypedRequest::new(&operation, &url);
            for (operation, first) in [(&*operation, true), ("", false)] {
                let written = heads.head(first, length).unwrap();
                message(&written, &payload);
                prop_assert_eq!(written, request(operation, [], typed).unwrap());
            }

            let decoded = plugin::ExecuteResponse::decode(&*message(&response(typed).unwrap(), &payload)).unwrap();
            prop_assert!(decoded.success);
            prop_assert_eq!(decoded.result, Some(Outcome::TypedResult(any.clone())));
            let decoded = plugin::StreamResponse::decode(&*message(&stream_response(typed).unwrap(), &payload)).unwrap();
            prop_assert_eq!(decoded.result, Some(stream_response::Result::TypedResult(any)));
        }
    }

    #[test]
    fn failures_are_whole_messages() {
        for code in [0, 5, 16, 300, -1, i32::MIN] {
            let decoded =
                plugin::ExecuteResponse::decode(&*message(&failure(code, "why").unwrap(), b"")).unwrap();
            assert_eq!((decoded.success, &*decoded.error, decoded.error_code), (false, "why", code));
            let decoded =
                plugin::StreamResponse::decode(&*message(&stream_failure(code, "why").unwrap(), b""))
                    .unwrap();
            assert_eq!((decoded.is_final, &*decoded.error, decoded.error_code), (true, "why", code));
        }
        let nothing =
            plugin::ExecuteResponse::decode(&*message(&response(Follows::Nothing).unwrap(), b"")).unwrap();
        assert_eq!((nothing.success, nothing.result), (true, None));
    }

    #[test]
    fn prefixes_are_refused_when_they_are_none() {
        assert_eq!(Prefix::parse([1, 0, 1, 0, 0]), Ok(Prefix { compressed: true, length: 1 << 16 }));
        assert_eq!(Prefix::parse([2, 0, 0, 0, 0]), Err(BadPrefix(2)));
        assert_eq!(Prefix::parse(*b"GET /"), Err(BadPrefix(b'G')));
    }

    #[test]
    fn lengths_beyond_the_prefix_are_refused() {
        let most = u32::MAX as usize;
        assert!(request("", [], Follows::Raw(most - 6)).is_ok());
        assert_eq!(request("", [], Follows::Raw(most - 5)), Err(TooLong(most + 1)));
    }
}
