//! HPACK (RFC 7541): header fields as a connection sends them.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod static_table;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
pub(crate) use field::{Field, Malformed};

/// What RFC 7541 section 4.1 counts for an entry besides its name and its value.
const OVERHEAD: usize = 32;

#[cfg(test)]
mod tests;

/// A block that cannot be decoded. What follows it cannot, either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HpackError {
    #[error("an integer is too large, or does not end")]
    Integer,
    #[error("a string does not end")]
    Truncated,
    #[error("a Huffman code means nothing")]
    Huffman,
    #[error("there is no entry with that index")]
    Index,
    #[error("a size update is too large, or not at the block's beginning")]
    SizeUpdate,
}
