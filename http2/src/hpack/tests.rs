use super::{huffman::CODES, *};
use http::{HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A field as text; what is malformed is `!`.
fn text(field: Result<Field, Malformed>) -> String {
    match field {
        Ok(Field::Method(method)) => format!(":method: {method}"),
        Ok(Field::Scheme(scheme)) => format!(":scheme: {scheme}"),
        Ok(Field::Authority(authority)) => format!(":authority: {authority}"),
        Ok(Field::Path(path)) => format!(":path: {path}"),
        Ok(Field::Protocol) => ":protocol".to_owned(),
        Ok(Field::Status) => ":status".to_owned(),
        Ok(Field::Header(name, value)) => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
        Err(Malformed) => "!".to_owned(),
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, HpackError> {
    let mut all = Vec::new();
    decoder.decode(block, |field, _| all.push(text(field)))?;
    Ok(all)
}

fn once(block: &[u8]) -> Result<Vec<String>, HpackError> {
    decode(&mut Decoder::new(4096), block)
}

/// RFC 7541 appendices C.3 and C.4: the same requests, without Huffman code and with it.
#[test]
fn the_standards_requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for requests in [plain, coded] {
        let mut decoder = Decoder::new(4096);
        let mut next = |at: usize| decode(&mut decoder, &bytes(requests[at])).unwrap();
        assert_eq!(next(0), [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"]);
        assert_eq!(next(1)[3..], [":authority: www.example.com", "cache-control: no-cache"]);
        let last = [
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ];
        assert_eq!(next(2)[1..], last);
    }
}

/// Appendix C.6: answers, with a table of 256 bytes, out of which the oldest fall.
#[test]
fn the_standards_answers() {
    let mut decoder = Decoder::new(256);
    let mut next = |hex: &str| decode(&mut decoder, &bytes(hex)).unwrap();
    let date = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    let rest = ["cache-control: private", date, "location: https://www.example.com"];
    let first = next(
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b \
         97c8 e9ae 82ae 43d3",
    );
    assert_eq!(first[1..], rest);
    assert_eq!(next("4883 640e ffc1 c0bf")[1..], rest);
    let third = next(
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf \
         cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    );
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    assert_eq!(
        third[2..],
        ["date: Mon, 21 Oct 2013 20:13:22 GMT", rest[2], "content-encoding: gzip", cookie]
    );
}

/// Every symbol's code, put together bit by bit and padded as section 5.2 has it.
fn coded(symbols: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    for symbol in symbols {
        let (code, length) = CODES[usize::from(*symbol)];
        bits.extend((0..length).rev().map(|at| code >> at & 1 == 1));
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    bits.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | u8::from(*bit))).collect()
}

fn uncoded(code: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    huffman::decode(code, &mut out).ok().map(|()| out)
}

#[test]
fn the_code_is_whole_and_every_symbol_is_read() {
    // Kraft: no code is missing, and none is the beginning of another.
    let sum: u64 = CODES.iter().map(|(_, length)| 1_u64 << (30 - length)).sum();
    assert_eq!(sum, 1 << 30);
    for first in 0..=255_u8 {
        assert_eq!(uncoded(&coded(&[first])), Some(vec![first]));
        for second in [b'a', 0, 255, first] {
            assert_eq!(uncoded(&coded(&[first, second, first])), Some(vec![first, second, first]));
        }
    }
    assert_eq!(uncoded(&[]), Some(vec![]));
}

#[test]
fn what_no_encoder_writes_is_no_code() {
    for (why, code) in [
        ("padding of zeros", vec![0b0001_1000]),
        ("a byte of padding", vec![0xff]),
        ("a byte of padding behind a symbol", [coded(b"a"), vec![0xff]].concat()),
        ("EOS", vec![0xff, 0xff, 0xff, 0xff]),
        ("EOS behind a symbol", [coded(b"abcdefgh"), vec![0xff, 0xff, 0xff, 0xff]].concat()),
        ("a code that is cut", coded(b"\0")[..1].to_vec()),
    ] {
        assert_eq!(uncoded(&code), None, "{why}");
    }
}

#[test]
fn integers_are_bounded() {
    // Section C.1.2: 1337 with a prefix of five bits, as a size update.
    assert_eq!(once(&[0x3f, 0x9a, 0x0a]), Ok(vec![]));
    for (block, error) in [
        (&[0xff][..], HpackError::Integer),
        (&[0xff, 0x80], HpackError::Integer),
        (&[0xff, 0x80, 0x80, 0x80, 0x80, 0x01], HpackError::Integer),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], HpackError::Integer),
        (&[0xff, 0xff, 0xff, 0xff, 0x7f], HpackError::Index),
        (&[0x80], HpackError::Index),
        (&[0x80 | 62], HpackError::Index),
        (&[0x40 | 63, 0, 0], HpackError::Index),
        (&[0x0f, 47, 1, b'a'], HpackError::Index),
        (&[0x40], HpackError::Truncated),
        (&[0x40, 1], HpackError::Truncated),
        (&[0x40, 1, b'a'], HpackError::Truncated),
        (&[0x40, 1, b'a', 2, b'b'], HpackError::Truncated),
        (&[0x40, 0x7f, 0xff, 0xff, 0xff, 0x7f], HpackError::Truncated),
        (&[0x40, 1, b'a', 0x81, 0], HpackError::Huffman),
        (&[0x40, 0x81, 0, 0], HpackError::Huffman),
    ] {
        assert_eq!(once(block), Err(error), "{block:x?}");
    }
}

#[test]
fn sizes_are_updated_at_the_beginning_and_not_beyond() {
    assert_eq!(once(&[0x20, 0x3f, 0xe1, 0x1f, 0x82]), Ok(vec![":method: GET".to_owned()]), "twice, to 4096");
    assert_eq!(once(&[0x3f, 0xe2, 0x1f]), Err(HpackError::SizeUpdate), "4097");
    assert_eq!(once(&[0x82, 0x20]), Err(HpackError::SizeUpdate), "behind a field");
    let mut decoder = Decoder::new(4096);
    let insert = [0x40, 1, b'a', 1, b'b'];
    decode(&mut decoder, &insert).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["a: b"]);
    decode(&mut decoder, &[0x20]).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe]), Err(HpackError::Index), "all is gone");
    decode(&mut decoder, &insert).unwrap();
    assert_eq!(decode(&mut decoder, &[0xbe]), Err(HpackError::Index), "there is no room");
}

#[test]
fn the_oldest_make_room() {
    let mut decoder = Decoder::new(2 * 34);
    for value in *b"xyz" {
        decode(&mut decoder, &[0x40, 1, b'a', 1, value]).unwrap();
    }
    assert_eq!(decode(&mut decoder, &[0xbe, 0xbf]).unwrap(), ["a: z", "a: y"]);
    assert_eq!(decode(&mut decoder, &[0xc0]), Err(HpackError::Index));
    // Section 4.4: larger than the table, it empties it; its name may be of what falls out.
    let large = [&[0x40 | 62, 60][..], &[b'v'; 60]].concat();
    assert_eq!(decode(&mut decoder, &large).unwrap(), [format!("a: {}", "v".repeat(60))]);
    assert_eq!(decode(&mut decoder, &[0xbe]), Err(HpackError::Index));
}

/// Malformed, and still in the table: what follows must mean what its sender means.
#[test]
fn what_is_malformed_has_its_place() {
    for (name, value) in [("A", "b"), ("a b", "c"), ("a", "b\n"), ("a", " b"), ("a", "b\t"), (":path", "")] {
        let mut decoder = Decoder::new(4096);
        let mut block = vec![0x40, name.len() as u8];
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
        block.extend([0x40, 1, b'x', 1, b'y']);
        assert_eq!(decode(&mut decoder, &block).unwrap(), ["!", "x: y"], "{name:?}: {value:?}");
        assert_eq!(decode(&mut decoder, &[0xbe, 0xbf]).unwrap(), ["x: y", "!"]);
    }
}

#[test]
fn a_remembered_code_says_the_same_under_any_name() {
    let token = format!("Bearer {}", "abcdefghij.KLMNOP-_".repeat(12));
    let code = coded(token.as_bytes());
    let field = |first: u8, name: &[u8]| {
        let mut block = vec![first];
        block.extend(name);
        let length = code.len() - 127;
        block.extend([0xff, (length & 127) as u8 | 128, (length >> 7) as u8]);
        block.extend(&code);
        block
    };
    let mut decoder = Decoder::new(4096);
    let mut sensitive = Vec::new();
    let mut said = |block: &[u8]| {
        let mut all = Vec::new();
        let see = |field: Result<Field, Malformed>, size| {
            if let Ok(Field::Header(_, value)) = &field {
                sensitive.push(value.is_sensitive());
            }
            all.push((text(field), size));
        };
        decoder.decode(block, see).unwrap();
        all
    };
    let authorization = (format!("authorization: {token}"), 13 + token.len() + 32);
    // Never indexed, with the name of the static table's 23rd entry; then with other forms and other names.
    assert_eq!(said(&field(0x1f, &[8])), std::slice::from_ref(&authorization));
    assert_eq!(said(&field(0x1f, &[8])), std::slice::from_ref(&authorization));
    assert_eq!(said(&field(0x0f, &[8])), [authorization]);
    assert_eq!(said(&field(0x10, &[1, b'x'])), [(format!("x: {token}"), 1 + token.len() + 32)]);
    // As a path it is none, whatever it is elsewhere; and the other way round.
    assert_eq!(said(&field(0x04, &[]))[0].0, "!");
    assert_eq!(said(&field(0x10, &[1, b'A']))[0].0, "!");
    assert_eq!(said(&field(0x1f, &[8]))[0].0, format!("authorization: {token}"));
    let path = coded(b"/bench.v1.Echo/EchoEchoEcho");
    let mut block = vec![0x04, 0x80 | path.len() as u8];
    block.extend(&path);
    for _ in 0..3 {
        assert_eq!(said(&block), [(":path: /bench.v1.Echo/EchoEchoEcho".to_owned(), 5 + 27 + 32)]);
    }
    assert_eq!(sensitive, [true, true, false, true, true]);
}

/// Random names and values, of which some come again.
fn field() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
    let names = prop::sample::select(vec![
        "content-type",
        "grpc-status",
        "x-request-id",
        "set-cookie",
        "content-length",
        "x-a",
        "x-b",
        "date",
        "vary",
    ]);
    let values = prop_oneof!["[a-c]{0,2}", "[ -~&&[^ ]]{0,100}"];
    (names, values, any::<bool>()).prop_map(|(name, value, sensitive)| {
        let mut value = HeaderValue::from_str(value.trim()).unwrap();
        value.set_sensitive(sensitive && value.len().is_multiple_of(3));
        (HeaderName::from_static(name), value)
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..8), most in 0_usize..300) {
        let mut decoder = Decoder::new(most);
        for block in blocks {
            let _ = decode(&mut decoder, &block);
        }
    }

    #[test]
    fn a_code_and_its_text(text in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(uncoded(&coded(&text)), Some(text));
    }

    /// Also while the table changes its size between blocks.
    #[test]
    fn what_is_encoded_is_decoded(
        blocks in prop::collection::vec((prop::collection::vec(field(), 0..12), prop::collection::vec(0_u32..5000, 0..3)), 1..12),
        status in 100_u16..1000,
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for (fields, sizes) in blocks {
            for size in sizes {
                encoder.set_max_table(size);
            }
            let mut block = Vec::new();
            encoder.encode_status(StatusCode::from_u16(status).unwrap(), &mut block);
            for (name, value) in &fields {
                encoder.encode(name, value, &mut block);
            }
            let mut expected = vec![":status".to_owned()];
            expected.extend(fields.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
            prop_assert_eq!(decode(&mut decoder, &block).unwrap(), expected);
        }
    }
}
