//! TLS at both ends of the proxy, from files that may be renewed while they are in use.
//!
//! [`ClientTls`] opens connections and [`ServerTls`] takes them. Both read PEM files once when they are made, which
//! tells whoever configured them what is wrong, and then look at them every [`INTERVAL`] or [`SERVER_INTERVAL`]: certificates,
//! keys, authorities and revocation lists change together or not at all, and files that cannot be used leave what is in use
//! in use.
//!
//! TLS 1.2 and 1.3, with rustls' default cipher suites and its `ring` provider (docs/decisions.md).

mod certificates;
mod client;
mod client_identity;
mod error;
mod files;
mod key;
mod parsed;
mod renewed;
mod server;
mod spiffe;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod trust;

pub use certificates::Expiry;
pub use client::{ClientFiles, ClientTls};
pub use client_identity::{ClientIdentity, IdentityProblem};
pub use error::TlsError;
pub use files::IdentityFiles;

/// Files that may hold keys, opened and read with care.
pub mod file {
    pub use crate::files::{open, read};
}

pub use parsed::Malformed;
pub use renewed::{INTERVAL, SERVER_INTERVAL};
pub use rustls::pki_types::ServerName;
pub use server::{ClientAuth, Event, ServerFiles, ServerTls, client_of};
/// The bytes of a connection, encrypted.
pub use tokio_rustls::{client::TlsStream as ClientStream, server::TlsStream as ServerStream};
pub use trust::ClientRefused;

/// The application protocols that a connection may carry (RFC 7301): what it speaks is agreed before its first byte.
pub mod alpn {
    /// HTTP/2 over TLS (RFC 9113 section 3.2).
    pub const HTTP2: &[u8] = b"h2";
    /// HTTP/1.1 (RFC 7301 section 6).
    pub const HTTP1: &[u8] = b"http/1.1";
    /// gRPC is HTTP/2.
    pub const GRPC: &[u8] = HTTP2;
    /// Prism frames, major version 1 (docs/frames.md).
    pub const FRAMES: &[u8] = b"prism/1";
}

/// A server's name as certificates have it: a DNS name or an IP address.
///
/// # Errors
/// [`TlsError::ServerName`].
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}
