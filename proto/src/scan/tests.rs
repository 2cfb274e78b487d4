//! The scanner by table, against prost, and against itself in pieces.

use super::*;
use crate::{
    google::protobuf::Any,
    plugin::{ExecuteRequest, execute_request::Params},
};
use proptest::prelude::*;
use prost::Message;

fn in_pieces(message: &[u8], piece: usize) -> Result<Option<String>, ScanError> {
    let mut scanner = Scanner::new(message.len());
    for piece in message.chunks(piece.max(1)) {
        scanner.push(piece)?;
    }
    assert_eq!(scanner.remaining(), 0);
    scanner.finish()
}

/// The answer, after checking that no way of cutting the message changes it.
#[track_caller]
fn scan(message: &[u8]) -> Result<Option<String>, ScanError> {
    let whole = scan_whole(message).map(|operation| operation.map(str::to_owned));
    for piece in [1, 2, 3, 7, 4096, message.len()] {
        assert_eq!(in_pieces(message, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    bytes.extend_from_slice(value);
    bytes
}

const OP: u8 = 0x0a;
const TYPED: u8 = 0x12;
const RAW: u8 = 0x1a;
const META: u8 = 0x22;
const UNKNOWN: u8 = 0x7a;

#[test]
fn sound_messages() {
    let get = || field(OP, b"get");
    for (message, operation) in [
        (vec![], None),
        (get(), Some("get")),
        (field(OP, b""), Some("")),
        (field(OP, "ключ".as_bytes()), Some("ключ")),
        (field(OP, &[b'x'; MAX_OPERATION]), Some(&*"x".repeat(MAX_OPERATION))),
        ([field(RAW, b"x"), get()].concat(), Some("get")),
        ([get(), field(TYPED, b"")].concat(), Some("get")),
        (field(RAW, b"payload alone"), None),
        ([get(), field(META, b"a"), field(META, b"b")].concat(), Some("get")),
        // A payload that looks like an operation is a payload.
        ([get(), field(RAW, &field(OP, b"set"))].concat(), Some("get")),
        // Unknown fields of every kind, twice.
        ([field(UNKNOWN, b"u"), field(UNKNOWN, b""), get()].concat(), Some("get")),
        ([&[0x28, 0xff, 0x01, 0x28, 0x00][..], &get()].concat(), Some("get")),
        ([&[0x29, 1, 2, 3, 4, 5, 6, 7, 8][..], &get(), &[0x2d, 1, 2, 3, 4]].concat(), Some("get")),
        // The widest varint, and the highest field number that a tag can hold.
        ([&[0x28][..], &[0xff; 9], &[0x01], &get()].concat(), Some("get")),
        ([&[0xf8, 0xff, 0xff, 0xff, 0x0f, 0x00][..], &get()].concat(), Some("get")),
        // A tag and a length with needless zeros are legal protobuf.
        (vec![0x8a, 0x00, 0x83, 0x00, b'g', b'e', b't'], Some("get")),
    ] {
        assert_eq!(scan(&message), Ok(operation.map(str::to_owned)), "{message:?}");
    }
}

#[test]
fn unsound_messages() {
    let get = || field(OP, b"get");
    for (message, error) in [
        ([get(), get()].concat(), ScanError::Duplicate { field: 1 }),
        ([get(), field(RAW, b"x"), field(OP, b"set")].concat(), ScanError::Duplicate { field: 1 }),
        ([field(OP, b""), get()].concat(), ScanError::Duplicate { field: 1 }),
        ([field(RAW, b"a"), field(RAW, b"b")].concat(), ScanError::Duplicate { field: 3 }),
        ([field(TYPED, b""), field(TYPED, b"")].concat(), ScanError::Duplicate { field: 2 }),
        ([field(TYPED, b""), get(), field(RAW, b"")].concat(), ScanError::ParamsTwice),
        ([field(RAW, b""), field(TYPED, b"")].concat(), ScanError::ParamsTwice),
        // The same field number, written the long way round.
        ([get(), vec![0x8a, 0x80, 0x00, 0x01, b'x']].concat(), ScanError::Duplicate { field: 1 }),
        (vec![0x00], ScanError::FieldZero),
        (vec![0x02, 0x00], ScanError::FieldZero),
        (vec![0x07], ScanError::FieldZero),
        (vec![0x08, 0x01], ScanError::NotLengthDelimited { field: 1, wire_type: 0 }),
        (vec![0x0d, 1, 2, 3, 4], ScanError::NotLengthDelimited { field: 1, wire_type: 5 }),
        (vec![0x19], ScanError::NotLengthDelimited { field: 3, wire_type: 1 }),
        (vec![0x20, 0x00], ScanError::NotLengthDelimited { field: 4, wire_type: 0 }),
        (vec![0x0b, 0x0c], ScanError::WireType { field: 1, wire_type: 3 }),
        (vec![0x2b, 0x2c], ScanError::WireType { field: 5, wire_type: 3 }),
        (vec![0x2c], ScanError::WireType { field: 5, wire_type: 4 }),
        (vec![0x2e], ScanError::WireType { field: 5, wire_type: 6 }),
        (vec![0x2f], ScanError::WireType { field: 5, wire_type: 7 }),
        (vec![0xff, 0xff, 0xff, 0xff, 0x10], ScanError::TagRange),
        (vec![0x8a, 0x80, 0x80, 0x80, 0x80, 0x00], ScanError::TagRange),
        ([&[0x28][..], &[0xff; 9], &[0x02]].concat(), ScanError::Varint),
        ([&[0x28][..], &[0x80; 11]].concat(), ScanError::Varint),
        ([&[OP][..], &[0x80; 10], &[0x00]].concat(), ScanError::Varint),
        (vec![0x80], ScanError::Truncated),
        (vec![OP], ScanError::Truncated),
        (vec![OP, 0x83], ScanError::Truncated),
        (vec![OP, 4, b'g', b'e', b't'], ScanError::Truncated),
        (vec![RAW, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], ScanError::Truncated),
        (vec![0x29, 1, 2, 3], ScanError::Truncated),
        (vec![0x28, 0x80], ScanError::Truncated),
        (field(OP, &[b'x'; MAX_OPERATION + 1]), ScanError::OperationTooLong { length: 257 }),
        (vec![OP, 0x81, 0x02], ScanError::OperationTooLong { length: 257 }),
        (field(OP, &[0xff]), ScanError::OperationNotUtf8),
        (field(OP, &[0xd0]), ScanError::OperationNotUtf8),
    ] {
        assert_eq!(scan(&message), Err(error), "{message:?}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn an_operation_may_not_hide() {
    let get = field(OP, b"get");
    // Four bytes: the tag, and three of length. The operation ends exactly at the bound, or one past it.
    let payload = |length: usize| field(RAW, &vec![0; length]);
    let last = [payload(OPERATION_WITHIN - 4 - get.len()), get.clone()].concat();
    assert_eq!(last.len(), OPERATION_WITHIN);
    assert_eq!(scan(&last), Ok(Some("get".into())));
    let hidden = [payload(OPERATION_WITHIN - 3 - get.len()), get.clone()].concat();
    assert_eq!(scan(&hidden), Err(ScanError::OperationHidden));
    // None at all is for the caller to judge, but only in a message that is small.
    assert_eq!(scan(&payload(OPERATION_WITHIN - 4)), Ok(None));
    assert_eq!(scan(&payload(OPERATION_WITHIN - 3)), Err(ScanError::OperationHidden));
    // In front of the operation many small fields are no better than a large one.
    let many = [field(META, &[]).repeat(OPERATION_WITHIN / 2), get.clone()].concat();
    assert_eq!(scan(&many), Err(ScanError::OperationHidden));
    let varints = [[0x28, 0x00].repeat(OPERATION_WITHIN / 2), get.clone()].concat();
    assert_eq!(scan(&varints), Err(ScanError::OperationHidden));
    // Behind it, any size will do, and is still checked to the end.
    let large = [get.clone(), payload(OPERATION_WITHIN * 3)].concat();
    assert_eq!(scan(&large), Ok(Some("get".into())));
    assert_eq!(scan(&[large, get].concat()), Err(ScanError::Duplicate { field: 1 }));
}

#[test]
fn a_later_message_may_leave_its_operation_out() {
    let scan_later = |message: &[u8]| {
        let mut scanner = Scanner::later(message.len());
        message.chunks(1000).try_for_each(|piece| scanner.push(piece))?;
        scanner.finish()
    };
    let large = field(RAW, &vec![0; OPERATION_WITHIN * 3]);
    assert_eq!(scan_later(&large), Ok(None));
    let named = [large, field(OP, b"get")].concat();
    assert_eq!(scan_later(&named), Ok(Some("get".into())));
    assert_eq!(scan_later(&[named, field(OP, b"get")].concat()), Err(ScanError::Duplicate { field: 1 }));
}

#[test]
fn a_hidden_operation_is_refused_before_its_bytes_come() {
    let mut scanner = Scanner::new(10_000_000);
    let mut head = vec![RAW];
    prost::encoding::encode_varint(9_000_000, &mut head);
    assert_eq!(scanner.push(&head), Err(ScanError::OperationHidden));
}

#[test]
fn the_operation_is_known_as_soon_as_it_is_complete() {
    let message = [field(OP, b"get"), field(RAW, &[0; 100])].concat();
    let mut scanner = Scanner::new(message.len());
    for (at, byte) in message.iter().enumerate() {
        assert_eq!(scanner.operation(), (at >= 5).then_some("get"));
        scanner.push(&[*byte]).unwrap();
    }
    assert_eq!(scanner.finish(), Ok(Some("get".into())));
}

#[test]
fn a_length_prefix_that_lies_is_noticed() {
    let get = field(OP, b"get");
    let mut short = Scanner::new(get.len() + 1);
    short.push(&get).unwrap();
    assert_eq!(short.remaining(), 1);
    assert_eq!(short.finish(), Err(ScanError::Truncated));

    let mut long = Scanner::new(get.len());
    assert_eq!(long.push(&[&get[..], &[0x28]].concat()), Err(ScanError::Excess));
    assert_eq!(long.push(&[]), Err(ScanError::Excess), "an error stays");
    assert_eq!(long.finish(), Err(ScanError::Excess));

    let mut cut = Scanner::new(3);
    assert_eq!(cut.push(&get), Err(ScanError::Truncated));
    let mut empty = Scanner::new(0);
    empty.push(&[]).unwrap();
    assert_eq!(empty.finish(), Ok(None));
}

fn request() -> impl Strategy<Value = ExecuteRequest> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(bytes::Bytes::from);
    let params = prop_oneof![
        Just(None),
        bytes().prop_map(|raw| Some(Params::RawParams(raw))),
        (".{0,20}", bytes()).prop_map(|(type_url, value)| Some(Params::TypedParams(Any { type_url, value }))),
    ];
    (".{0,60}", params, prop::collection::hash_map(".{0,10}", ".{0,10}", 0..4))
        .prop_map(|(operation, params, metadata)| ExecuteRequest { operation, params, metadata })
}

proptest! {
    #[test]
    fn agrees_with_prost_at_every_cut(request in request()) {
        let message = request.encode_to_vec();
        prop_assert_eq!(scan_whole(&message).map(Option::unwrap_or_default), Ok(&*request.operation));
        for cut in 0..=message.len() {
            let mut scanner = Scanner::new(message.len());
            scanner.push(&message[..cut]).unwrap();
            scanner.push(&message[cut..]).unwrap();
            prop_assert_eq!(&scanner.finish().unwrap().unwrap_or_default(), &request.operation);
        }
    }

    #[test]
    fn what_it_accepts_prost_reads_alike(
        request in request(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        piece in 1_usize..20,
    ) {
        let mut message = request.encode_to_vec();
        for (at, byte) in changes.iter().filter(|_| !request.operation.is_empty()) {
            let at = at.index(message.len());
            message[at] = *byte;
        }
        let whole = scan_whole(&message);
        prop_assert_eq!(in_pieces(&message, piece), whole.map(|name| name.map(str::to_owned)));
        // prost may refuse more (it reads inside the fields), but it never reads another operation.
        if let (Ok(operation), Ok(decoded)) = (whole, ExecuteRequest::decode(&*message)) {
            prop_assert_eq!(operation.unwrap_or_default(), decoded.operation);
        }
    }

    #[test]
    fn noise_is_judged_alike_whole_and_in_pieces(
        noise in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..0x2f], 0..120),
        piece in 1_usize..20,
    ) {
        let whole = scan_whole(&noise);
        prop_assert_eq!(in_pieces(&noise, piece), whole.map(|name| name.map(str::to_owned)));
        if let Ok(operation) = whole && let Ok(decoded) = ExecuteRequest::decode(&*noise) {
            prop_assert_eq!(operation.unwrap_or_default(), decoded.operation);
        }
    }
}
