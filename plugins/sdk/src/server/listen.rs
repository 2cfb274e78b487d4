//! Binding: a unix socket that only its owner can reach, or a TCP port.

use prism_tls::ServerStream;
use socket2::{Domain, Socket, Type};
use std::{
    fmt, fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::Sleep,
};
use tonic::transport::server::Connected;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket, made with mode 0600.
    Unix(PathBuf),
    /// A TCP address. Nothing is encrypted or authenticated on it without [`ServeOptions::tls`].
    ///
    /// [`ServeOptions::tls`]: super::ServeOptions::tls
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// Why a server could not begin to listen.
#[derive(thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("{0}: another process answers on this socket; stop it or choose another path")]
    InUse(Address),
    /// Something else has the path.
    #[error("{0}: exists and is no socket; remove it or choose another path")]
    NotASocket(Address),
    /// The environment names an address that is none.
    #[error("PRISM_PLUGIN_ADDRESS is `{0}`, not an IP address and a port such as `0.0.0.0:50100`")]
    Address(String),
    /// The environment names some of the files for TLS and not the others.
    #[error(
        "{0} is not set: TLS needs PRISM_PLUGIN_TLS_CERT, PRISM_PLUGIN_TLS_KEY and PRISM_PLUGIN_TLS_CLIENT_CA"
    )]
    Incomplete(&'static str),
    /// The environment names an address that others can reach, and no files for TLS.
    #[error(
        "PRISM_PLUGIN_ADDRESS {0} is not on loopback: set PRISM_PLUGIN_TLS_CERT, PRISM_PLUGIN_TLS_KEY and \
         PRISM_PLUGIN_TLS_CLIENT_CA, or anybody could call the plugin"
    )]
    Exposed(SocketAddr),
    /// The environment names a port that is none.
    #[error("PLUGIN_GRPC_PORT is `{0}`, not a port number from 0 to 65535")]
    Port(String),
    /// What the operating system says.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
}

/// For a person, because a `main` that answers with an error prints it so.
impl fmt::Debug for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A listening socket. On unix its path is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    /// After a failed accept: until when.
    pause: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Bound {
    Unix(UnixListener, Unlink),
    Tcp(TcpListener),
}

/// Removes a socket's path when its listener goes, if it is still that socket's.
#[derive(Debug)]
struct Unlink {
    path: PathBuf,
    inode: u64,
}

impl Drop for Unlink {
    fn drop(&mut self) {
        // A successor may have taken the path.
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &PathBuf) -> io::Result<u64> {
    fs::symlink_metadata(path).map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata))
}

impl Listener {
    fn new(socket: Bound) -> Self {
        Self { socket, pause: None }
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// [`BindError`]
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        let io = |source| BindError::Io { address: address.clone(), source };
        match address {
            Address::Unix(path) => {
                clear(path, address)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(io)?;
                socket.bind(&socket2::SockAddr::unix(path).map_err(io)?).map_err(io)?;
                // Between bind and listen nobody can connect, so there is no moment with a wider mode.
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
                let unlink = Unlink { path: path.clone(), inode: inode(path).map_err(io)? };
                socket.listen(BACKLOG).map_err(io)?;
                socket.set_nonblocking(true).map_err(io)?;
                Ok(Self::new(Bound::Unix(UnixListener::from_std(socket.into()).map_err(io)?, unlink)))
            }
            Address::Tcp(tcp) => {
                let socket = Socket::new(Domain::for_address(*tcp), Type::STREAM, None).map_err(io)?;
                // A restart must not wait for the old connections' TIME_WAIT.
                socket.set_reuse_address(true).map_err(io)?;
                socket.bind(&(*tcp).into()).map_err(io)?;
                socket.listen(BACKLOG).map_err(io)?;
                socket.set_nonblocking(true).map_err(io)?;
                Ok(Self::new(Bound::Tcp(TcpListener::from_std(socket.into()).map_err(io)?)))
            }
        }
    }

    /// Where it listens: with the port that was chosen, where 0 was asked for.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> io::Result<Address> {
        match &self.socket {
            Bound::Unix(_, unlink) => Ok(Address::Unix(unlink.path.clone())),
            Bound::Tcp(listener) => listener.local_addr().map(Address::Tcp),
        }
    }
}

/// Connections that wait to be accepted. A proxy's workers all connect at once when a plugin starts; the
/// kernel's own maximum (`somaxconn`) still applies.
const BACKLOG: i32 = 1024;

/// Removes what a dead server left behind, and nothing else.
fn clear(path: &PathBuf, address: &Address) -> Result<(), BindError> {
    let io = |source| BindError::Io { address: address.clone(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket(address.clone()));
        }
        Ok(_) => {}
    }
    match is_answered(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Alive, if only just: its backlog is full.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(BindError::InUse(address.clone())),
        Err(error) => Err(io(error)),
        Ok(_) => Err(BindError::InUse(address.clone())),
    }
}

/// Whether somebody listens there. Not blocking: one that is stopped, with a full backlog, must not stop its successor.
fn is_answered(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&socket2::SockAddr::unix(path)?)
}

/// Has the kernel find out that a client's host is gone, as the proxy has it find out that a plugin's is (after 10 s of
/// silence it asks, every 5 s and three times): a connection of one that lost its power would else stay for ever, with its
/// streams.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let asking = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&asking)
}

/// An accepted connection.
pub enum Accepted {
    /// Unix.
    Unix(UnixStream),
    /// TCP.
    Tcp(TcpStream),
    /// Either, encrypted.
    Tls(Box<ServerStream<Accepted>>),
}

impl Accepted {
    /// The protocol that was agreed on before the first byte (RFC 7301); `None` without TLS, and where the client left
    /// it open.
    pub(super) fn agreed(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Unix(_) | Self::Tcp(_) => None,
        }
    }
}

impl Connected for Accepted {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl tokio_stream::Stream for Listener {
    type Item = io::Result<Accepted>;

    /// Never the end. An error is that there are no descriptors (EMFILE, ENFILE), and passes when some are given back; what
    /// else makes accept fail is one peer's doing.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let accepted = match &self.socket {
                Bound::Unix(listener, _) => {
                    ready!(listener.poll_accept(cx)).map(|(stream, _)| Accepted::Unix(stream))
                }
                Bound::Tcp(listener) => ready!(listener.poll_accept(cx)).and_then(|(stream, _)| {
                    // Answers are written whole; waiting for more to send only delays them.
                    stream.set_nodelay(true)?;
                    keep_alive(&stream)?;
                    Ok(Accepted::Tcp(stream))
                }),
            };
            match accepted {
                Ok(stream) => return Poll::Ready(Some(Ok(stream))),
                Err(error) => {
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                    if is_exhausted(&error) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
    }
}

/// There are no descriptors, in the process (EMFILE, 24) or in the system (ENFILE, 23).
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// After a failed accept. Descriptors do not come back within microseconds, and spinning helps nobody.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self.get_mut() {
            Self::Unix($stream) => $body,
            Self::Tcp($stream) => $body,
            Self::Tls($stream) => $body,
        }
    };
}

impl AsyncRead for Accepted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
