//! The keys of checkpoints: Ed25519 (RFC 8032), as OpenSSL writes them.

use crate::line::{hex, unhex};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The largest key file: what OpenSSL writes has 119 bytes.
const MOST_BYTES: u64 = 16 << 10;

/// RFC 8410: a SubjectPublicKeyInfo of an Ed25519 key is these bytes and the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others than its owner may read or change it.
    #[error("the key {} may be read or changed by others than its owner (mode {mode:03o}): chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no private key of the kind that is wanted.
    #[error(
        "{} is no Ed25519 private key in PEM, unencrypted (`openssl genpkey -algorithm ed25519` makes one)",
        path.display()
    )]
    NotPrivate {
        /// The file.
        path: PathBuf,
    },
    /// It is no public key of the kind that is wanted.
    #[error("{} is no Ed25519 public key in PEM (`openssl pkey -in KEY -pubout` makes one)", path.display())]
    NotPublic {
        /// The file.
        path: PathBuf,
    },
}

/// What checkpoints are signed with.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a private key: PEM, PKCS#8, unencrypted, for its owner's eyes only.
    ///
    /// # Errors
    /// It cannot be read, others may read or change it, or it is another kind of key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(unreadable)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let pem = Zeroizing::new(read(path).map_err(unreadable)?);
        let not_private = || KeyError::NotPrivate { path: path.to_owned() };
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| not_private())?;
        // OpenSSL leaves the public half out (PKCS#8 version 1), so there is nothing to compare with.
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| not_private())?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| not_private())?;
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        self.pair.sign(message).as_ref().try_into().ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// What a checkpoint's signature is checked with; as text, 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a public key: PEM, `PUBLIC KEY`.
    ///
    /// # Errors
    /// It cannot be read, or is another kind of key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let pem = read(path).map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?;
        let not_public = || KeyError::NotPublic { path: path.to_owned() };
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem).map_err(|_| not_public())?;
        let key = der.strip_prefix(&SPKI_PREFIX[..]).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or_else(not_public)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        unhex(text.as_bytes())?.try_into().ok().map(Self)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    // A pipe would be waited for.
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if metadata.len() > MOST_BYTES {
        return Err(io::Error::other("it is larger than 16 KiB"));
    }
    fs::read(path)
}
