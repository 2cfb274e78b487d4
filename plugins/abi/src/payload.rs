//! Bytes in as many pieces as they arrived in.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// A message body as a chain of [`Bytes`]. HTTP/2 yields one piece per DATA frame, a thousand for
/// 16 MiB; gathering them would be the copy we promise not to make. Decoders read the chain through
/// [`Buf`]; whoever needs one slice asks for it with [`Payload::into_bytes`].
#[derive(Clone, Debug, Default)]
pub struct Payload {
    first: Bytes,
    /// `None` for nearly every small call, and boxed because those are moved about a lot; never holds an
    /// empty piece.
    #[allow(clippy::box_collection)]
    rest: Option<Box<VecDeque<Bytes>>>,
    remaining: usize,
}

impl Payload {
    /// No bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a piece without copying it.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.remaining += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.get_or_insert_default().push_back(piece);
        }
    }

    /// Bytes left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remaining
    }

    /// No bytes left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// One piece and no more.
    #[must_use]
    pub fn is_single(&self) -> bool {
        !self.first.is_empty() && self.remaining == self.first.len()
    }

    /// The next piece, taken off the front.
    pub fn pop(&mut self) -> Option<Bytes> {
        if self.first.is_empty() {
            return None;
        }
        let next = self.next_piece();
        let piece = std::mem::replace(&mut self.first, next);
        self.remaining -= piece.len();
        Some(piece)
    }

    /// What follows the first piece.
    fn next_piece(&mut self) -> Bytes {
        self.rest.as_mut().and_then(|rest| rest.pop_front()).unwrap_or_default()
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first)
            .filter(|first| !first.is_empty())
            .chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    /// One contiguous buffer. Free for a payload in one piece, a copy for any other.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        if self.remaining == self.first.len() { self.first } else { self.copy_to_bytes(self.remaining) }
    }

    /// Takes the first `count` bytes off, without copying them.
    ///
    /// # Panics
    /// When there are fewer than `count`.
    #[must_use]
    pub fn split_to(&mut self, count: usize) -> Self {
        assert!(count <= self.remaining, "split_to past the end of a payload");
        // Small messages come in one piece.
        if count < self.first.len() {
            self.remaining -= count;
            return self.first.split_to(count).into();
        }
        if count == self.remaining {
            return std::mem::take(self);
        }
        let mut head = Self::new();
        let mut missing = count;
        while missing > 0 {
            if self.first.len() <= missing {
                let piece = self.pop().unwrap_or_default();
                missing -= piece.len();
                head.push(piece);
            } else {
                head.push(self.first.split_to(missing));
                self.remaining -= missing;
                missing = 0;
            }
        }
        head
    }
}

impl From<Bytes> for Payload {
    fn from(first: Bytes) -> Self {
        Self { remaining: first.len(), first, rest: None }
    }
}

impl FromIterator<Bytes> for Payload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut payload = Self::new();
        pieces.into_iter().for_each(|piece| payload.push(piece));
        payload
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advance past the end of a payload");
        self.remaining -= count;
        if count < self.first.len() {
            self.first.advance(count);
            return;
        }
        while count >= self.first.len() && count > 0 {
            count -= self.first.len();
            self.first = self.next_piece();
        }
        self.first.advance(count);
        if self.first.is_empty() {
            self.first = self.next_piece();
        }
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        assert!(count <= self.remaining, "copy_to_bytes past the end of a payload");
        if count < self.first.len() {
            self.remaining -= count;
            return self.first.split_to(count);
        }
        if count == self.first.len() {
            return self.pop().unwrap_or_default();
        }
        let mut gathered = BytesMut::with_capacity(count);
        while gathered.len() < count {
            let take = self.first.len().min(count - gathered.len());
            gathered.extend_from_slice(&self.first[..take]);
            self.advance(take);
        }
        gathered.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(pieces: &[&'static str]) -> Payload {
        pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect()
    }

    #[test]
    fn a_single_piece_is_never_copied() {
        let bytes = Bytes::from(vec![1, 2, 3]);
        let address = bytes.as_ptr();
        assert_eq!(Payload::from(bytes).into_bytes().as_ptr(), address);
    }

    #[test]
    fn pieces_read_as_one() {
        for cut in 0..=6 {
            let mut rest = payload(&["ab", "", "c", "def"]);
            let head = rest.split_to(cut);
            assert_eq!((head.len(), rest.len()), (cut, 6 - cut));
            assert_eq!([&head.into_bytes()[..], &rest.into_bytes()[..]].concat(), b"abcdef");

            let mut advanced = payload(&["ab", "c", "def"]);
            advanced.advance(cut);
            assert_eq!(advanced.chunk().is_empty(), cut == 6);
            assert_eq!(advanced.into_bytes(), &b"abcdef"[cut..]);

            let mut copied = payload(&["ab", "c", "def"]);
            assert_eq!(copied.copy_to_bytes(cut), &b"abcdef"[..cut]);
            assert_eq!(copied.into_bytes(), &b"abcdef"[cut..]);
        }
    }

    #[test]
    fn popping_gives_the_pieces_back() {
        let mut payload = payload(&["ab", "c"]);
        assert_eq!(payload.pieces().count(), 2);
        assert_eq!(payload.pop().unwrap(), "ab");
        assert_eq!(payload.len(), 1);
        assert_eq!(payload.pop().unwrap(), "c");
        assert!(payload.pop().is_none() && payload.is_empty());
    }
}
