//! Who a client is, by the certificate that it was verified with.

use crate::{
    parsed::{self, Malformed, Name, is_host_name},
    spiffe,
};
use rustls::pki_types::CertificateDer;
use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};
use x509_parser::certificate::X509Certificate;

/// RFC 5280 appendix A.1: `ub-common-name INTEGER ::= 64`.
const MOST_COMMON_NAME: usize = 64;

/// Who a client is. Read once, when its handshake is over, and the same for every request of its connection.
pub struct ClientIdentity {
    names: Names,
    problem: Option<IdentityProblem>,
    not_after: SystemTime,
    fingerprint: [u8; 32],
    /// What the client has shown, its own certificate first: what it takes to verify it again.
    pub(crate) chain: Box<[CertificateDer<'static>]>,
    /// When a certificate of the chain ends, its own included.
    ends: Box<[SystemTime]>,
    /// A moment before it was verified last, in seconds since 1970: what has ended since then was not looked at.
    verified: AtomicU64,
}

#[derive(Default)]
struct Names {
    spiffe: Option<Box<str>>,
    dns: Box<[Box<str>]>,
    common_name: Option<Box<str>>,
}

/// Why a certificate that is trusted names nobody: for whoever has to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityProblem {
    /// X509-SVID section 2: "Validators encountering an SVID containing more than one URI SAN MUST reject the SVID."
    #[error("the client's certificate has more than one URI among its names")]
    SeveralUris,
    /// It says that it is a SPIFFE id, and is none.
    #[error("the client's certificate has a URI `spiffe:` that is no SPIFFE id of a workload")]
    SpiffeId,
    /// A DNS name with a NUL or another control character in it: somebody tries to be read as somebody else.
    #[error("the client's certificate has a control character in a name")]
    ControlCharacter,
    /// The list of its names cannot be read, or there are two.
    #[error("the names of the client's certificate cannot be read")]
    Names,
    /// It has no name of a kind that is used.
    #[error("the client's certificate has neither a SPIFFE id nor a DNS name nor a common name")]
    Nameless,
}

impl ClientIdentity {
    /// Reads a chain that was verified after `verified`, the client's own certificate first.
    ///
    /// # Errors
    /// [`Malformed`]; the chain is empty.
    pub(crate) fn new(chain: &[CertificateDer<'_>], verified: SystemTime) -> Result<Self, Malformed> {
        let own = chain.first().ok_or(Malformed)?;
        let fingerprint = ring::digest::digest(&ring::digest::SHA256, own);
        let certificate = parsed::certificate(own)?;
        let (names, problem) = match names(&certificate) {
            Ok(names) if names.is_empty() => (names, Some(IdentityProblem::Nameless)),
            Ok(names) => (names, None),
            Err(problem) => (Names::default(), Some(problem)),
        };
        let not_after = parsed::not_after(&certificate);
        // What else a client sends along may be anything, as long as it is not needed.
        let others = chain[1..].iter().filter_map(|other| parsed::certificate(other).ok());
        Ok(Self {
            names,
            problem,
            not_after,
            fingerprint: fingerprint.as_ref().try_into().map_err(|_| Malformed)?,
            ends: others.map(|other| parsed::not_after(&other)).chain([not_after]).collect(),
            verified: AtomicU64::new(seconds(verified)),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        })
    }

    /// Its SPIFFE id, where its one URI is one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        self.names.spiffe.as_deref()
    }

    /// Its DNS names, in lower case, as the certificate orders them. Those with a wildcard are left out: a pattern is nobody.
    #[must_use]
    pub fn dns_names(&self) -> &[Box<str>] {
        &self.names.dns
    }

    /// Its subject's common name, where it has exactly one. Authorities that check every other name have signed anything in
    /// this one, so it must not be used unless somebody has asked for it.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.names.common_name.as_deref()
    }

    /// Why it has no name, where it has none.
    #[must_use]
    pub fn problem(&self) -> Option<IdentityProblem> {
        self.problem
    }

    /// The end of the client's own certificate.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// SHA-256 of the client's own certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// It was verified once more, after this moment.
    pub(crate) fn set_verified(&self, after: SystemTime) {
        self.verified.store(seconds(after), Ordering::Relaxed);
    }

    /// When the first of its certificates, or of `others`, is over that was not when it was verified. It may be over already.
    pub(crate) fn next_end<'a>(&'a self, others: impl Iterator<Item = &'a SystemTime>) -> Option<SystemTime> {
        let verified = SystemTime::UNIX_EPOCH + Duration::from_secs(self.verified.load(Ordering::Relaxed));
        // The end itself is still within (RFC 5280 section 4.1.2.5: "inclusive").
        let over = self.ends.iter().chain(others).map(|end| *end + Duration::from_secs(1));
        over.filter(|over| *over > verified).min()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Names {
    fn is_empty(&self) -> bool {
        self.spiffe.is_none() && self.dns.is_empty() && self.common_name.is_none()
    }
}

fn names(certificate: &X509Certificate<'_>) -> Result<Names, IdentityProblem> {
    let (mut uri, mut dns) = (None, Vec::new());
    for name in parsed::names(certificate).map_err(|Malformed| IdentityProblem::Names)? {
        match name {
            Name::Uri(_) if uri.is_some() => return Err(IdentityProblem::SeveralUris),
            Name::Uri(one) => uri = Some(one),
            Name::Dns(name) if name.contains(|char: char| char.is_ascii_control()) => {
                return Err(IdentityProblem::ControlCharacter);
            }
            Name::Dns(name) if is_host_name(name) => dns.push(name.to_ascii_lowercase().into()),
            Name::Dns(_) => {}
        }
    }
    let spiffe = match uri {
        Some(uri) if spiffe::is_workload_id(uri) => Some(uri.into()),
        Some(uri) if spiffe::claims_to_be_one(uri) => return Err(IdentityProblem::SpiffeId),
        _ => None,
    };
    Ok(Names { spiffe, dns: dns.into(), common_name: common_name(certificate) })
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<Box<str>> {
    let mut names = certificate.subject().iter_common_name();
    let (name, None) = (names.next()?, names.next()) else { return None };
    let name = name.as_str().ok()?;
    let fits = !name.is_empty() && name.chars().count() <= MOST_COMMON_NAME;
    (fits && !name.contains(char::is_control)).then(|| name.into())
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity")
            .field("spiffe_id", &self.names.spiffe)
            .field("dns_names", &self.names.dns)
            .field("common_name", &self.names.common_name)
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
