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
    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.pieces.is_empty() || piece.len() >= COPY {
            // Before the first piece nothing is in the tail.
            self.pieces.push(self.tail.split().freeze());
            self.pieces.push(piece);
            return;
        }
        self.tail.extend_from_slice(&piece);
        if self.tail.len() >= COPY {
            self.pieces.push(self.tail.split().freeze());
        }
    }

    /// The next piece.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop() {
            return Some(piece);
        }
        if self.tail.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.tail).freeze())
    }

    /// All that is there.
    pub(crate) fn take(&mut self) -> Payload {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).freeze());
        }
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
