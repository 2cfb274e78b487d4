//! Tests of both directions, and what they share: a plain decoder to compare with, and a writer of blocks that no encoder writes.

mod appendix_c;
mod blocks;
mod codes;
mod decode;
mod encode;
mod fields;
mod huffman;
mod memory;
mod random;
mod reference;

use super::{Decoder, Field, HpackError, INITIAL_TABLE, Malformed};

/// What a sink was given: fields as name and value, or why they are malformed, and their sizes.
type Given = Vec<(Result<(String, Vec<u8>), Malformed>, usize)>;

fn decoder() -> Decoder {
    Decoder::new(INITIAL_TABLE)
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Given, HpackError> {
    let mut given = Vec::new();
    decoder.decode(block, |field, size| given.push((field.as_ref().map(plain).map_err(|why| *why), size)))?;
    Ok(given)
}

/// The fields of a block of which all are right.
fn fields(decoder: &mut Decoder, block: &[u8]) -> Vec<(String, String)> {
    let given = decode(decoder, block).unwrap();
    let field = |(field, _): (Result<(String, Vec<u8>), Malformed>, usize)| {
        let (name, value) = field.unwrap();
        (name, String::from_utf8(value).unwrap())
    };
    given.into_iter().map(field).collect()
}

/// A field as name and value; that of `:status` is not kept.
fn plain(field: &Field) -> (String, Vec<u8>) {
    let (name, value) = match field {
        Field::Method(method) => (":method", method.as_str().as_bytes()),
        Field::Scheme(scheme) => (":scheme", scheme.as_str().as_bytes()),
        Field::Authority(authority) => (":authority", authority.as_str().as_bytes()),
        Field::Path(path) => (":path", path.as_str().as_bytes()),
        Field::Protocol(protocol) => (":protocol", protocol.as_bytes()),
        Field::Status => (":status", &b""[..]),
        Field::Header(name, value) => (name.as_str(), value.as_bytes()),
    };
    (name.to_owned(), value.to_owned())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
