//! Integers of HPACK (RFC 7541 section 5.1), and the reader of a block.

use super::HpackError;

/// Octets after the prefix. RFC 7541 section 5.1: "Integer encodings that exceed implementation limits -- in value or
/// octet length -- MUST be treated as decoding errors." Four hold 28 bits: more than any length, index or table size that
/// can be right here, and no sum can overflow.
const MOST_OCTETS: usize = 4;

/// A string as the block holds it.
#[derive(Clone, Copy)]
pub(super) struct Literal<'a> {
    pub(super) huffman: bool,
    pub(super) octets: &'a [u8],
}

/// What is left of a block.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    /// The octet that says what comes next; none at the block's end.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// An integer whose prefix is the bits of `mask` in the next octet.
    #[inline]
    pub(super) fn integer(&mut self, mask: u8) -> Result<usize, HpackError> {
        let (first, rest) = self.rest.split_first().ok_or(HpackError::Truncated)?;
        self.rest = rest;
        let prefix = first & mask;
        if prefix < mask { Ok(usize::from(prefix)) } else { self.continued(mask) }
    }

    fn continued(&mut self, mask: u8) -> Result<usize, HpackError> {
        let mut value = usize::from(mask);
        for (i, octet) in self.rest.iter().take(MOST_OCTETS).enumerate() {
            value += usize::from(octet & 0x7f) << (7 * i);
            if octet & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < MOST_OCTETS { HpackError::Truncated } else { HpackError::Integer })
    }

    /// A string (RFC 7541 section 5.2).
    #[inline]
    pub(super) fn string(&mut self) -> Result<Literal<'a>, HpackError> {
        let huffman = self.peek().ok_or(HpackError::Truncated)? & 0x80 != 0;
        let len = self.integer(0x7f)?;
        let (octets, rest) = self.rest.split_at_checked(len).ok_or(HpackError::Truncated)?;
        self.rest = rest;
        Ok(Literal { huffman, octets })
    }
}

/// Writes `value` with a prefix of the bits of `mask`; `first` is what the first octet's other bits are.
#[inline]
pub(super) fn write(first: u8, mask: u8, value: usize, out: &mut Vec<u8>) {
    if value < usize::from(mask) {
        // Smaller than the mask, so it is an octet.
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
