//! How much came of an answer on an HTTP/1.1 connection before its head was there.

use prism_platform::Io;
use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may come before an answer's head is there: interim answers (RFC 9110 section 15.2), the head itself, and what of the
/// body came in the same read. Twice the largest head: who sends interim answers without end is cut off.
const MOST: usize = 2 * super::http1::MAX_HEAD;

/// What has come since a request began, until the answer's head is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Rc<Cell<Option<usize>>>);

impl Heard {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.0.set(Some(0));
    }

    /// The answer's head is there: what follows is bounded by whoever reads it.
    pub(super) fn end(&self) {
        self.0.set(None);
    }

    /// Not a byte came.
    pub(super) fn is_nothing(&self) -> bool {
        self.0.get() == Some(0)
    }

    /// More came than may come before a head.
    pub(super) fn is_too_much(&self) -> bool {
        self.0.get().is_some_and(|heard| heard > MOST)
    }
}

/// A connection that counts what it hears.
pub(super) struct Listening {
    io: Io,
    heard: Heard,
}

impl Listening {
    pub(super) fn new(io: Io) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { io, heard: heard.clone() }, heard)
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard.is_too_much() {
            return Poll::Ready(Err(io::Error::other("it sends interim answers, and no answer")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let more = buf.filled().len() - before;
        self.heard.0.set(self.heard.0.get().map(|heard| heard + more));
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
