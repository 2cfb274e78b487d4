//! Writes blocks of any form, right or wrong.

use super::codes::CODES;
use crate::hpack::integer;

/// How a literal is to be treated: the bits of its first octet, and the mask of its index.
pub(super) type Form = (u8, u8);
pub(super) const INDEXED: Form = (0x40, 0x3f);
pub(super) const PLAIN: Form = (0x00, 0x0f);
pub(super) const NEVER: Form = (0x10, 0x0f);

#[derive(Default)]
pub(super) struct Block(pub(super) Vec<u8>);

impl Block {
    pub(super) fn index(mut self, index: usize) -> Self {
        integer::write(0x80, 0x7f, index, &mut self.0);
        self
    }

    pub(super) fn resize(mut self, size: usize) -> Self {
        integer::write(0x20, 0x1f, size, &mut self.0);
        self
    }

    /// A literal with a name of its own.
    pub(super) fn literal(mut self, form: Form, name: &[u8], value: &[u8]) -> Self {
        self.0.push(form.0);
        self.raw(name).raw(value)
    }

    /// A literal with an entry's name.
    pub(super) fn named(mut self, form: Form, index: usize, value: &[u8]) -> Self {
        integer::write(form.0, form.1, index, &mut self.0);
        self.raw(value)
    }

    /// A literal with an entry's name, its value in Huffman code.
    pub(super) fn coded(mut self, form: Form, index: usize, value: &[u8]) -> Self {
        integer::write(form.0, form.1, index, &mut self.0);
        self.code(&huffman(value))
    }

    /// A string as it is.
    pub(super) fn raw(mut self, octets: &[u8]) -> Self {
        integer::write(0x00, 0x7f, octets.len(), &mut self.0);
        self.0.extend_from_slice(octets);
        self
    }

    /// A string that says of itself that it is Huffman code.
    pub(super) fn code(mut self, code: &[u8]) -> Self {
        integer::write(0x80, 0x7f, code.len(), &mut self.0);
        self.0.extend_from_slice(code);
        self
    }
}

/// The bits of symbols, one after the other; 256 is EOS.
pub(super) fn bits(symbols: &[usize]) -> Vec<bool> {
    let bits = |symbol: &usize| {
        let (code, len) = CODES[*symbol];
        (0..len).rev().map(move |bit| code >> bit & 1 == 1)
    };
    symbols.iter().flat_map(bits).collect()
}

/// Octets of the bits, the last filled up with `padding`.
pub(super) fn octets(mut bits: Vec<bool>, padding: bool) -> Vec<u8> {
    bits.resize(bits.len().next_multiple_of(8), padding);
    bits.chunks(8).map(|octet| octet.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))).collect()
}

/// Huffman code as it should be.
pub(super) fn huffman(text: &[u8]) -> Vec<u8> {
    octets(bits(&text.iter().map(|octet| usize::from(*octet)).collect::<Vec<_>>()), true)
}
