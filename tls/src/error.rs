//! Why files cannot be used.

use rustls::pki_types::pem;
use std::{fmt, io, path::PathBuf};

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is far larger than any certificate.
    #[error("{}: is above {} KiB; is it the right file?", path.display(), limit >> 10)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is read at most, in bytes.
        limit: u64,
    },
    /// A file is not PEM.
    #[error("{}: not PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file has no certificate in it.
    #[error("{}: has no certificate in it (`-----BEGIN CERTIFICATE-----`)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file has no private key in it.
    #[error("{}: has no private key in it (`-----BEGIN PRIVATE KEY-----`, not encrypted)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be trusted as a CA.
    #[error("{}: cannot be used as a CA: {source}", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A certificate and a key are not one identity.
    #[error("{} and {} are not one identity: {source}", certificates.display(), key.display())]
    Identity {
        /// The certificates.
        certificates: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// A certificate is none, though rustls takes it.
    #[error("{}: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One of several certificates would never be shown.
    #[error("{}: has no DNS name in it (subjectAltName), so no client could ask for it", path.display())]
    NoNames {
        /// The file.
        path: PathBuf,
    },
    /// Which of two certificates a client is shown would be left to chance.
    #[error("`{name}` is a name of both {} and {}: each name can have one certificate", first.display(), second.display())]
    SameName {
        /// The name.
        name: String,
        /// One of their files.
        first: PathBuf,
        /// The other's.
        second: PathBuf,
    },
    /// A file has no revocation list in it.
    #[error(
        "{}: has no revocation list in it (`-----BEGIN X509 CRL-----`; `openssl crl -inform DER -in FILE` makes one)",
        path.display()
    )]
    NoRevocationList {
        /// The file.
        path: PathBuf,
    },
    /// A revocation list cannot be read.
    #[error("{}: cannot be used as a revocation list: {source}", path.display())]
    RevocationList {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is a revocation list, and nobody who could be revoked.
    #[error("{}: does nothing, because no client is asked for a certificate", path.display())]
    IdleRevocationList {
        /// The file.
        path: PathBuf,
    },
    /// An authority has no list. A certificate that no list covers is refused, so nobody of its could come in.
    #[error(
        "an authority of the clients has no revocation list in {}: add its own, or none of its clients can come in",
        Paths(crls)
    )]
    NotCovered {
        /// The files that there are.
        crls: Vec<PathBuf>,
    },
    /// Neither a host name nor an IP address.
    #[error("`{0}` is neither a host name nor an IP address")]
    ServerName(String),
    /// What rustls says of its own settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Some files, one after the other.
struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, path) in self.0.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { "" } else { ", " }, path.display())?;
        }
        Ok(())
    }
}
