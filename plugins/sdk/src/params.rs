//! Typed parameters and results, without copying what they carry.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use prism_plugin_abi::{Data, Error, Payload, Request};
use prost::{Message, Name};

/// Below this many bytes, copying a value into the message is cheaper than carrying it as a piece of its
/// own through everything that follows.
const WORTH_A_PIECE: usize = 1024;

/// Reading a request's parameters.
pub trait Params {
    /// The parameters as this message. `Bytes` fields share the buffers that the request arrived in.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when they are of another type, missing, raw or malformed.
    fn typed<M: Message + Name + Default>(self) -> Result<M, Error>;

    /// The parameters as raw bytes.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when they are missing or typed.
    fn raw(self) -> Result<Payload, Error>;

    /// The parameters are raw bytes.
    fn is_raw(&self) -> bool;
}

impl Params for Request {
    fn typed<M: Message + Name + Default>(self) -> Result<M, Error> {
        let wrong = |found: &str| {
            Error::invalid(format!(
                "`{}` takes typed_params of type `{}`, not {found}",
                self.operation,
                M::full_name()
            ))
        };
        match self.params {
            Data::Empty => Err(wrong("nothing")),
            Data::Raw(_) => Err(wrong("raw_params")),
            Data::Typed { type_url, value } => match type_url.rsplit_once('/') {
                // `google.protobuf.Any` demands at least one slash; what stands before it is nobody's business.
                Some((_, name)) if name == M::full_name() => M::decode(value)
                    .map_err(|error| Error::invalid(format!("malformed `{}`: {error}", M::full_name()))),
                Some((_, name)) => Err(wrong(&format!("of type `{name}`"))),
                None => Err(wrong(&format!("of type URL `{type_url}`, which has no slash"))),
            },
        }
    }

    fn raw(self) -> Result<Payload, Error> {
        match self.params {
            Data::Raw(payload) => Ok(payload),
            Data::Empty => Err(Error::invalid(format!("`{}` got no params", self.operation))),
            Data::Typed { .. } => Err(Error::invalid(format!("`{}` takes raw_params here", self.operation))),
        }
    }

    fn is_raw(&self) -> bool {
        matches!(self.params, Data::Raw(_))
    }
}

/// A message as a result.
#[must_use]
pub fn typed_reply<M: Message + Name>(message: &M) -> Data {
    Data::Typed { type_url: type_url::<M>(), value: Bytes::from(message.encode_to_vec()).into() }
}

/// A message as a result, with one `bytes` field that is too large to copy: `message` without it, the
/// field's number, its value.
#[must_use]
pub fn typed_reply_ending_in<M: Message + Name>(message: &M, field: u32, value: Bytes) -> Data {
    let mut head = BytesMut::with_capacity(message.encoded_len() + 16 + value.len().min(WORTH_A_PIECE));
    // Into a buffer that grows; it cannot be full.
    let _ = message.encode(&mut head);
    let mut payload = Payload::new();
    if value.is_empty() {
        payload.push(head.freeze());
    } else {
        prost::encoding::encode_key(field, prost::encoding::WireType::LengthDelimited, &mut head);
        prost::encoding::encode_varint(value.len() as u64, &mut head);
        if value.len() < WORTH_A_PIECE {
            head.put_slice(&value);
            payload.push(head.freeze());
        } else {
            payload.push(head.freeze());
            payload.push(value);
        }
    }
    Data::Typed { type_url: type_url::<M>(), value: payload }
}

fn type_url<M: Name>() -> ByteString {
    ByteString::from(M::type_url())
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_abi::Code;
    use prism_proto::kv::v1::{GetRequest, GetResponse, SetRequest};

    fn request(params: Data) -> Request {
        Request { operation: "get".into(), params, metadata: Vec::new() }
    }

    #[test]
    fn a_chain_of_pieces_is_decoded_in_place() {
        let message = SetRequest { key: "k".into(), value: vec![7; 5000].into(), ..Default::default() };
        let encoded = Bytes::from(message.encode_to_vec());
        let value: Payload = [encoded.slice(..5), encoded.slice(5..)].into_iter().collect();
        let request = request(Data::Typed { type_url: SetRequest::type_url().into(), value });
        let decoded: SetRequest = request.typed().unwrap();
        assert_eq!(decoded, message);
        assert!(encoded.as_ptr_range().contains(&decoded.value.as_ptr()), "not copied");
    }

    #[test]
    fn other_params_are_refused() {
        let typed = |url: &'static str, value: &'static [u8]| Data::Typed {
            type_url: url.into(),
            value: Bytes::from_static(value).into(),
        };
        for (params, words) in [
            (Data::Empty, "not nothing"),
            (Data::Raw(Payload::new()), "not raw_params"),
            (
                typed("type.googleapis.com/prism.kv.v1.SetRequest", b""),
                "not of type `prism.kv.v1.SetRequest`",
            ),
            (typed("prism.kv.v1.GetRequest", b""), "no slash"),
            (typed("type.googleapis.com/prism.kv.v1.GetRequest.X", b""), "not of type"),
            (typed("", b""), "no slash"),
            (typed("type.googleapis.com/prism.kv.v1.GetRequest", b"\x0a\x05"), "malformed"),
        ] {
            let error = request(params).typed::<GetRequest>().unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(words), "{error} lacks {words}");
        }
    }

    #[test]
    fn a_reply_that_ends_in_bytes_is_the_message() {
        let head = GetResponse { found: true, ttl_ms: Some(5), ..Default::default() };
        for length in [0, 1, WORTH_A_PIECE - 1, WORTH_A_PIECE, 100_000] {
            let bytes = Bytes::from(vec![1; length]);
            let Data::Typed { type_url, value } = typed_reply_ending_in(&head, 2, bytes.clone()) else {
                panic!()
            };
            assert_eq!(&*type_url, GetResponse::type_url());
            assert_eq!(value.pieces().last().unwrap().as_ptr() == bytes.as_ptr(), length >= WORTH_A_PIECE);
            assert_eq!(GetResponse::decode(value).unwrap(), GetResponse { value: bytes, ..head.clone() });
        }
    }
}
