//! Protobuf's wire format over a chain of pieces: just enough to take an envelope apart without touching
//! the payload inside.

use bytes::Buf;
use bytestring::ByteString;
use prism_plugin_abi::Payload;

/// Not protobuf, or not protobuf that we accept.
pub(crate) type Malformed = &'static str;

/// A field's value, by wire type.
pub(crate) enum Value {
    Varint(u64),
    /// Fixed 32 or 64 bits: no envelope has one, so only their place matters.
    Fixed,
    Bytes(Payload),
}

/// The next field of a message, taken off the front; `None` at its end.
pub(crate) fn next_field(message: &mut Payload) -> Result<Option<(u32, Value)>, Malformed> {
    if message.is_empty() {
        return Ok(None);
    }
    let key = u32::try_from(varint(message)?).map_err(|_| "a field number above 2^29")?;
    let number = key >> 3;
    if number == 0 {
        return Err("field number 0");
    }
    let value = match key & 7 {
        0 => Value::Varint(varint(message)?),
        1 => fixed(message, 8)?,
        2 => {
            let length = usize::try_from(varint(message)?).map_err(|_| "a length beyond the message")?;
            if length > message.len() {
                return Err("a length beyond the message");
            }
            Value::Bytes(message.split_to(length))
        }
        5 => fixed(message, 4)?,
        3 | 4 => return Err("a group (groups are not part of proto3)"),
        _ => return Err("an unknown wire type"),
    };
    Ok(Some((number, value)))
}

fn fixed(message: &mut Payload, size: usize) -> Result<Value, Malformed> {
    if message.len() < size {
        return Err("a truncated fixed-size field");
    }
    message.advance(size);
    Ok(Value::Fixed)
}

fn varint(message: &mut Payload) -> Result<u64, Malformed> {
    // Nearly every key and every small length.
    if let Some(byte @ 0..0x80) = message.chunk().first().copied() {
        message.advance(1);
        return Ok(byte.into());
    }
    let (value, length) = match parse_varint(message.chunk())? {
        Some(parsed) => parsed,
        // It goes on in the next piece.
        None => {
            let (mut bytes, mut length) = ([0; LONGEST], 0);
            for piece in message.pieces().take(LONGEST) {
                let more = piece.len().min(LONGEST - length);
                bytes[length..length + more].copy_from_slice(&piece[..more]);
                length += more;
            }
            parse_varint(&bytes[..length])?.ok_or("a truncated number")?
        }
    };
    message.advance(length);
    Ok(value)
}

/// Bytes of the longest number.
const LONGEST: usize = 10;

/// A number and its length in bytes; `None` where the bytes end before it does.
fn parse_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(LONGEST).enumerate() {
        if index == LONGEST - 1 && *byte > 1 {
            return Err(if *byte < 0x80 { "a number above 2^64" } else { "a number of more than ten bytes" });
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Ok(Some((value, index + 1)));
        }
    }
    Ok(None)
}

impl Value {
    pub(crate) fn bytes(self) -> Result<Payload, Malformed> {
        match self {
            Self::Bytes(payload) => Ok(payload),
            Self::Varint(_) | Self::Fixed => Err("a number where bytes belong"),
        }
    }

    pub(crate) fn text(self) -> Result<ByteString, Malformed> {
        ByteString::try_from(self.bytes()?.into_bytes()).map_err(|_| "text that is not UTF-8")
    }

    pub(crate) fn number(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(number) => Ok(number),
            Self::Fixed | Self::Bytes(_) => Err("bytes where a number belongs"),
        }
    }
}
