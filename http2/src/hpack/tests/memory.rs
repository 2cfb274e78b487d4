//! What is remembered, and that nothing is remembered that should not be.

use super::{
    blocks::{Block, INDEXED, NEVER, PLAIN, huffman},
    decode, decoder, fields,
};
use crate::hpack::{Decoder, Field, HpackError, Malformed};

const AUTHORIZATION: usize = 23;
const USER_AGENT: usize = 58;
const PATH: usize = 4;
const AUTHORITY: usize = 1;
const TOKEN: &str =
    "Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGFjZSIsImV4cCI6MTk5OTk5OTk5OX0.c2lnbmF0dXJl";

fn values(decoder: &mut Decoder, block: &Block) -> Vec<(Vec<u8>, *const u8, bool)> {
    let mut values = Vec::new();
    let sink = |field: Result<Field, Malformed>, _| match field.unwrap() {
        Field::Header(_, value) => {
            values.push((value.as_bytes().to_vec(), value.as_bytes().as_ptr(), value.is_sensitive()));
        }
        other => panic!("{other:?}"),
    };
    decoder.decode(&block.0, sink).unwrap();
    values
}

#[test]
fn a_value_that_comes_again_is_the_same_memory() {
    let mut decoder = decoder();
    let mut call =
        || values(&mut decoder, &Block::default().coded(NEVER, AUTHORIZATION, TOKEN.as_bytes())).remove(0);
    let calls = [call(), call(), call(), call()];
    assert!(calls.iter().all(|(value, _, sensitive)| *value == TOKEN.as_bytes() && *sensitive));
    assert_eq!(calls[1].1, calls[2].1);
    assert_eq!(calls[2].1, calls[3].1);
}

#[test]
fn sensitive_is_what_each_literal_says() {
    let mut decoder = decoder();
    for _ in 0..3 {
        let block = Block::default().coded(NEVER, AUTHORIZATION, TOKEN.as_bytes());
        let got = values(&mut decoder, &block.coded(PLAIN, USER_AGENT, TOKEN.as_bytes()));
        assert_eq!(got.iter().map(|(_, _, sensitive)| *sensitive).collect::<Vec<_>>(), [true, false]);
    }
}

#[test]
fn the_same_code_is_checked_for_each_kind_of_field() {
    let text = "/a/path/that/is/a/value/too/and/longer/than/a/few/octets";
    let fails = "no path, but a value; and longer than a few octets";
    let host = "host.of.a.name.that.is.longer.than.a.few.octets.example.org";
    let mut decoder = decoder();
    for _ in 0..4 {
        let mut block = Block::default();
        for text in [text, fails, host] {
            for name in [PATH, AUTHORIZATION, AUTHORITY, 2] {
                block = block.coded(PLAIN, name, text.as_bytes());
            }
        }
        let given = decode(&mut decoder, &block.0).unwrap();
        let right: Vec<_> = given.iter().map(|(field, _)| field.is_ok()).collect();
        assert_eq!(
            right,
            [
                true, true, false, false, // a path
                false, true, false, false, // a value
                false, true, true, true, // a host, which could be a method
            ]
        );
        for ((field, size), name) in
            given.iter().zip([":path", "authorization", ":authority", ":method"].iter().cycle())
        {
            let value =
                [text, fails, host].into_iter().find(|value| *size == name.len() + value.len() + 32).unwrap();
            if let Ok(field) = field {
                assert_eq!(*field, (name.to_string(), value.as_bytes().to_vec()));
            }
        }
    }
}

#[test]
fn what_is_not_valid_is_not_remembered_as_valid() {
    let mut decoder = decoder();
    let text = format!("{TOKEN}\0");
    for _ in 0..4 {
        let given =
            decode(&mut decoder, &Block::default().coded(NEVER, AUTHORIZATION, text.as_bytes()).0).unwrap();
        assert_eq!(given, [(Err(Malformed::Value), "authorization".len() + text.len() + 32)]);
    }
    let mut code = huffman(TOKEN.as_bytes());
    code.extend([0xff; 4]);
    for _ in 0..4 {
        let mut decoder = self::decoder();
        let mut block = Block::default();
        block.0.push(0x10 | 0x0f);
        block.0.push(AUTHORIZATION as u8 - 0x0f);
        assert_eq!(decode(&mut decoder, &block.code(&code).0), Err(HpackError::Huffman));
    }
}

/// Codes that share their ends are told apart.
#[test]
fn codes_that_differ_in_the_middle_are_different_values() {
    let mut decoder = decoder();
    for round in 0..3 {
        for octet in b"0123456789" {
            let mut text = TOKEN.as_bytes().to_vec();
            text[40] = *octet;
            let got = fields(&mut decoder, &Block::default().coded(NEVER, AUTHORIZATION, &text).0);
            assert_eq!(got[0].1.as_bytes(), text, "{round}");
        }
    }
}

#[test]
fn a_value_that_is_always_another_does_not_push_out_what_stays() {
    let mut decoder = decoder();
    let mut places = Vec::new();
    for call in 0..50 {
        let agent = format!("a user agent that tells the number of the call: {call}");
        let block = Block::default().coded(PLAIN, USER_AGENT, agent.as_bytes());
        let got = values(&mut decoder, &block.coded(NEVER, AUTHORIZATION, TOKEN.as_bytes()));
        assert_eq!(got[0].0, agent.as_bytes());
        places.push(got[1].1);
    }
    assert!(places[2..].iter().all(|place| *place == places[2]));
}

#[test]
fn values_of_all_lengths_are_what_they_were_however_they_are_held() {
    let mut decoder = decoder();
    let mut held = Vec::new();
    for round in 0..3 {
        for len in
            (0..200).chain([255, 256, 257, 500, 511, 512, 513, 1023, 1024, 2048, 2049, 3000, 5000, 9000])
        {
            let text: Vec<u8> = (0..len).map(|i| b'!' + ((i * 7 + len + round) % 90) as u8).collect();
            let block =
                Block::default().coded(PLAIN, AUTHORIZATION, &text).named(PLAIN, AUTHORIZATION, &text);
            let block = block.coded(INDEXED, AUTHORIZATION, &text).named(INDEXED, AUTHORIZATION, &text);
            let sink = |field: Result<Field, Malformed>, _| match field.unwrap() {
                Field::Header(_, value) => held.push((value, text.clone())),
                other => panic!("{other:?}"),
            };
            decoder.decode(&block.0, sink).unwrap();
        }
    }
    assert!(held.iter().all(|(value, text)| value.as_bytes() == text));
}

/// What is known comes from no arena, whatever form it has.
#[test]
fn known_values_are_static() {
    let mut decoder = decoder();
    let block = Block::default().coded(INDEXED, AUTHORIZATION, b"application/grpc").named(
        INDEXED,
        31,
        b"application/grpc",
    );
    let got = values(&mut decoder, &block);
    assert!(got.iter().all(|(value, _, _)| value == b"application/grpc"));
    assert_eq!(got[0].1, got[1].1);
}
