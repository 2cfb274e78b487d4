//! The memory of decoded values: cut from chunks, so that a block of ten literals is not ten allocations.

use bytes::{Bytes, BytesMut};

use super::{HpackError, huffman, integer::Literal};

/// Values are cut from a chunk, one after the other. A chunk is freed when its last value is.
///
/// What a table keeps has its own arena: entries leave the table in the order in which they came, so the chunks that it holds
/// are nearly full of entries that it holds. A request's values cannot make one of those chunks outlive the table's entries
/// for longer than the request.
pub(super) struct Arena {
    chunk: BytesMut,
    size: usize,
}

impl Arena {
    /// Chunks of `size` octets, the first allocated when it is needed.
    pub(super) fn new(size: usize) -> Self {
        Self { chunk: BytesMut::new(), size }
    }

    pub(super) fn store(&mut self, literal: Literal<'_>) -> Result<Bytes, HpackError> {
        let room = room(literal);
        // A quarter is the most that the end of a chunk can go to waste.
        if room > self.size / 4 {
            return alone(literal);
        }
        if room > self.chunk.len() {
            self.chunk = BytesMut::zeroed(self.size);
        }
        let len = fill(literal, &mut self.chunk)?;
        Ok(self.chunk.split_to(len).freeze())
    }
}

/// A value in memory of its own.
pub(super) fn alone(literal: Literal<'_>) -> Result<Bytes, HpackError> {
    if !literal.huffman {
        return Ok(Bytes::copy_from_slice(literal.octets));
    }
    let mut octets = vec![0; room(literal)];
    let len = fill(literal, &mut octets)?;
    octets.truncate(len);
    // The longest codes give a sixth of the room.
    octets.shrink_to_fit();
    Ok(octets.into())
}

/// The room that [`fill`] wants.
pub(super) fn room(literal: Literal<'_>) -> usize {
    if literal.huffman { huffman::room(literal.octets.len()) } else { literal.octets.len() }
}

/// Writes what the literal stands for to the start of `out`, which has [`room`], and tells its length.
pub(super) fn fill(literal: Literal<'_>, out: &mut [u8]) -> Result<usize, HpackError> {
    if literal.huffman {
        return huffman::decode(literal.octets, out);
    }
    let len = literal.octets.len();
    out.get_mut(..len).ok_or(HpackError::Truncated)?.copy_from_slice(literal.octets);
    Ok(len)
}
