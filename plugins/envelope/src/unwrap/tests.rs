use super::*;
use crate::{encode_reply, encode_stream_reply};
use prism_plugin_abi::Code;
use proptest::prelude::*;

const URL: &str = "type.googleapis.com/prism.kv.v1.GetResponse";

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(number << 3 | 2).unwrap()];
    let mut length = value.len();
    while length > 127 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(value);
    bytes
}

fn number(field: u32, value: u8) -> Vec<u8> {
    vec![u8::try_from(field << 3).unwrap(), value]
}

fn any_of(url: &str, value: &[u8]) -> Vec<u8> {
    [field(1, url.as_bytes()), field(2, value)].concat()
}

fn expected() -> Expected {
    Expected::Typed(URL.into())
}

/// What an answer is read as: what was handed out in one piece, and how it ended.
#[derive(Debug, PartialEq)]
enum Read {
    Result(Vec<u8>),
    Failed(i32),
    /// Refused, when so much had been handed out already.
    Broken(usize),
}

/// Pushed in pieces of this size, an answer must be read as it is read in one.
fn read_in(bytes: &[u8], size: usize, mut unwrap: Unwrap) -> Read {
    let (mut result, mut ended, mut length) = (Vec::new(), false, None);
    // Only a stream may end with a message that has no result.
    let may_have_none = !unwrap.layout.has_success();
    let mut pieces = bytes.chunks(size.max(1));
    loop {
        match unwrap.next_event() {
            Ok(Some(Event::Begin { length: announced, .. })) => length = Some(announced),
            Ok(Some(Event::Piece(piece))) => result.extend_from_slice(&piece),
            Ok(Some(Event::End { .. })) => ended = true,
            Ok(Some(Event::Failed(error))) => return Read::Failed(error.code.number()),
            Ok(None) => match pieces.next() {
                Some(piece) => unwrap.push(Bytes::copy_from_slice(piece)),
                None if unwrap.finish().is_ok() && ended => {
                    assert_eq!(length.or(may_have_none.then_some(0)), Some(result.len()), "as was announced");
                    return Read::Result(result);
                }
                None => return Read::Broken(result.len()),
            },
            Err(_) => return Read::Broken(result.len()),
        }
    }
}

fn read(message: &[u8]) -> Read {
    let bytes = framed(message);
    let whole = read_in(&bytes, bytes.len(), Unwrap::unary(expected()));
    for size in [1, 2, 3, 7, 64, 1000] {
        match (read_in(&bytes, size, Unwrap::unary(expected())), &whole) {
            // Some of it may have been handed out before it was refused.
            (Read::Broken(_), Read::Broken(_)) => {}
            (cut, whole) => assert_eq!(cut, *whole, "in pieces of {size}"),
        }
    }
    whole
}

#[test]
fn fields_in_every_order_and_any_without_value() {
    let value = vec![7; 3000];
    let (success, result, metrics) = (number(1, 1), field(4, &any_of(URL, &value)), field(6, &[8, 9]));
    let parts = [&success, &result, &metrics];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let message = order.map(|at| parts[at].clone()).concat();
        // After a result that was not yet decided, `success` decides; after one that was, it is one too many.
        assert_eq!(read(&message), Read::Result(value.clone()), "{order:?}");
    }
    let reversed = [field(2, &value), field(1, URL.as_bytes())].concat();
    assert_eq!(read(&[success.clone(), field(4, &reversed)].concat()), Read::Result(value));
    for absent in [field(1, URL.as_bytes()), any_of(URL, b"")] {
        assert_eq!(read(&[success.clone(), field(4, &absent)].concat()), Read::Result(Vec::new()));
    }
    // Unknown fields mean nothing, wherever they stand.
    let unknown = field(15, b"later");
    let message = [unknown.clone(), success, field(4, &any_of(URL, b"v")), unknown].concat();
    assert_eq!(read(&message), Read::Result(b"v".to_vec()));
}

#[test]
fn what_is_no_success_is_never_read_as_one() {
    let result = field(4, &any_of(URL, b"value"));
    let success = number(1, 1);
    for (message, code) in [
        (vec![], 2),
        (number(1, 0), 2),
        (result.clone(), 2),
        ([number(1, 0), result.clone()].concat(), 2),
        ([field(2, b"no"), number(3, 5)].concat(), 5),
        ([result.clone(), field(2, b"no"), number(3, 5)].concat(), 5),
        // No code of google.rpc: 0 would be OK.
        ([field(2, b"no"), number(3, 0)].concat(), 2),
        ([field(2, b"no"), number(3, 17)].concat(), 2),
    ] {
        assert_eq!(read(&message), Read::Failed(code), "{message:?}");
    }
    let twice = [any_of(URL, b"value"), field(2, b"other")].concat();
    for message in [
        success.clone(),
        [success.clone(), field(5, b"raw")].concat(),
        [success.clone(), field(4, &any_of("type.googleapis.com/other", b"value"))].concat(),
        [success.clone(), field(4, &field(2, b"value"))].concat(),
        [success.clone(), field(4, b"")].concat(),
        [success.clone(), result.clone(), success.clone()].concat(),
        [success.clone(), result.clone(), number(1, 0)].concat(),
        [success.clone(), result.clone(), result.clone()].concat(),
        [success.clone(), result.clone(), field(5, b"raw")].concat(),
        [success.clone(), result.clone(), field(2, b"no")].concat(),
        [success.clone(), result.clone(), number(3, 5)].concat(),
        [success.clone(), number(3, 5), result.clone()].concat(),
        [success.clone(), field(4, &twice)].concat(),
        [success.clone(), success.clone(), result.clone()].concat(),
        [success.clone(), result.clone(), vec![0xff]].concat(),
        [success.clone(), result.clone(), field(6, &vec![0; 70_000])].concat(),
    ] {
        // The last one is a message like any other where it is all here at once.
        let broken = read_in(&framed(&message), 100, Unwrap::unary(expected()));
        assert!(matches!(broken, Read::Broken(_)), "{broken:?}: {message:?}");
    }
}

#[test]
fn an_answer_cut_at_every_byte_is_none() {
    let message = [number(1, 1), field(4, &any_of(URL, &vec![9; 300])), field(6, &[8, 1])].concat();
    let bytes = framed(&message);
    for end in 0..bytes.len() {
        for size in [1, 50, 1000] {
            let read = read_in(&bytes[..end], size, Unwrap::unary(expected()));
            assert!(matches!(read, Read::Broken(_)), "cut at {end}: {read:?}");
        }
    }
    let two = [bytes.clone(), bytes.clone()].concat();
    assert!(
        matches!(read_in(&two, 1000, Unwrap::unary(expected())), Read::Broken(_)),
        "two are one too many"
    );
}

#[test]
fn streams_say_their_last_word_in_three_ways() {
    let item = |more: &[u8]| framed(&[field(1, &any_of(URL, b"item")), more.to_vec()].concat());
    let all = |bytes: Vec<u8>| {
        let mut said: Option<Vec<String>> = None;
        for size in [1, 3, 1000] {
            let mut unwrap = Unwrap::stream(expected());
            let mut now = Vec::new();
            for piece in bytes.chunks(size) {
                unwrap.push(Bytes::copy_from_slice(piece));
                loop {
                    match unwrap.next_event() {
                        Ok(None) => break,
                        Ok(Some(Event::Begin { length, .. })) => now.push(length.to_string()),
                        Ok(Some(Event::Piece(_))) => {}
                        Ok(Some(Event::End { is_final })) => now.push(format!("end {is_final}")),
                        Ok(Some(Event::Failed(error))) => now.push(format!("failed {}", error.code.number())),
                        Err(error) => {
                            now.push(format!("{error}"));
                            break;
                        }
                    }
                }
            }
            assert_eq!(said.get_or_insert_with(|| now.clone()), &now, "in pieces of {size}");
        }
        said.unwrap()
    };
    assert_eq!(all([item(&[]), item(&number(3, 1))].concat()), ["4", "end false", "4", "end true"]);
    assert_eq!(all([item(&[]), framed(&number(3, 1))].concat()), ["4", "end false", "end true"]);
    assert_eq!(read_in(&framed(&number(3, 1)), 1, Unwrap::stream(Expected::Any)), Read::Result(Vec::new()));
    let failure = framed(&[number(3, 1), field(4, b"why"), number(5, 8)].concat());
    assert_eq!(all([item(&[]), failure].concat()), ["4", "end false", "failed 8"]);
    // An item without a result is none.
    assert!(all(framed(&[])).concat().contains("none"));
}

proptest! {
    #[test]
    fn what_the_writers_write_is_read(value in prop::collection::vec(any::<u8>(), 0..5000), size in 1_usize..2000) {
        let data = || Data::Typed { type_url: URL.into(), value: Bytes::from(value.clone()).into() };
        let unary = encode_reply(Ok(data())).unwrap().into_bytes();
        prop_assert_eq!(read_in(&unary, size, Unwrap::unary(expected())), Read::Result(value.clone()));
        prop_assert_eq!(read_in(&unary, size, Unwrap::unary(Expected::Any)), Read::Result(value.clone()));
        prop_assert_eq!(result_of(&unary, URL).map(|range| &unary[range]), Some(&value[..]));
        prop_assert_eq!(result_of(&unary[..unary.len() - 1], URL), None);
        prop_assert_eq!(result_of(&unary, "other"), None);
        let stream = encode_stream_reply(Ok(data())).unwrap().into_bytes();
        prop_assert_eq!(read_in(&stream, size, Unwrap::stream(expected())), Read::Result(value.clone()));
        let raw = encode_reply(Ok(Data::Raw(Bytes::from(value.clone()).into()))).unwrap().into_bytes();
        prop_assert_eq!(read_in(&raw, size, Unwrap::unary(Expected::Any)), Read::Result(value));
        let failed = encode_reply(Err(Error::operation(Code::NotFound, "no"))).unwrap().into_bytes();
        prop_assert_eq!(read_in(&failed, size, Unwrap::unary(expected())), Read::Failed(5));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
        let framed = framed(&bytes);
        let whole = read_in(&framed, size, Unwrap::unary(expected()));
        if let Some(range) = result_of(&framed, URL) {
            prop_assert_eq!(whole, Read::Result(framed[range].to_vec()), "both ways to read it agree");
        }
        read_in(&framed, size, Unwrap::unary(expected()));
        read_in(&framed, size, Unwrap::stream(Expected::Any));
        read_in(&bytes, size, Unwrap::unary(Expected::Any));
    }
}
