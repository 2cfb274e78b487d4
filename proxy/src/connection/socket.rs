//! A client's socket, in clear or encrypted, with an eye on whether its bytes move.

use prism_filters::body::Stall;
use prism_platform::Io;
use prism_tls::ServerStream;
use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes on the wire. Below TLS, so that whatever the peer takes is progress: a record that is not whole yet too.
pub(super) struct Watched {
    io: Io,
    /// Bytes that the socket does not take hold memory, whichever protocol they belong to. HTTP/2's windows
    /// are watched per stream; this is for a peer that does not read the connection at all, and for HTTP/1.1.
    unwritten: Stall,
    reads: Rc<Cell<u64>>,
    peer_closed: bool,
}

impl Watched {
    pub(super) fn new(io: Io, stall_timeout: Duration) -> Self {
        Self { io, unwritten: Stall::new(stall_timeout), reads: Rc::default(), peer_closed: false }
    }

    /// How many reads brought bytes so far.
    pub(super) fn reads(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.reads)
    }

    fn moved(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.unwritten.progress();
            return written;
        }
        ready!(self.unwritten.poll_waiting(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) if buf.filled().len() > before => self.reads.set(self.reads.get() + 1),
            // End of stream or error: there is nothing left that could be unread.
            Poll::Ready(_) if buf.remaining() > 0 => self.peer_closed = true,
            _ => {}
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.moved(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.moved(cx, written)
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

/// What HTTP is read from and written to. An enum, because most connections on a host are in clear and pay a branch.
pub(super) enum Socket {
    /// As it comes.
    Plain(Watched),
    /// Behind TLS. Its state is some KiB.
    Tls(Box<ServerStream<Watched>>),
}

impl Socket {
    fn watched(&self) -> &Watched {
        match self {
            Self::Plain(io) => io,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// See [`Watched::reads`].
    pub(super) fn reads(&self) -> Rc<Cell<u64>> {
        self.watched().reads()
    }

    /// Whether the peer has ended its side, so that nothing can be left unread. In TLS that is the end of the
    /// connection below; a `close_notify` alone may have bytes behind it.
    pub(super) fn peer_closed(&self) -> bool {
        self.watched().peer_closed
    }

    /// See [`Io::reset_when_dropped`].
    pub(super) fn reset_when_dropped(&self) {
        self.watched().io.reset_when_dropped();
    }

    /// What is below TLS, which is given up.
    pub(super) fn into_wire(self) -> Io {
        match self {
            Self::Plain(io) => io.io,
            Self::Tls(stream) => stream.into_inner().0.io,
        }
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self.get_mut() {
            Socket::Plain($stream) => $body,
            Socket::Tls($stream) => $body,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
