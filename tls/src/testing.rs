//! Certificates for tests, made on the spot.

use crate::IdentityFiles;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, RevokedCertParams,
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

static AUTHORITIES: AtomicU64 = AtomicU64::new(0);

/// An authority that signs what it is asked to.
#[derive(Debug)]
pub struct Authority {
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub type Identity = (String, String);

#[allow(clippy::unwrap_used)] // a test whose certificates cannot be made has failed
impl Authority {
    /// A new one, that nobody trusts yet.
    #[must_use]
    #[allow(clippy::new_without_default)] // no two are alike
    pub fn new() -> Self {
        Self::named(next_name())
    }

    /// Another one of the same name, with a key of its own.
    #[must_use]
    pub fn impostor(&self) -> Self {
        Self::named(self.name.clone())
    }

    fn named(name: String) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority(&name), KeyPair::generate().unwrap()).unwrap();
        Self { name, issuer }
    }

    /// One that is not trusted itself, but signed by this one, under this serial number.
    #[must_use]
    pub fn between(&self, serial: u64) -> Self {
        let name = next_name();
        let mut params = authority(&name);
        params.serial_number = Some(serial.into());
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        Self { name, issuer }
    }

    /// Its own certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// An identity for these names and addresses, changed before it is signed.
    #[must_use]
    pub fn identity(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A list, as PEM, of the certificates with these serial numbers (`params.serial_number`), which is good until then.
    #[must_use]
    pub fn revoked(&self, serials: &[u64], next_update: SystemTime) -> String {
        let this_update = rcgen::date_time_ymd(2001, 1, 1);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update: rcgen::date_time_ymd(1970, 1, 1) + since_1970(next_update),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Two of the same name would be told apart by their signatures alone.
fn next_name() -> String {
    format!("authority {}", AUTHORITIES.fetch_add(1, Ordering::Relaxed))
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Ends a certificate that is not signed yet.
pub fn end(params: &mut CertificateParams, at: SystemTime) {
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(at);
}

#[allow(clippy::unwrap_used)] // no test is from before that
fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap()
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
