//! Bytes of a call that arrived and were not taken.

use crate::decoder::COPY;
use bytes::{Bytes, BytesMut};
use prism_plugin_abi::Payload;

/// A queue that costs little more than the bytes in it, however small the pieces are in which they arrived:
/// what piles up behind a first piece is gathered.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pieces: Payload,
    tail: BytesMut,
}

impl Received {
    #[inline]
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.pieces.is_empty() || piece.len() >= COPY {
            self.close_tail();
            self.pieces.push(piece);
            return;
        }
        self.tail.extend_from_slice(&piece);
        if self.tail.len() >= COPY {
            self.close_tail();
        }
    }

    /// What was gathered becomes a piece.
    #[inline]
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// The next piece.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.close_tail();
        }
        self.pieces.pop()
    }

    /// All that is there.
    pub(crate) fn take(&mut self) -> Payload {
        self.close_tail();
        std::mem::take(&mut self.pieces)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            *self = Self::default();
        }
    }
}
