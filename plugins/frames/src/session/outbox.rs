//! What is on its way to the socket: small frames in one buffer, large chunks by reference, one `writev` for all.

use crate::{decoder::COPY, frame, wire::Kind};
use bytes::{Buf, Bytes};
use prism_plugin_abi::Payload;
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::AsyncWrite;

/// Bytes that may be queued before calls are told to wait. More than the socket takes at once, so that no write
/// is smaller for it.
pub(crate) const QUEUE: usize = 256 << 10;

/// Slices in one `writev`: a full queue in pieces of [`COPY`] bytes needs 64, with their headers between.
const SLICES: usize = 128;

/// A staging buffer larger than this is given back once it is empty.
const KEEP: usize = 64 << 10;

/// PONGs that may wait for the socket: more than a peer that reads its answers ever causes.
const PONGS: u32 = 64;

/// Staged bytes up to `end`, and then `piece`.
#[derive(Debug)]
struct Segment {
    end: usize,
    piece: Bytes,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    staged: Vec<u8>,
    /// Staged bytes that are written.
    done: usize,
    segments: VecDeque<Segment>,
    /// Bytes not written, staged and by reference.
    queued: usize,
    /// Bytes written since the connection began.
    written: u64,
    pongs: u32,
    /// Where the last PONG ends.
    last_pong: u64,
    unflushed: bool,
}

impl Outbox {
    /// Whether calls may queue small frames.
    pub(crate) fn has_room(&self) -> bool {
        self.queued < QUEUE
    }

    /// Whether it is time for the next chunks of large bodies: none of the last round is waiting.
    pub(crate) fn takes_chunks(&self) -> bool {
        self.segments.is_empty() && self.has_room()
    }

    /// How far the stream of bytes will be when all that is queued is written.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.queued as u64
    }

    /// How far the stream of bytes is.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Encodes frames into the staging buffer.
    #[inline]
    pub(crate) fn stage(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.staged.len();
        encode(&mut self.staged);
        self.queued += self.staged.len() - before;
    }

    /// Copies all of a small body.
    #[inline]
    pub(crate) fn push_small(&mut self, body: &Payload) {
        for piece in body.pieces() {
            self.staged.extend_from_slice(piece);
        }
        self.queued += body.len();
    }

    /// Queues the first `count` bytes of `body`: large pieces by reference, small ones copied.
    pub(crate) fn push_body(&mut self, body: &mut Payload, count: usize) {
        self.queued += count;
        let mut left = count;
        while left > 0 {
            let chunk = body.chunk();
            let here = chunk.len().min(left);
            if here == 0 {
                return;
            }
            left -= here;
            if here < COPY {
                self.staged.extend_from_slice(&chunk[..here]);
                body.advance(here);
            } else {
                let piece = body.copy_to_bytes(here);
                self.segments.push_back(Segment { end: self.staged.len(), piece });
            }
        }
    }

    /// Queues a PONG; `false` when too many are waiting.
    pub(crate) fn pong(&mut self, payload: [u8; 8]) -> bool {
        if self.pongs == PONGS {
            return false;
        }
        self.pongs += 1;
        self.stage(|to| frame::ping(to, Kind::Pong, payload));
        self.last_pong = self.position();
        true
    }

    /// Writes once, as much as the socket takes, and flushes after the last byte. `Ready(Ok(true))` when nothing
    /// is left.
    pub(crate) fn poll_write<Io: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
    ) -> Poll<io::Result<bool>> {
        if self.queued == 0 {
            if self.unflushed {
                ready!(Pin::new(io).poll_flush(cx))?;
                self.unflushed = false;
            }
            return Poll::Ready(Ok(true));
        }
        let written = if self.segments.is_empty() {
            Pin::new(io).poll_write(cx, self.staged.get(self.done..).unwrap_or_default())
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.slices(&mut slices);
            Pin::new(io).poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
        };
        let written = ready!(written)?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        self.advance(written);
        Poll::Ready(Ok(false))
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut count = 0;
        let mut at = self.done;
        let mut add = |slice: &'a [u8]| {
            if let Some(place) = slices.get_mut(count).filter(|_| !slice.is_empty()) {
                *place = IoSlice::new(slice);
                count += 1;
            }
        };
        // A segment is at most two slices.
        for segment in self.segments.iter().take(SLICES / 2) {
            add(self.staged.get(at..segment.end).unwrap_or_default());
            add(&segment.piece);
            at = segment.end;
        }
        if self.segments.len() < SLICES / 2 {
            add(self.staged.get(at..).unwrap_or_default());
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        count = count.min(self.queued);
        self.queued -= count;
        self.written += count as u64;
        if self.written >= self.last_pong {
            self.pongs = 0;
        }
        while let Some(segment) = self.segments.front_mut() {
            let staged = count.min(segment.end - self.done);
            self.done += staged;
            count -= staged;
            if self.done < segment.end {
                return;
            }
            let piece = count.min(segment.piece.len());
            segment.piece.advance(piece);
            count -= piece;
            if !segment.piece.is_empty() {
                return;
            }
            self.segments.pop_front();
        }
        self.done += count;
        if self.queued == 0 {
            self.done = 0;
            self.staged.clear();
            if self.staged.capacity() > KEEP {
                self.staged = Vec::new();
            }
        } else if self.done >= KEEP && self.segments.is_empty() {
            // A socket that is never quite drained must not make the buffer grow.
            self.staged.drain(..self.done);
            self.done = 0;
        }
    }
}
