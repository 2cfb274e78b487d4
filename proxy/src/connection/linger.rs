//! Closing without losing the last bytes.
//!
//! A socket that is closed while received bytes are unread sends RST, and an RST makes the peer throw away
//! what it has not read yet: the answer, or the GOAWAY that says why (RFC 9112 §9.6, "lingering close").
//! So, however a connection ends, its socket's sending side is closed (FIN; in TLS after a `close_notify`), and what still
//! arrives is read and thrown away for a moment.

use super::socket::Socket;
use prism_platform::time;
use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
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

    fn take(&self, mut io: Socket) {
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
                // Nobody looks at it, so nobody decrypts it.
                let mut io = io.into_wire();
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

/// A connection that lingers when it is dropped.
pub(super) struct Lingering {
    io: Option<Socket>,
    linger: Rc<Linger>,
    unfinished: Arc<AtomicBool>,
}

impl Lingering {
    pub(super) fn new(io: Socket, linger: Rc<Linger>) -> Self {
        Self { io: Some(io), linger, unfinished: Arc::default() }
    }

    /// True while the connection's end would be taken for that of an answer that is not over yet: then it ends with a reset.
    pub(super) fn unfinished(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.unfinished)
    }

    /// See [`super::socket::Watched::reads`].
    pub(super) fn reads(&self) -> Rc<Cell<u64>> {
        self.io.as_ref().map(Socket::reads).unwrap_or_default()
    }

    fn io(&mut self) -> io::Result<Pin<&mut Socket>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(io) = self.io.take().filter(|io| !io.peer_closed()) else { return };
        match self.unfinished.load(Ordering::Relaxed) {
            true => io.reset_when_dropped(),
            false => self.linger.take(io),
        }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(Socket::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}
