//! The envelopes against prost's own encoding, and against what nobody should send.

use super::*;
use bytes::Bytes;
use prism_plugin_abi::{ByteString, Code, Data, Error, Payload, Request, Scope};
use prism_proto::plugin;
use proptest::prelude::*;
use prost::Message;

fn framed(message: &[u8]) -> Payload {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    Bytes::from(frame).into()
}

/// The same bytes, cut wherever `cuts` says.
fn cut(payload: Payload, cuts: &[usize]) -> Payload {
    let mut rest = payload.into_bytes();
    let mut pieces = Payload::new();
    for cut in cuts {
        pieces.push(rest.split_to((*cut).min(rest.len())));
    }
    pieces.push(rest);
    pieces
}

fn data() -> impl Strategy<Value = Data> {
    let bytes =
        || prop::collection::vec(any::<u8>(), 0..3000).prop_map(|bytes| Payload::from(Bytes::from(bytes)));
    prop_oneof![
        Just(Data::Empty),
        bytes().prop_map(Data::Raw),
        ("[a-z./]{0,60}", bytes())
            .prop_map(|(url, value)| Data::Typed { type_url: ByteString::from(url), value }),
    ]
}

/// For comparison: kind, type URL, bytes.
fn shown(data: &Data) -> (u8, String, Bytes) {
    match data.clone() {
        Data::Empty => (0, String::new(), Bytes::new()),
        Data::Typed { type_url, value } => (1, type_url.to_string(), value.into_bytes()),
        Data::Raw(payload) => (2, String::new(), payload.into_bytes()),
    }
}

proptest! {
    #[test]
    fn requests_survive_the_trip_however_they_are_cut(
        operation in "[a-z_]{0,40}",
        metadata in prop::collection::vec(("[a-z]{0,8}", ".{0,20}"), 0..4),
        params in data(),
        cuts in prop::collection::vec(1_usize..700, 0..8),
    ) {
        let metadata: Vec<(ByteString, ByteString)> =
            metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let request = Request { operation: operation.into(), params, metadata };
        let body = cut(encode_request(request.clone()).unwrap(), &cuts);
        let decoded = decode_request(body.clone()).unwrap();
        prop_assert_eq!(&decoded.operation, &request.operation);
        prop_assert_eq!(&decoded.metadata, &request.metadata);
        prop_assert_eq!(shown(&decoded.params), shown(&request.params));
        // And prost reads the same.
        let message = plugin::ExecuteRequest::decode(&body.into_bytes()[5..]).unwrap();
        prop_assert_eq!(message.operation.as_str(), &*request.operation);
    }

    #[test]
    fn replies_survive_the_trip_however_they_are_cut(
        outcome in prop_oneof![
            data().prop_map(Ok),
            (1_i32..17, ".{1,80}").prop_map(|(code, text)| Err(Error::operation(Code::from_number(code), text))),
        ],
        cuts in prop::collection::vec(1_usize..700, 0..8),
    ) {
        let unary = decode_reply(cut(encode_reply(outcome.clone()).unwrap(), &cuts)).unwrap();
        let mut deframer = Deframer::default();
        let mut body = cut(encode_stream_reply(outcome.clone()).unwrap(), &cuts);
        while let Some(piece) = body.pop() {
            deframer.push(piece);
        }
        let stream = decode_stream_reply(deframer.next_message().unwrap().unwrap()).unwrap();
        prop_assert!(deframer.is_between_messages());
        prop_assert_eq!(stream.is_final, outcome.is_err());
        for decoded in [unary, stream.outcome] {
            match (&decoded, &outcome) {
                (Ok(one), Ok(another)) => prop_assert_eq!(shown(one), shown(another)),
                (one, another) => prop_assert_eq!(one.as_ref().err(), another.as_ref().err()),
            }
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let payload = Payload::from(Bytes::from(bytes.clone()));
        drop(decode_request(payload.clone()));
        drop(decode_message(payload.clone()));
        drop(decode_reply(payload.clone()));
        drop(decode_stream_reply(payload));
        drop(decode_reply(framed(&bytes)));
    }
}

#[test]
fn a_large_payload_is_never_copied() {
    let payload = Bytes::from(vec![7; 100_000]);
    let address = payload.as_ptr();
    let request = Request { params: Data::Raw(payload.clone().into()), ..Default::default() };
    let body = encode_request(request).unwrap();
    assert_eq!(body.pieces().last().unwrap().as_ptr(), address);
    let Data::Raw(decoded) = decode_request(body).unwrap().params else { panic!("not raw") };
    assert_eq!(decoded.into_bytes().as_ptr(), address);

    let reply = encode_reply(Ok(Data::Typed { type_url: "x".into(), value: payload.into() })).unwrap();
    assert_eq!(reply.pieces().count(), 2);
    let Data::Typed { value, .. } = decode_reply(reply).unwrap().unwrap() else { panic!("not typed") };
    assert_eq!(value.into_bytes().as_ptr(), address);
}

#[test]
fn a_small_payload_travels_with_its_head() {
    let reply = encode_reply(Ok(Data::Raw(Bytes::from_static(b"hello").into()))).unwrap();
    assert_eq!(reply.pieces().count(), 1);
}

#[test]
fn a_raw_upload_is_a_message_once_its_bytes_follow() {
    for length in [0, 1, 127, 128, 70_000] {
        let metadata = [("key".into(), "greeting".into())];
        let mut body = Payload::from(raw_request_head("set", &metadata, length).unwrap());
        body.push(vec![1; length].into());
        let request = decode_request(body).unwrap();
        assert_eq!((&*request.operation, request.metadata("key")), ("set", Some("greeting")));
        assert!(matches!(request.params, Data::Raw(payload) if payload.len() == length));
    }
    assert!(matches!(raw_request_head("set", &[], u32::MAX as usize), Err(ProtocolError::TooLong(_))));
}

#[test]
fn twofold_fields_are_refused() {
    let (get, set) = (b"\x0a\x03get", b"\x0a\x03set");
    let raw = b"\x1a\x01x";
    let typed = b"\x12\x00";
    for message in [
        [&get[..], set].concat(),
        [&get[..], raw, get].concat(),
        [&raw[..], raw].concat(),
        [&raw[..], typed].concat(),
        [&typed[..], typed].concat(),
    ] {
        let error = decode_request(framed(&message)).unwrap_err();
        assert_eq!((error.code, error.scope), (Code::InvalidArgument, Scope::Channel));
        assert!(error.message.contains("occurs twice"), "{error}");
    }
    for message in
        [&b"\x08\x01\x08\x00"[..], b"\x08\x01\x2a\x00\x22\x00", b"\x12\x01a\x12\x01b", b"\x18\x05\x18\x05"]
    {
        assert!(matches!(decode_reply(framed(message)), Err(ProtocolError::Duplicate { .. })), "{message:?}");
    }
}

#[test]
fn malformed_messages_are_refused() {
    for message in [
        &b"\x0a"[..],                                    // a key without its value
        b"\x0a\x05get",                                  // a length beyond the message
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", // a length above 2^64
        b"\x0b\x0c",                                     // a group
        b"\x0f",                                         // an unknown wire type
        b"\x02\x00",                                     // field number 0
        b"\x0a\x02\xff\xfe",                             // an operation that is not UTF-8
        b"\x08\x01",                                     // a number for an operation
        b"\x39\x00",                                     // a truncated fixed64
        b"\x12\x02\x0a\x05",                             // a broken Any
        b"\x22\x02\x0a\x05",                             // a broken map entry
    ] {
        let error = decode_request(framed(message)).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{message:?}: {error}");
    }
}

#[test]
fn unknown_fields_are_skipped() {
    let message = b"\x0a\x03get\x7a\x01x\x70\x05\x79\x00\x00\x00\x00\x00\x00\x00\x00\x7d\x00\x00\x00\x00";
    assert_eq!(decode_request(framed(message)).unwrap().operation, "get");
}

#[test]
fn lying_frames_are_refused() {
    let whole = framed(b"\x0a\x03get").into_bytes();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = whole.to_vec();
        change(&mut bytes);
        decode_reply(Bytes::from(bytes).into()).unwrap_err()
    };
    assert_eq!(with(|bytes| bytes[0] = 1), ProtocolError::Compressed);
    assert!(matches!(with(|bytes| bytes[0] = 2), ProtocolError::Prefix(_)));
    assert!(matches!(with(|bytes| bytes[4] += 1), ProtocolError::Truncated { declared: 6, got: 5 }));
    assert_eq!(with(|bytes| bytes[4] -= 1), ProtocolError::Trailing);
    assert!(matches!(with(|bytes| bytes.truncate(3)), ProtocolError::Truncated { .. }));
    assert!(matches!(with(|bytes| bytes.clear()), ProtocolError::Truncated { .. }));
}

#[test]
fn a_failure_never_reads_as_success() {
    for (message, code) in [
        (&b""[..], Code::Unknown),                                        // nothing at all
        (b"\x08\x00", Code::Unknown),                                     // success = false and no more
        (b"\x18\x00", Code::Unknown),                                     // error_code = 0
        (b"\x18\xe7\x07", Code::Unknown),                                 // error_code = 999
        (b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Code::Unknown), // error_code = -1
        (b"\x2a\x01x\x18\x05", Code::NotFound),                           // a result beside the failure
    ] {
        let error = decode_reply(framed(message)).unwrap().unwrap_err();
        assert_eq!((error.code, error.scope), (code, Scope::Operation), "{message:?}");
        assert!(!error.message.is_empty());
    }
}

#[test]
fn a_stream_may_be_cut_between_any_two_bytes() {
    let mut bytes = Vec::new();
    for text in ["one", "", "three"] {
        bytes.extend(framed(text.as_bytes()).into_bytes());
    }
    let mut deframer = Deframer::default();
    let mut messages = Vec::new();
    for byte in bytes {
        deframer.push(Bytes::copy_from_slice(&[byte]));
        while let Some(message) = deframer.next_message().unwrap() {
            messages.push(message.into_bytes());
        }
    }
    assert_eq!(messages, ["one", "", "three"]);
    assert!(deframer.is_between_messages());
    deframer.push(Bytes::from_static(b"\0\0"));
    assert!(!deframer.is_between_messages());
}

#[test]
fn a_message_above_the_limit_is_refused_by_its_prefix() {
    let mut deframer = Deframer::with_limit(5);
    deframer.push(framed(b"12345").into_bytes());
    assert_eq!(deframer.next_message().unwrap().unwrap().into_bytes(), "12345");
    deframer.push(Bytes::from_static(b"\0\0\0\0\x06"));
    assert_eq!(deframer.next_message().unwrap_err(), ProtocolError::TooLarge { declared: 6, limit: 5 });
}

#[test]
fn control_messages_are_framed() {
    let message = plugin::GetMetricsRequest { instance: u64::MAX };
    let mut deframer = Deframer::default();
    deframer.push(encode_control(&message).unwrap());
    let read = deframer.next_message().unwrap().unwrap();
    assert_eq!(plugin::GetMetricsRequest::decode(read).unwrap(), message);
    assert!(deframer.is_between_messages());
}
