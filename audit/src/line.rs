//! One line of the log: how its bytes are put together, hashed and read again. docs/audit.md has the format for those who
//! check it without us.
//!
//! ```text
//! {"seq":17,"prev":"<64 hex>",FIELDS,"hash":"<64 hex>"}
//! ```
//!
//! The hash is SHA-256 over the line's bytes in front of `,"hash":"`. There is no canonical form of JSON in it: what counts
//! is what stands in the file, byte by byte.

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};
use std::{fmt, io::Write, str};

/// The longest line, its end left out. A record is cut long before that; what is longer was not written by us.
pub(crate) const MOST_LINE: usize = 64 << 10;

/// `,"hash":"`, 64 digits, `"}`.
const HASH_TAIL: usize = 9 + 64 + 2;

/// The most that stands around a line's fields: its number, two hashes, their names.
const FRAME: usize = 256;

/// `,"signature":"`, 128 digits, `"`.
const SIGNATURE_TAIL: usize = 14 + 128 + 1;

/// A SHA-256 hash; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What stands in front of the first line: nothing.
    pub const ZERO: Self = Self([0; 32]);

    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_slice(digest(&SHA256, bytes).as_ref())
    }

    fn digits(&self) -> [[u8; 2]; 32] {
        self.0.map(digits)
    }

    pub(crate) fn from_slice(bytes: &[u8]) -> Self {
        // SHA-256 has 32 bytes; anything else stays the hash of nothing.
        bytes.try_into().map_or(Self::ZERO, Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.digits().as_flattened()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// No hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct HashError;

impl str::FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = unhex(text.as_bytes()).ok_or(HashError)?;
        bytes.try_into().map(Self).map_err(|_| HashError)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).map(char::from).collect()
}

fn digits(byte: u8) -> [u8; 2] {
    // No table: so the digits of a whole hash are reckoned at once.
    let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// Lower-case digits only: one value has one spelling, or a line could be changed without changing what it says.
pub(crate) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// Appends a line and its end to `out`. `fields` is the inside of a JSON object, without its braces, on one line. Answers the
/// line's hash.
pub fn write(out: &mut Vec<u8>, seq: u64, prev: Hash, fields: &[u8]) -> Hash {
    write_with(out, seq, prev, fields, |_| None)
}

/// The same; `sign` is given the line as far as it goes, and its signature follows the fields.
pub(crate) fn write_with(
    out: &mut Vec<u8>,
    seq: u64,
    prev: Hash,
    fields: &[u8],
    sign: impl FnOnce(&[u8]) -> Option<[u8; 64]>,
) -> Hash {
    let start = out.len();
    // Piece by piece, not by a format: a busy proxy writes a hundred thousand a second.
    out.reserve(fields.len() + FRAME);
    out.extend_from_slice(b"{\"seq\":");
    // A Vec takes every byte.
    let _ = serde_json::to_writer(&mut *out, &seq);
    out.extend_from_slice(b",\"prev\":\"");
    out.extend_from_slice(prev.digits().as_flattened());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(fields);
    if let Some(signature) = sign(&out[start..]) {
        let _ = write!(out, ",\"signature\":\"{}\"", hex(&signature));
    }
    let hash = Hash::of(&out[start..]);
    out.extend_from_slice(b",\"hash\":\"");
    out.extend_from_slice(hash.digits().as_flattened());
    out.extend_from_slice(b"\"}\n");
    hash
}

/// What a line says.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) seq: u64,
    pub(crate) prev: Hash,
    pub(crate) hash: Hash,
    /// All of it, those three included.
    pub(crate) fields: Map<String, Value>,
    body: &'a [u8],
}

/// Why a line is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("it is not a line of an audit log")]
    Form,
    #[error("its bytes are not those that were hashed: it was changed")]
    Changed,
}

impl<'a> Line<'a> {
    /// Reads a line, without its end.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, LineError> {
        let (body, tail) =
            line.split_at_checked(line.len().wrapping_sub(HASH_TAIL)).ok_or(LineError::Form)?;
        let hash = tail.strip_prefix(b",\"hash\":\"").and_then(|rest| rest.strip_suffix(b"\"}"));
        let hash: Hash = hash.and_then(parse).ok_or(LineError::Form)?;
        if Hash::of(body) != hash {
            return Err(LineError::Changed);
        }
        let rest = body.strip_prefix(b"{\"seq\":").ok_or(LineError::Form)?;
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).ok_or(LineError::Form)?;
        let (seq, rest) = rest.split_at(digits);
        let seq: u64 = parse(seq).ok_or(LineError::Form)?;
        let prev = rest.strip_prefix(b",\"prev\":\"").and_then(|rest| rest.get(..64));
        let prev: Hash = prev.and_then(parse).ok_or(LineError::Form)?;
        let fields: Map<String, Value> = serde_json::from_slice(line).map_err(|_| LineError::Form)?;
        // A key that is there twice would be read as the other one by whoever reads JSON.
        let said = |name: &str, value: &str| fields.get(name).and_then(Value::as_str) == Some(value);
        if fields.get("seq").and_then(Value::as_u64) != Some(seq)
            || !said("prev", &prev.to_string())
            || !said("hash", &hash.to_string())
        {
            return Err(LineError::Form);
        }
        Ok(Self { seq, prev, hash, fields, body })
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("kind").unwrap_or_default()
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    /// What was signed, and the signature, where the line ends with one.
    pub(crate) fn signed(&self) -> Option<(&'a [u8], Vec<u8>)> {
        let at = self.body.len().checked_sub(SIGNATURE_TAIL)?;
        let (signed, tail) = self.body.split_at(at);
        let signature = tail.strip_prefix(b",\"signature\":\"")?.strip_suffix(b"\"")?;
        Some((signed, unhex(signature)?))
    }
}

fn parse<T: str::FromStr>(text: &[u8]) -> Option<T> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(seq: u64, fields: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, seq, Hash::of(b"before"), fields.as_bytes());
        assert_eq!(out.pop(), Some(b'\n'));
        out
    }

    #[test]
    fn what_was_written_is_read() {
        let text = line(17, r#""kind":"call","code":"OK""#);
        let read = Line::read(&text).unwrap();
        assert_eq!((read.seq, read.prev, read.kind()), (17, Hash::of(b"before"), "call"));
        assert!(read.signed().is_none());
        let said: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(said["hash"], read.hash.to_string());
        let end = text.len() - HASH_TAIL;
        assert_eq!(read.hash, Hash::of(&text[..end]));
    }

    #[test]
    fn a_signature_covers_all_that_is_in_front_of_it() {
        let mut text = Vec::new();
        let sign = |signed: &[u8]| {
            assert!(signed.ends_with(br#""kind":"checkpoint""#));
            Some([7; 64])
        };
        write_with(&mut text, 2, Hash::ZERO, br#""kind":"checkpoint""#, sign);
        let text = text.strip_suffix(b"\n").unwrap();
        let (signed, signature) = Line::read(text).unwrap().signed().unwrap();
        assert_eq!(signature, [7; 64]);
        assert!(signed.starts_with(b"{\"seq\":2,") && signed.ends_with(br#""kind":"checkpoint""#));
    }

    #[test]
    fn what_nobody_of_us_wrote_is_refused() {
        let twice = line(1, r#""kind":"call","seq":2"#);
        assert_eq!(Line::read(&twice).unwrap_err(), LineError::Form);
        let broken = line(1, r#""kind":"call","#);
        assert_eq!(Line::read(&broken).unwrap_err(), LineError::Form);
        let padded = String::from_utf8(line(1, r#""kind":"call""#)).unwrap();
        for other in ["", "{}", "null", &padded[1..], &format!("{padded} "), &padded.to_uppercase()] {
            assert!(Line::read(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for other in [hash.to_string().to_uppercase(), hash.to_string()[1..].to_owned(), format!("{hash}00")]
        {
            assert_eq!(other.parse::<Hash>(), Err(HashError));
        }
    }

    proptest! {
        #[test]
        fn no_flip_in_a_line_goes_unseen(code in "[A-Z]{0,20}", at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let mut text = line(5, &format!(r#""kind":"call","code":"{code}""#));
            let at = at.index(text.len());
            text[at] ^= 1 << bit;
            prop_assert!(Line::read(&text).is_err());
        }

        #[test]
        fn nothing_panics(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Line::read(&text).is_err());
        }
    }
}
