//! Closing without losing the last bytes.
//!
//! A socket that is closed while received bytes are unread sends RST, and an RST makes the peer throw away
//! what it has not read yet: the answer, or the GOAWAY that says why (RFC 9112 §9.6, "lingering close").
//! So, however a connection ends, its socket's sending side is closed (FIN), and what still arrives is read
//! and thrown away for a moment.

use prism_filters::body::Stall;
use prism_platform::{Io, time};
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    task::JoinSet,
};

/// Sockets that linger at the same time; above it they are closed at once, so that a flood of connections
/// cannot pile up here.
const MOST: usize = 1024;

/// The most that is read from a lingering socket: a peer that goes on sending gets its RST. What lies in a
/// fast peer's and our own socket buffers when it is refused is some MiB (Linux: up to 4 and 6), and its
/// program only looks for an answer between two writes.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The sockets of one worker that linger.
pub(crate) struct Linger {
    time: Duration,
    sockets: RefCell<JoinSet<()>>,
}

impl Linger {
    /// Sockets linger for `time`.
    #[must_use]
    pub(crate) fn new(time: Duration) -> Self {
        Self { time, sockets: RefCell::new(JoinSet::new()) }
    }

    fn take(&self, mut io: Io) {
        let mut sockets = self.sockets.borrow_mut();
        while sockets.try_join_next().is_some() {}
        if sockets.len() >= MOST {
            return;
        }
        let time = self.time;
        sockets.spawn_local(async move {
            let lingered = async {
                if io.shutdown().await.is_err() {
                    return;
                }
                let mut scratch = [0; 4096];
                let mut read = 0;
                while let Ok(count @ 1..) = io.read(&mut scratch).await {
                    read += count;
                    if read > MOST_BYTES {
                        return;
                    }
                }
            };
            // Whether the peer closed in time changes nothing: the socket is closed now.
            let _ = time::timeout(time, lingered).await;
        });
    }

    /// Waits until no socket lingers any more: the last thing a worker does. Bounded by `time`.
    pub(crate) async fn finish(&self) {
        let mut sockets = std::mem::take(&mut *self.sockets.borrow_mut());
        while sockets.join_next().await.is_some() {}
    }
}

/// A connection that lingers when it is dropped, and that gives up on a peer that reads nothing.
pub(super) struct Lingering {
    io: Option<Io>,
    linger: Rc<Linger>,
    /// Bytes that the socket does not take hold memory, whichever protocol they belong to. HTTP/2's windows
    /// are watched per stream; this is for a peer that does not read the connection at all, and for HTTP/1.1.
    unwritten: Stall,
    reads: Rc<Cell<u64>>,
    peer_closed: bool,
}

impl Lingering {
    pub(super) fn new(io: Io, linger: Rc<Linger>, stall_timeout: Duration) -> Self {
        let unwritten = Stall::new(stall_timeout);
        Self { io: Some(io), linger, unwritten, reads: Rc::default(), peer_closed: false }
    }

    pub(super) fn reads(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.reads)
    }

    /// See [`Io::cork`].
    pub(super) fn cork(&self, on: bool) {
        if let Some(io) = &self.io {
            io.cork(on);
        }
    }

    fn watched(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.unwritten.progress();
            return written;
        }
        ready!(self.unwritten.poll_waiting(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn io(&mut self) -> io::Result<Pin<&mut Io>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(io) = self.io.take()
            && !self.peer_closed
        {
            self.linger.take(io);
        }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.io()?.poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) if buf.filled().len() > before => self.reads.set(self.reads.get() + 1),
            // End of stream or error: there is nothing left that could be unread.
            Poll::Ready(_) if buf.remaining() > 0 => self.peer_closed = true,
            _ => {}
        }
        polled
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.io()?.poll_write(cx, buf);
        self.watched(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.io()?.poll_write_vectored(cx, bufs);
        self.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(Io::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}
