//! Blocks and fields by chance: nothing panics, and the two decoders say the same.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{
    Given,
    blocks::{Block, Form, INDEXED, NEVER, PLAIN, huffman},
    decode,
    reference::{Raw, Reference, allowed},
};
use crate::hpack::{Decoder, Encoder};

/// Whether what the decoder gave is what the plain one read.
fn same(given: &Given, raw: &[Raw]) -> bool {
    given.len() == raw.len()
        && given.iter().zip(raw).all(|((field, size), (name, value, _))| {
            let right = match field {
                Ok((got, _)) if got == ":status" => name == b":status",
                Ok((got, of)) => (got.as_bytes(), of) == (&name[..], value),
                // What a pseudo-header may be is for `http` to say, and has its own tests.
                Err(_) => name.first() == Some(&b':') || !allowed(name, value),
            };
            let fine = field.is_err() || name.first() == Some(&b':') || allowed(name, value);
            right && fine && *size == name.len() + value.len() + 32
        })
}

/// Gives both the same blocks, of one connection, until one is wrong.
fn differ(blocks: &[Vec<u8>], most: usize) -> Result<(), TestCaseError> {
    let (mut decoder, mut reference) = (Decoder::new(most), Reference::new(most));
    for block in blocks {
        match (decode(&mut decoder, block), reference.decode(block)) {
            (Ok(given), Some(raw)) => prop_assert!(same(&given, &raw), "{given:?} {raw:?}"),
            (Err(_), None) => return Ok(()),
            (got, want) => prop_assert!(false, "{got:?} {want:?}"),
        }
        prop_assert_eq!(decoder.table_sizes(), reference.sizes());
    }
    Ok(())
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[a-z-]{1,20}".prop_map(String::into_bytes),
        2 => prop_oneof![Just("content-type"), Just("x-request-id"), Just("grpc-timeout"), Just(":path"), Just(":authority"),
            Just(":method"), Just(":scheme"), Just(":status"), Just(":none"), Just("cookie")].prop_map(|name| name.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ -~]{0,60}".prop_map(String::into_bytes),
        2 => "/[a-z/?=]{0,60}".prop_map(String::into_bytes),
        // Few, so that they come again.
        3 => (0..6_u8).prop_map(|which| vec![b'A' + which; 60]),
        1 => "[a-zA-Z0-9]{300,3000}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(INDEXED), Just(INDEXED), Just(PLAIN), Just(NEVER)]
}

#[derive(Clone, Debug)]
enum Part {
    Index(usize),
    Named(Form, usize, Vec<u8>, bool),
    Literal(Form, Vec<u8>, Vec<u8>, bool),
    Resize(usize),
}

fn part() -> impl Strategy<Value = Part> {
    // Most are right, for a connection of some blocks to be of any use.
    let index = prop_oneof![20 => 1..=62_usize, 4 => 62..70_usize, 1 => 0..200_usize];
    prop_oneof![
        4 => index.clone().prop_map(Part::Index),
        6 => (form(), index, value(), any::<bool>()).prop_map(|(form, index, value, coded)| Part::Named(form, index, value, coded)),
        6 => (form(), name(), value(), any::<bool>()).prop_map(|(form, name, value, coded)| Part::Literal(form, name, value, coded)),
        1 => (0..4200_usize).prop_map(Part::Resize),
    ]
}

/// The parts as a block; a size goes where it may be, mostly.
fn block(mut parts: Vec<Part>) -> Vec<u8> {
    if parts.len() > 2 {
        parts.sort_by_key(|part| !matches!(part, Part::Resize(_)));
    }
    let mut block = Block::default();
    for part in parts {
        block = match part {
            Part::Index(index) => block.index(index),
            Part::Resize(size) => block.resize(size),
            Part::Named(form, index, value, true) if index > 0 => block.coded(form, index, &value),
            Part::Named(form, index, value, _) => block.named(form, index, &value),
            Part::Literal(form, name, value, false) => block.literal(form, &name, &value),
            Part::Literal(form, name, value, true) => {
                block.0.push(form.0);
                block.code(&huffman(&name)).code(&huffman(&value))
            }
        };
    }
    block.0
}

proptest! {
    #[test]
    fn any_octets_are_what_the_plain_decoder_says(
        blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..6), most in 0..5000_usize,
    ) {
        differ(&blocks, most)?;
    }

    #[test]
    fn any_fields_are_what_the_plain_decoder_says(
        blocks in proptest::collection::vec(proptest::collection::vec(part(), 0..10).prop_map(block), 1..8),
    ) {
        differ(&blocks, 4096)?;
    }

    /// Right blocks with one octet that is another.
    #[test]
    fn broken_fields_are_what_the_plain_decoder_says(
        blocks in proptest::collection::vec(proptest::collection::vec(part(), 1..6).prop_map(block), 1..4),
        at in any::<prop::sample::Index>(), octet in any::<u8>(),
    ) {
        let mut blocks = blocks;
        if let Some(block) = blocks.last_mut().filter(|block| !block.is_empty()) {
            let at = at.index(block.len());
            block[at] = octet;
        }
        differ(&blocks, 4096)?;
    }

    #[test]
    fn what_the_encoder_writes_is_what_both_decoders_read(
        blocks in proptest::collection::vec(
            (proptest::option::of(0..5000_u32), proptest::collection::vec(
                (prop_oneof!["[a-e]{1,2}", Just("set-cookie".to_owned()), Just("server".to_owned()), Just("etag".to_owned())],
                 prop_oneof!["[ab]{0,2}", "[a-c]{200,600}", "[!-~]{1,30}"], any::<bool>()),
                0..12)),
            1..20),
    ) {
        let (mut encoder, mut decoder, mut reference) = (Encoder::new(), Decoder::new(4096), Reference::new(4096));
        for (size, fields) in blocks {
            if let Some(size) = size {
                encoder.set_max_table(size);
            }
            let mut out = Vec::new();
            for (name, value, sensitive) in &fields {
                let mut value = HeaderValue::from_str(value).unwrap();
                value.set_sensitive(*sensitive);
                encoder.encode(&HeaderName::from_bytes(name.as_bytes()).unwrap(), &value, &mut out);
            }
            let raw = reference.decode(&out).unwrap();
            let want: Vec<Raw> = fields.iter()
                .map(|(name, value, sensitive)| (name.clone().into_bytes(), value.clone().into_bytes(), *sensitive || name == "set-cookie"))
                .collect();
            prop_assert_eq!(&raw, &want);
            let given = decode(&mut decoder, &out).unwrap();
            prop_assert!(same(&given, &raw));
            if !out.is_empty() {
                prop_assert_eq!(encoder.table_sizes(), decoder.table_sizes());
            }
            prop_assert_eq!(decoder.table_sizes(), reference.sizes());
        }
    }
}
