//! What is on its way to the socket: frames put together in one buffer, and payloads that are large enough to be worth a place
//! of their own, uncopied.

use bytes::{Buf, Bytes};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// A payload below this is copied behind its frame's head: a place of its own costs more.
const COPIED: usize = 1024;

/// How many pieces go into one write. Linux takes 1,024; beyond some dozens there is nothing to win.
const PIECES: usize = 64;

/// What an idle connection keeps to write into.
const KEPT: usize = 4096;

#[derive(Default)]
pub(crate) struct Output {
    /// In front of `tail`.
    chunks: VecDeque<Bytes>,
    chunk_bytes: usize,
    tail: Vec<u8>,
    /// How much of `tail` is written.
    start: usize,
}

impl Output {
    /// Where a frame goes that is put together byte by byte.
    pub(crate) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends a frame's payload.
    pub(crate) fn payload(&mut self, payload: Bytes) {
        if payload.len() < COPIED {
            self.tail.extend_from_slice(&payload);
            return;
        }
        if self.start < self.tail.len() {
            let mut frames = Bytes::from(std::mem::take(&mut self.tail));
            frames.advance(self.start);
            self.chunk_bytes += frames.len();
            self.chunks.push_back(frames);
        } else {
            self.tail.clear();
        }
        self.start = 0;
        self.chunk_bytes += payload.len();
        self.chunks.push_back(payload);
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.chunk_bytes + self.tail.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes until nothing is left, or the socket takes no more.
    pub(crate) fn poll_write(
        &mut self,
        mut io: Pin<&mut (impl AsyncWrite + ?Sized)>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = if self.chunks.is_empty() {
                ready!(io.as_mut().poll_write(cx, &self.tail[self.start..]))?
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let tail = &self.tail[self.start..];
                let pieces = self.chunks.iter().map(|chunk| &chunk[..]).chain(Some(tail));
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                ready!(io.as_mut().poll_write_vectored(cx, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            let part = written.min(chunk.len());
            self.chunk_bytes -= part;
            written -= part;
            if part < chunk.len() {
                chunk.advance(part);
                return;
            }
            self.chunks.pop_front();
        }
        self.start += written;
        if self.start == self.tail.len() {
            self.tail.clear();
            self.start = 0;
        }
    }

    /// Gives memory back that a connection without streams does not need.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.tail.capacity() > KEPT {
            self.tail = Vec::new();
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }
}
