//! What a network can do: listen and connect. Addresses name TCP and unix sockets alike.

use crate::io::Io;
use std::{fmt, future::Future, io, net::SocketAddr, path::PathBuf, pin::Pin, str::FromStr};

/// A boxed future: these are made once a connection, never once a request.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where to listen or connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A TCP socket.
    Tcp(SocketAddr),
    /// A unix stream socket, by its path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Neither `IP:PORT` nor `unix:PATH`.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseAddressError(String);

impl fmt::Display for ParseAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an address: write IP:PORT or unix:PATH", self.0)
    }
}

impl std::error::Error for ParseAddressError {}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => text.parse().map(Self::Tcp).map_err(|_| ParseAddressError(text.to_owned())),
        }
    }
}

/// How to listen.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Connections that the kernel keeps until we accept them.
    pub backlog: u32,
    /// Permission bits of a unix socket's file, set before anybody can connect.
    pub unix_mode: u32,
}

impl Default for BindOptions {
    fn default() -> Self {
        // 1,024 rides out a burst of reconnects (Linux caps it at net.core.somaxconn); 0600 because a
        // socket that anybody on the host may use has to be asked for.
        Self { backlog: 1024, unix_mode: 0o600 }
    }
}

/// One accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// The bytes.
    pub io: Io,
    /// The peer, where it has an address (a unix client usually has none).
    pub peer: Option<SocketAddr>,
}

/// A bound socket.
pub trait Listener: Send + Sync {
    /// The next connection. Cancel-safe: dropping the future loses no connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<Accepted>>;

    /// Where it listens; with the port that the system chose, if it was asked to.
    ///
    /// # Errors
    /// What the operating system says.
    fn local_address(&self) -> io::Result<Address>;
}

/// A network.
pub trait Net: Send + Sync {
    /// Starts to listen.
    fn bind<'a>(
        &'a self,
        address: &'a Address,
        options: BindOptions,
    ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Opens a connection.
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Io>>;

    /// The addresses of a host, by its name or as one is written, the best first.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for text in ["127.0.0.1:50051", "[::1]:80", "unix:/run/x.sock", "unix:./x.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "localhost:80", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
