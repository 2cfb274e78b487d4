//! One type for the bytes of any connection, and how it moves from the thread that accepted it to the
//! worker that serves it.

use socket2::SockRef;
use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// A connection of somebody else's making (a simulated network, a TLS session).
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The bytes of one connection.
pub enum Io {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
    /// Anything else.
    Other(Box<dyn Connection>),
}

/// Who is at the other end of a unix socket, as the kernel recorded it at connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process id, where the kernel knows it.
    pub pid: Option<u32>,
    /// User id.
    pub uid: u32,
}

impl Io {
    /// The peer's process and user, on a unix socket.
    #[must_use]
    pub fn peer_credentials(&self) -> Option<PeerCredentials> {
        let Self::Unix(stream) = self else { return None };
        let peer = stream.peer_cred().ok()?;
        Some(PeerCredentials { pid: peer.pid().and_then(|pid| u32::try_from(pid).ok()), uid: peer.uid() })
    }

    /// Has the connection end with a reset as soon as it is dropped, which throws away what is still to be sent: whoever reads
    /// to its end must not take what came for the whole. Only TCP knows that.
    pub fn reset_when_dropped(&self) {
        if let Self::Tcp(stream) = self {
            // Where it fails, the connection is gone already.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Takes the connection out of this thread's reactor, to be [attached](Detached::attach) on
    /// another's.
    ///
    /// # Errors
    /// What the operating system says when the socket is deregistered.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached(match self {
            Self::Tcp(stream) => Raw::Tcp(stream.into_std()?),
            Self::Unix(stream) => Raw::Unix(stream.into_std()?),
            Self::Other(stream) => Raw::Other(stream),
        }))
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Io::Tcp",
            Self::Unix(_) => "Io::Unix",
            Self::Other(_) => "Io::Other",
        })
    }
}

/// A connection that belongs to no thread's reactor yet.
#[derive(Debug)]
pub struct Detached(Raw);

enum Raw {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Other(Box<dyn Connection>),
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw")
    }
}

impl Detached {
    /// Registers the connection with the reactor of the calling thread's runtime.
    ///
    /// # Errors
    /// What the operating system says when the socket is registered.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn attach(self) -> io::Result<Io> {
        Ok(match self.0 {
            Raw::Tcp(stream) => Io::Tcp(TcpStream::from_std(stream)?),
            Raw::Unix(stream) => Io::Unix(UnixStream::from_std(stream)?),
            Raw::Other(stream) => Io::Other(stream),
        })
    }
}

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self.get_mut() {
            Io::Tcp($stream) => $body,
            Io::Unix($stream) => $body,
            Io::Other($stream) => $body,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
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
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
