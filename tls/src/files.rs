//! Reading certificates, keys and revocation lists, once, so that what is checked is what is used.

use crate::{
    TlsError,
    key::private_key,
    parsed::{self, RevocationList},
};
use rustix::fs::{Mode, OFlags};
use rustls::{
    RootCertStore,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    fs::File,
    hash::{DefaultHasher, Hash},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::Zeroizing;

/// The system's whole list of authorities is a quarter of this.
const LIMIT: u64 = 1 << 20;

/// Some hundred thousand revoked certificates. It is read twice a second.
const REVOCATION_LIMIT: u64 = 4 << 20;

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// PEM: the certificate first, then those that lead to its CA.
    pub certificates: PathBuf,
    /// PEM: the private key, not encrypted.
    pub key: PathBuf,
}

/// Opens a regular file. Not blocking, so that a pipe is refused and not waited for.
///
/// # Errors
/// It cannot be opened, or is something else.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

/// Reads no more than `limit` and one byte. The room is taken at once: what grows leaves copies of a key behind.
///
/// # Errors
/// It cannot be read, or is no regular file.
pub fn read(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    let length = file.metadata()?.len().min(limit);
    // Two more than are there: one that is too many, and one that shows the reader the end without more room.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 2));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file as it was when it was read, or why it could not be. Its bytes are wiped when they were used: some of it are keys.
pub(crate) struct Contents<'a> {
    path: &'a Path,
    bytes: Result<Zeroizing<Vec<u8>>, TlsError>,
}

impl<'a> Contents<'a> {
    pub(crate) fn read(path: &'a Path) -> Self {
        Self::read_up_to(path, LIMIT)
    }

    pub(crate) fn read_revocation_list(path: &'a Path) -> Self {
        Self::read_up_to(path, REVOCATION_LIMIT)
    }

    fn read_up_to(path: &'a Path, limit: u64) -> Self {
        let bytes = match read(path, limit) {
            Err(source) => Err(TlsError::Read { path: path.to_owned(), source }),
            Ok(bytes) if bytes.len() as u64 > limit => {
                Err(TlsError::TooLarge { path: path.to_owned(), limit })
            }
            Ok(bytes) => Ok(bytes),
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

    fn bytes(self) -> Result<(&'a Path, Zeroizing<Vec<u8>>), TlsError> {
        Ok((self.path, self.bytes?))
    }

    /// Every section of a kind, in the order of the file.
    fn sections<T: PemObject>(self, none: fn(PathBuf) -> TlsError) -> Result<Vec<T>, TlsError> {
        let (path, bytes) = self.bytes()?;
        let sections: Result<Vec<_>, _> = T::pem_slice_iter(&bytes).collect();
        let sections = sections.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
        match sections.is_empty() {
            true => Err(none(path.to_owned())),
            false => Ok(sections),
        }
    }

    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.sections(|path| TlsError::NoCertificate { path })
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

    /// The lists of revoked certificates, and what each says of itself.
    pub(crate) fn revocation_lists(
        self,
    ) -> Result<Vec<(CertificateRevocationListDer<'static>, RevocationList)>, TlsError> {
        let path = self.path;
        let lists: Vec<CertificateRevocationListDer<'static>> =
            self.sections(|path| TlsError::NoRevocationList { path })?;
        let parsed = lists.into_iter().map(|list| match parsed::revocation_list(&list) {
            Ok(parsed) => Ok((list, parsed)),
            Err(source) => Err(TlsError::RevocationList { path: path.to_owned(), source: source.into() }),
        });
        parsed.collect()
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
    pub(crate) fn certified(self) -> Result<Arc<CertifiedKey>, TlsError> {
        let certificates = self.certificates.path.to_owned();
        let chain = self.certificates.certificates()?;
        let (path, bytes) = self.key.bytes()?;
        let key = private_key(path, &bytes)?;
        let certified = any_supported_type(&key).and_then(|key| {
            let certified = CertifiedKey::new(chain, key);
            certified.keys_match().map(|()| certified)
        });
        let certified =
            certified.map_err(|source| TlsError::Identity { certificates, key: path.to_owned(), source })?;
        Ok(Arc::new(certified))
    }
}
