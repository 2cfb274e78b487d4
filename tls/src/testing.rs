//! Certificates for tests, made on the spot.

use crate::IdentityFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

static AUTHORITIES: AtomicU64 = AtomicU64::new(0);

/// An authority that signs what it is asked to.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub type Identity = (String, String);

#[allow(clippy::unwrap_used)] // a test whose certificates cannot be made has failed
impl Authority {
    /// A new one, that nobody trusts yet.
    #[must_use]
    #[allow(clippy::new_without_default)] // no two are alike
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of the same name would be told apart by their signatures alone.
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// An identity for these names and addresses, changed before it is signed.
    #[must_use]
    pub fn identity(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A folder of PEM files.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

#[allow(clippy::unwrap_used)] // a test without files has failed
impl Folder {
    /// An empty one.
    #[must_use]
    #[allow(clippy::new_without_default)] // no two are alike
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, or puts it in another one's place, in one step: nobody reads half of it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let (path, next) = (self.0.path().join(name), self.0.path().join("next"));
        fs::write(&next, text).unwrap();
        fs::rename(&next, &path).unwrap();
        path
    }

    /// Writes an identity as `NAME.crt` and `NAME.key`.
    pub fn identity(&self, name: &str, (certificate, key): &Identity) -> IdentityFiles {
        IdentityFiles {
            certificates: self.write(&format!("{name}.crt"), certificate),
            key: self.write(&format!("{name}.key"), key),
        }
    }
}
