//! A server's own certificates: which one a client is shown.

use crate::{
    IdentityFiles, TlsError,
    files::Identity,
    parsed::{self, Malformed, Name, is_host_name},
};
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// One of a server's certificates, or one of its revocation lists, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its file.
    pub path: PathBuf,
    /// Its end.
    pub at: SystemTime,
}

impl Expiry {
    /// How long it is until then; negative once it is over.
    #[must_use]
    pub fn seconds_left(&self) -> f64 {
        let now = parsed::now();
        match self.at.duration_since(now) {
            Ok(left) => left.as_secs_f64(),
            Err(over) => -over.duration().as_secs_f64(),
        }
    }
}

/// The certificates of a server, by the names in them: SNI (RFC 6066 section 3), an exact name before a wildcard.
pub(crate) struct Certificates {
    /// For clients that name no server, or one that no certificate has: TLS does not tell them, but their own look at the
    /// names in it does.
    default: Arc<CertifiedKey>,
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    pub(crate) expiries: Vec<Expiry>,
}

impl Certificates {
    /// The first is the default.
    ///
    /// # Errors
    /// A file cannot be used; two certificates have a name in common; one that is not the default has none.
    pub(crate) fn new<'a>(
        identities: impl Iterator<Item = (&'a IdentityFiles, Identity<'a>)>,
    ) -> Result<Self, TlsError> {
        let mut owners = HashMap::new();
        let mut certificates: Option<Self> = None;
        for (files, identity) in identities {
            let path = &files.certificates;
            let certified = identity.certified()?;
            let (names, not_after) = read(&certified)
                .map_err(|source| TlsError::Certificate { path: path.clone(), source: source.into() })?;
            let is_default = certificates.is_none();
            let all = certificates.get_or_insert_with(|| Self {
                default: Arc::clone(&certified),
                exact: HashMap::new(),
                wildcard: HashMap::new(),
                expiries: Vec::new(),
            });
            all.expiries.push(Expiry { path: path.clone(), at: not_after });
            if names.is_empty() && !is_default {
                return Err(TlsError::NoNames { path: path.clone() });
            }
            for name in names {
                all.add(name, path, &certified, &mut owners)?;
            }
        }
        certificates.ok_or(TlsError::Setup(rustls::Error::NoCertificatesPresented))
    }

    fn add<'a>(
        &mut self,
        name: Box<str>,
        path: &'a Path,
        certified: &Arc<CertifiedKey>,
        owners: &mut HashMap<Box<str>, &'a Path>,
    ) -> Result<(), TlsError> {
        match owners.entry(name.clone()) {
            // Twice in one.
            Entry::Occupied(owner) if *owner.get() == path => return Ok(()),
            Entry::Occupied(owner) => {
                let (first, second) = ((*owner.get()).to_owned(), path.to_owned());
                return Err(TlsError::SameName { name: name.into(), first, second });
            }
            Entry::Vacant(owner) => drop(owner.insert(path)),
        }
        let certified = Arc::clone(certified);
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.insert(parent.into(), certified),
            None => self.exact.insert(name, certified),
        };
        Ok(())
    }

    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let wildcard = || {
            // RFC 9525 section 6.3: "the wildcard character MUST be the complete content of the left-most label", and it
            // stands for one.
            self.wildcard.get(name.split_once('.')?.1)
        };
        self.exact.get(name).or_else(wildcard).unwrap_or(&self.default)
    }
}

/// Its DNS names, in lower case, and its end.
fn read(certified: &CertifiedKey) -> Result<(Vec<Box<str>>, SystemTime), Malformed> {
    let certificate = parsed::certificate(certified.cert.first().ok_or(Malformed)?)?;
    let names = parsed::names(&certificate)?;
    // A client that asks for a name asks for nothing else.
    let usable = names.into_iter().filter_map(|name| match name {
        Name::Dns(name) if is_host_name(name.strip_prefix("*.").unwrap_or(name)) => {
            Some(name.to_ascii_lowercase().into())
        }
        _ => None,
    });
    Ok((usable.collect(), parsed::not_after(&certificate)))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has made it lower-case.
        Some(Arc::clone(hello.server_name().map_or(&self.default, |name| self.find(name))))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("expiries", &self.expiries).finish_non_exhaustive()
    }
}
