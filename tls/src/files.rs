//! Reading certificates and keys, once, so that what is checked is what is used.

use crate::TlsError;
use rustix::fs::{Mode, OFlags};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    fs::File,
    hash::{DefaultHasher, Hash},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The system's whole list of authorities is a quarter of this.
const LIMIT: u64 = 1 << 20;

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM: the certificate first, then those that lead to its CA.
    pub certificates: PathBuf,
    /// PEM: the private key, not encrypted.
    pub key: PathBuf,
}

/// Opens a regular file. Not blocking, so that a pipe is refused and not waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// A file as it was when it was read, or why it could not be.
pub(crate) struct Contents<'a> {
    path: &'a Path,
    bytes: Result<Vec<u8>, TlsError>,
}

impl<'a> Contents<'a> {
    pub(crate) fn read(path: &'a Path) -> Self {
        let failed = |source| TlsError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let read = open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes));
        let bytes = match read {
            Err(error) => Err(failed(error)),
            Ok(_) if bytes.len() as u64 > LIMIT => {
                Err(TlsError::TooLarge { path: path.to_owned(), limit: LIMIT })
            }
            Ok(_) => Ok(bytes),
        };
        Self { path, bytes }
    }

    /// Adds what tells these contents from others. Not a secret's digest: it never leaves the process.
    pub(crate) fn identify(&self, hasher: &mut DefaultHasher) {
        match &self.bytes {
            Ok(bytes) => bytes.hash(hasher),
            Err(error) => error.to_string().hash(hasher),
        }
    }

    fn bytes(self) -> Result<(&'a Path, Vec<u8>), TlsError> {
        Ok((self.path, self.bytes?))
    }

    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let (path, bytes) = self.bytes()?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let certificates = certificates.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { path: path.to_owned() });
        }
        Ok(certificates)
    }

    /// Those that are trusted. Each must be usable: one that is left out silently is an outage later.
    pub(crate) fn authorities(self) -> Result<Arc<RootCertStore>, TlsError> {
        let path = self.path;
        let mut store = RootCertStore::empty();
        for certificate in self.certificates()? {
            store
                .add(certificate)
                .map_err(|source| TlsError::Authority { path: path.to_owned(), source: source.into() })?;
        }
        Ok(Arc::new(store))
    }
}

/// What [`IdentityFiles`] hold.
pub(crate) struct Identity<'a> {
    certificates: Contents<'a>,
    key: Contents<'a>,
}

impl<'a> Identity<'a> {
    pub(crate) fn read(files: &'a IdentityFiles) -> Self {
        Self { certificates: Contents::read(&files.certificates), key: Contents::read(&files.key) }
    }

    pub(crate) fn identify(&self, hasher: &mut DefaultHasher) {
        self.certificates.identify(hasher);
        self.key.identify(hasher);
    }

    /// Checks that the two belong together: while they are being replaced they do not.
    pub(crate) fn certified(self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
        let certificates = self.certificates.path.to_owned();
        let chain = self.certificates.certificates()?;
        let (path, bytes) = self.key.bytes()?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| match source {
            pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
            source => TlsError::Pem { path: path.to_owned(), source },
        })?;
        let certified = CertifiedKey::from_der(chain, key, provider)
            .map_err(|source| TlsError::Identity { certificates, key: path.to_owned(), source })?;
        Ok(Arc::new(certified))
    }
}
