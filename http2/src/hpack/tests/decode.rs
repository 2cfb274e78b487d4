//! What a block may not be: integers, indices, sizes, and its end.

use super::{
    blocks::{Block, INDEXED, NEVER, PLAIN},
    decode, decoder, fields, hex, reference,
};
use crate::hpack::{Decoder, HpackError, Malformed};

fn error(block: &str) -> HpackError {
    decode(&mut decoder(), &hex(block)).unwrap_err()
}

#[test]
fn the_static_table_is_appendix_a() {
    for (nth, (name, value)) in reference::STATIC.iter().enumerate() {
        let given = decode(&mut decoder(), &Block::default().index(nth + 1).0).unwrap();
        let (field, size) = &given[0];
        assert_eq!(*size, name.len() + value.len() + 32, "{name}");
        match *name {
            ":authority" => assert_eq!(*field, Err(Malformed::PseudoValue)),
            ":status" => assert_eq!(*field, Ok((name.to_string(), Vec::new()))),
            _ => assert_eq!(*field, Ok((name.to_string(), value.as_bytes().to_vec()))),
        }
        let named = decode(&mut decoder(), &Block::default().named(PLAIN, nth + 1, b"*").0).unwrap();
        assert_eq!(named[0].1, name.len() + 33);
        if !matches!(*name, ":scheme" | ":status") {
            assert_eq!(named[0].0, Ok((name.to_string(), b"*".to_vec())));
        }
    }
}

#[test]
fn blocks_of_another_encoder_are_what_it_was_given() {
    // Written by the Python package hpack 4.2.0, one connection.
    let blocks = [
        "8387449960f6485b10bf70afaac90b6218c454ff869200bbf158e62c02418f1d665cbe474d741573d935c79a699f7a92aec3
         c65602b814febffbfff925427ffdfeff4082497f864d833505b11f",
        "8387449960f6485b10bf70afaac90b6218c454ff869200bdf158e62c02c1c0bf60831c11ff",
        "4285d7c36e2c1f864481f94188ffddcb81ffe5c781c3",
    ];
    let first = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/orders.v1.Orders/Get?id=17&page=2"),
        (":authority", "api.example.org:8443"),
        ("user-agent", "probe/1.0 (~{test})"),
        ("te", "trailers"),
    ];
    let mut decoder = decoder();
    for (nth, block) in blocks.iter().enumerate() {
        let fields = fields(&mut decoder, &hex(block));
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match nth {
            0 => assert_eq!(fields, first),
            1 => {
                let mut second = first.to_vec();
                second[2].1 = "/orders.v1.Orders/Get?id=18&page=2";
                second.push(("cookie", "a=b"));
                assert_eq!(fields, second);
            }
            _ => {
                let third = [
                    (":method", "PURGE"),
                    (":scheme", "http"),
                    (":path", "*"),
                    (":authority", "[::1]:80"),
                    ("te", "trailers"),
                ];
                assert_eq!(fields, third);
            }
        }
    }
}

#[test]
fn an_index_that_no_table_has_is_refused() {
    for block in ["80", "be", "ff 00", "ff 80 80 01", "7f 00 00", "0f 80 01 00", "1f 7f 00"] {
        assert_eq!(error(block), HpackError::Index, "{block}");
    }
    // One entry, and the index after it.
    let mut decoder = decoder();
    decode(&mut decoder, &Block::default().literal(INDEXED, b"a", b"b").index(62).0).unwrap();
    assert_eq!(decode(&mut decoder, &Block::default().index(63).0), Err(HpackError::Index));
}

#[test]
fn an_integer_of_too_many_octets_is_refused() {
    for block in [
        "ff 80 80 80 80 00",
        "ff ff ff ff ff 01",
        "ff ff ff ff ff ff ff ff ff ff ff ff",
        "00 ff 80 80 80 80 80 00",
    ] {
        assert_eq!(error(block), HpackError::Integer, "{block}");
    }
    assert_eq!(error("3f 80 80 80 80 00"), HpackError::Integer);
    // Zeros on top are no error where the octets are not too many.
    assert_eq!(fields(&mut decoder(), &hex("0f 83 80 00 00")), [("accept-ranges".to_owned(), String::new())]);
}

#[test]
fn the_end_of_a_block_inside_a_field_is_refused() {
    let parts: [&dyn Fn(Block) -> Block; 5] = [
        &|block| block.literal(INDEXED, b"a-name-of-its-own", b"a value"),
        &|block| block.named(NEVER, 23, b"secret"),
        &|block| block.coded(PLAIN, 58, &[b'x'; 200]),
        &|block| block.index(62),
        &|block| block.literal(PLAIN, b"", b""),
    ];
    let (mut block, mut ends) = (Block::default(), vec![0]);
    for part in parts {
        block = part(block);
        ends.push(block.0.len());
    }
    for end in 0..=block.0.len() {
        let got = decode(&mut decoder(), &block.0[..end]).map(|given| given.len());
        let want = ends.iter().position(|&field| field == end).ok_or(HpackError::Truncated);
        assert_eq!(got, want, "{end}");
    }
}

#[test]
fn a_length_beyond_the_block_takes_no_memory() {
    assert_eq!(error("00 7f ff ff ff 7f"), HpackError::Truncated);
    assert_eq!(error("00 ff ff ff ff 7f 61"), HpackError::Truncated);
}

#[test]
fn a_size_beyond_the_settings_is_refused() {
    let sized = |most, size| decode(&mut Decoder::new(most), &Block::default().resize(size).0);
    assert_eq!(sized(4096, 4096), Ok(Vec::new()));
    assert_eq!(sized(4096, 4097), Err(HpackError::TableSize));
    assert_eq!(sized(0, 0), Ok(Vec::new()));
    assert_eq!(sized(0, 1), Err(HpackError::TableSize));
    assert_eq!(sized(8192, 8192), Ok(Vec::new()));
}

#[test]
fn a_size_after_a_field_is_refused() {
    let late = |block: Block| decode(&mut decoder(), &block.resize(100).0);
    assert!(late(Block::default()).is_ok());
    assert!(late(Block::default().resize(0)).is_ok());
    assert_eq!(late(Block::default().index(2)), Err(HpackError::LateTableSize));
    assert_eq!(late(Block::default().literal(PLAIN, b"a", b"b")), Err(HpackError::LateTableSize));
    assert_eq!(late(Block::default().literal(INDEXED, b"a", b"b")), Err(HpackError::LateTableSize));
    assert_eq!(late(Block::default().literal(NEVER, b"A", b"b")), Err(HpackError::LateTableSize));
}

#[test]
fn a_table_of_nothing_keeps_nothing() {
    let mut decoder = decoder();
    decode(&mut decoder, &Block::default().literal(INDEXED, b"a", b"b").0).unwrap();
    assert_eq!(decoder.table_sizes(), (1, 34));
    let block = Block::default().resize(0).literal(INDEXED, b"a", b"b");
    assert_eq!(fields(&mut decoder, &block.0).len(), 1);
    assert_eq!(decoder.table_sizes(), (0, 0));
    assert_eq!(decode(&mut decoder, &Block::default().index(62).0), Err(HpackError::Index));
}

#[test]
fn the_oldest_goes_first() {
    let mut decoder = decoder();
    // Three entries of 34 octets fit.
    let block = Block::default().resize(102).literal(INDEXED, b"a", b"1").literal(INDEXED, b"b", b"2");
    decode(&mut decoder, &block.literal(INDEXED, b"c", b"3").literal(INDEXED, b"d", b"4").0).unwrap();
    assert_eq!(decoder.table_sizes(), (3, 102));
    let got = fields(&mut decoder, &Block::default().index(62).index(63).index(64).0);
    let names: Vec<_> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["d", "c", "b"]);
    assert_eq!(decode(&mut decoder, &Block::default().index(65).0), Err(HpackError::Index));
}

#[test]
fn a_literal_larger_than_the_table_empties_it() {
    let mut decoder = decoder();
    let block = Block::default().resize(102).literal(INDEXED, b"a", b"1").literal(INDEXED, b"b", b"2");
    decode(&mut decoder, &block.0).unwrap();
    // Its name is that of an entry that it throws out.
    let got = fields(&mut decoder, &Block::default().named(INDEXED, 63, &[b'x'; 70]).0);
    assert_eq!(got, [("a".to_owned(), "x".repeat(70))]);
    assert_eq!(decoder.table_sizes(), (0, 0));
    // One octet less, and it is the only one.
    decode(&mut decoder, &Block::default().literal(INDEXED, b"a", &[b'x'; 69]).0).unwrap();
    assert_eq!(decoder.table_sizes(), (1, 102));
}
