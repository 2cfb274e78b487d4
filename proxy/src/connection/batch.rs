//! The writes of one turn as few segments.
//!
//! h2 writes every DATA frame with a `writev` of its own, and most clients take frames of 16 KiB. Each would be a
//! segment that goes through the network stack and wakes the peer. From the second large write of a turn on, the
//! socket is therefore corked, so that the kernel fills its segments (of up to 64 KiB), and what is left goes
//! out at the turn's end. A staging buffer would do the same with a copy.

use super::detect::Replay;
use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A write from this size on is part of a body. Half a frame of the protocol's least `SETTINGS_MAX_FRAME_SIZE`:
/// small answers, which h2 gathers by itself, never cork.
const LARGE: usize = 8 << 10;

/// A connection whose large writes are brought together until [`Turn::end`].
pub(super) struct Batched(Rc<RefCell<Shared>>);

/// Says when a turn of the connection is over.
pub(super) struct Turn(Rc<RefCell<Shared>>);

struct Shared {
    io: Replay,
    /// Large writes in this turn.
    large: usize,
}

impl Batched {
    pub(super) fn new(io: Replay) -> (Self, Turn) {
        let shared = Rc::new(RefCell::new(Shared { io, large: 0 }));
        (Self(Rc::clone(&shared)), Turn(shared))
    }
}

impl Turn {
    /// Sends what was kept back.
    pub(super) fn end(&self) {
        let mut shared = self.0.borrow_mut();
        if std::mem::take(&mut shared.large) > 1 {
            shared.io.cork(false);
        }
    }
}

impl Shared {
    fn count(&mut self, bytes: usize) {
        if bytes >= LARGE {
            self.large += 1;
            // The first goes out at once: the peer has work while the others are made.
            if self.large == 2 {
                self.io.cork(true);
            }
        }
    }
}

impl AsyncRead for Batched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Batched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.0.borrow_mut();
        shared.count(buf.len());
        Pin::new(&mut shared.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut shared = self.0.borrow_mut();
        shared.count(bufs.iter().map(|buf| buf.len()).sum());
        Pin::new(&mut shared.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
