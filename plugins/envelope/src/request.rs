//! `ExecuteRequest` and `StreamRequest`. Both use the same numbers for the same fields, so one reader
//! and one writer serve them.

use crate::{
    ProtocolError, framing,
    wire::{self, Malformed, Value},
};
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use prism_plugin_abi::{Code, Data, Error, Payload, Request};
use prism_proto::envelope::{
    self, Follows,
    field::{
        any, entry,
        request::{METADATA, OPERATION, RAW_PARAMS, TYPED_PARAMS},
    },
};

/// Reads a call's body: exactly one framed `ExecuteRequest`.
///
/// # Errors
/// `INVALID_ARGUMENT` for the channel: the frame or the message is malformed, or a field that may occur
/// once occurs twice. Protobuf lets the last one win; a caller could then be authorized for one operation
/// and run another.
pub fn decode_request(body: Payload) -> Result<Request, Error> {
    framing::single(body).map_err(|error| invalid(&error)).and_then(decode_message)
}

/// Reads one message without its prefix.
///
/// # Errors
/// As [`decode_request`].
pub fn decode_message(message: Payload) -> Result<Request, Error> {
    decode(message).map_err(|error| invalid(&error))
}

fn invalid(error: &ProtocolError) -> Error {
    Error::channel(Code::InvalidArgument, error.to_string())
}

fn decode(mut message: Payload) -> Result<Request, ProtocolError> {
    const MESSAGE: &str = "ExecuteRequest";
    let malformed = |problem| ProtocolError::Malformed { message: MESSAGE, problem };
    let duplicate = |field| ProtocolError::Duplicate { message: MESSAGE, field };
    let mut operation = None;
    let mut params = None;
    let mut metadata = Vec::new();
    while let Some((number, value)) = wire::next_field(&mut message).map_err(malformed)? {
        match number {
            OPERATION if operation.is_some() => return Err(duplicate("operation")),
            OPERATION => operation = Some(value.text().map_err(malformed)?),
            TYPED_PARAMS | RAW_PARAMS if params.is_some() => return Err(duplicate("params")),
            TYPED_PARAMS => params = Some(read_any(value).map_err(malformed)?),
            RAW_PARAMS => params = Some(Data::Raw(value.bytes().map_err(malformed)?)),
            METADATA => metadata.push(read_entry(value).map_err(malformed)?),
            _ => {}
        }
    }
    Ok(Request { operation: operation.unwrap_or_default(), params: params.unwrap_or_default(), metadata })
}

/// A `google.protobuf.Any`.
pub(crate) fn read_any(value: Value) -> Result<Data, Malformed> {
    let mut message = value.bytes()?;
    let (mut type_url, mut content) = (None, None);
    while let Some((number, value)) = wire::next_field(&mut message)? {
        let twice = match number {
            any::TYPE_URL => type_url.replace(value.text()?).is_some(),
            any::VALUE => content.replace(value.bytes()?).is_some(),
            _ => false,
        };
        // Readers differ in which one they take.
        if twice {
            return Err("a field of an `Any` occurs twice");
        }
    }
    // A value that is not there is an empty message.
    Ok(Data::Typed { type_url: type_url.unwrap_or_default(), value: content.unwrap_or_default() })
}

/// One entry of a `map<string, string>`.
fn read_entry(value: Value) -> Result<(ByteString, ByteString), Malformed> {
    let mut message = value.bytes()?;
    let (mut key, mut content) = (ByteString::new(), ByteString::new());
    while let Some((number, value)) = wire::next_field(&mut message)? {
        match number {
            entry::KEY => key = value.text()?,
            entry::VALUE => content = value.text()?,
            _ => {}
        }
    }
    Ok((key, content))
}

/// Frames a request: head bytes, then the payload's own pieces.
///
/// # Errors
/// [`ProtocolError::TooLong`]
pub fn encode_request(request: Request) -> Result<Payload, ProtocolError> {
    let Request { operation, params, metadata } = request;
    let head = envelope::request(&operation, pairs(&metadata), follows(&params))?;
    Ok(join(head, params))
}

/// What goes in front of an upload of `length` bytes, so that the two together are one framed
/// `ExecuteRequest` (or `StreamRequest`) whose `raw_params` is the upload. Exactly `length` bytes must follow.
///
/// # Errors
/// [`ProtocolError::TooLong`]
pub fn raw_request_head(
    operation: &str,
    metadata: &[(ByteString, ByteString)],
    length: usize,
) -> Result<Bytes, ProtocolError> {
    Ok(envelope::request(operation, pairs(metadata), Follows::Raw(length))?.freeze())
}

/// Frames a request with typed parameters.
///
/// # Errors
/// [`ProtocolError::TooLong`]
pub fn typed_request(
    operation: &str,
    metadata: &[(ByteString, ByteString)],
    type_url: &str,
    message: Bytes,
) -> Result<Payload, ProtocolError> {
    let params = Follows::Typed { type_url, length: message.len() };
    let head = envelope::request(operation, pairs(metadata), params)?;
    Ok(behind(head, message.into()))
}

fn pairs(metadata: &[(ByteString, ByteString)]) -> impl Iterator<Item = (&str, &str)> + Clone {
    metadata.iter().map(|(key, value)| (&**key, &**value))
}

/// What will follow a head that is written for `data`.
pub(crate) fn follows(data: &Data) -> Follows<'_> {
    match data {
        Data::Empty => Follows::Nothing,
        Data::Raw(payload) => Follows::Raw(payload.len()),
        Data::Typed { type_url, value } => Follows::Typed { type_url, length: value.len() },
    }
}

/// A payload behind its head, for which the head must have been written.
#[must_use]
pub fn behind(head: BytesMut, payload: Payload) -> Payload {
    join(head, Data::Raw(payload))
}

/// The head, then the payload: a small one in the head's own room, any other in its own pieces.
pub(crate) fn join(mut head: BytesMut, data: Data) -> Payload {
    let mut payload = match data {
        Data::Empty => return head.freeze().into(),
        Data::Raw(payload) | Data::Typed { value: payload, .. } => payload,
    };
    if payload.len() <= envelope::SMALL {
        payload.pieces().for_each(|piece| head.put_slice(piece));
        return head.freeze().into();
    }
    let mut framed = Payload::from(head.freeze());
    while let Some(piece) = payload.pop() {
        framed.push(piece);
    }
    framed
}
