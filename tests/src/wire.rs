//! Protobuf and gRPC framing by hand, for messages that no library would write.

use bytes::{BufMut, Bytes, BytesMut};

/// A length-delimited field: tag, length, bytes.
#[must_use]
pub fn field(number: u32, value: &[u8]) -> Vec<u8> {
    claimed_field(number, value.len() as u64, value)
}

/// A length-delimited field that claims a length of its own.
#[must_use]
pub fn claimed_field(number: u32, length: u64, value: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(length));
    out.extend_from_slice(value);
    out
}

/// A base-128 number.
#[must_use]
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

/// A message behind gRPC's five-byte prefix.
///
/// # Panics
/// When it is 4 GiB or longer.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    claimed(0, u32::try_from(message.len()).unwrap(), message)
}

/// A message behind a prefix that says something else.
#[must_use]
pub fn claimed(flag: u8, length: u32, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(flag);
    out.put_u32(length);
    out.put_slice(message);
    out.freeze()
}

/// The messages in a gRPC body.
///
/// # Panics
/// When the body is cut within one.
#[must_use]
pub fn messages(mut body: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        messages.push(&body[5..5 + length]);
        body = &body[5 + length..];
    }
    messages
}
