//! Which clients a server lets in: authorities, and the lists of certificates that they have revoked.

use crate::{ClientAuth, ClientIdentity, TlsError, files::Contents, parsed::now};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateRevocationListDer, UnixTime},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use std::{
    hash::{DefaultHasher, Hasher},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Why a client that was let in would not be any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientRefused {
    /// What rustls says of its certificate.
    #[error("{0}")]
    Certificate(rustls::Error),
    /// A certificate is needed now.
    #[error("it has shown no certificate, and one is needed now")]
    Nobody,
    /// Nobody vouches for its certificate any more.
    #[error("certificates are not asked for any more")]
    NotAsked,
}

/// What the files say of who is let in, before it is used.
pub(crate) struct TrustFiles<'a> {
    clients: &'a ClientAuth,
    authorities: Option<Contents<'a>>,
    revoked: Vec<Contents<'a>>,
    crls: &'a [PathBuf],
}

impl<'a> TrustFiles<'a> {
    pub(crate) fn read(clients: &'a ClientAuth, crls: &'a [PathBuf]) -> Self {
        Self {
            clients,
            authorities: clients.ca().map(Contents::read),
            revoked: crls.iter().map(|path| Contents::read_revocation_list(path)).collect(),
            crls,
        }
    }

    pub(crate) fn identify(&self, hasher: &mut DefaultHasher) {
        for contents in self.authorities.iter().chain(&self.revoked) {
            contents.identify(hasher);
        }
    }

    pub(crate) fn trust(self, provider: &Arc<CryptoProvider>) -> Result<Trust, TlsError> {
        let mut hasher = DefaultHasher::new();
        self.identify(&mut hasher);
        let mut trust = Trust {
            verifier: None,
            required: matches!(self.clients, ClientAuth::Required(_)),
            next_updates: Box::default(),
            fingerprint: hasher.finish(),
        };
        let (Some(authorities), Some(path)) = (self.authorities, self.clients.ca()) else {
            return match self.crls.first() {
                Some(path) => Err(TlsError::IdleRevocationList { path: path.to_owned() }),
                None => Ok(trust),
            };
        };
        let authorities = authorities.authorities()?;
        let (crls, among) = (self.crls, Arc::clone(&authorities));
        let revoked = revoked(self.revoked, self.crls, &authorities)?;
        trust.next_updates =
            self.crls.iter().cloned().zip(revoked.iter().map(|file| file.next_update)).collect();
        let verifier = WebPkiClientVerifier::builder_with_provider(authorities, Arc::clone(provider))
            .with_crls(revoked.iter().flat_map(|file| file.lists.clone()))
            // Without it a list that nobody renews would let in whoever was revoked since. What no list covers is refused
            // as well, which is rustls' default: a certificate whose status is not known is not known to be good.
            .enforce_revocation_expiration();
        let verifier = match trust.required {
            true => verifier,
            false => verifier.allow_unauthenticated(),
        };
        trust.verifier = Some(verifier.build().map_err(|source| {
            // Which list it is is not said, so each file is tried alone.
            let alone = |file: &Revoked| {
                let builder =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(&among), Arc::clone(provider));
                builder.with_crls(file.lists.clone()).build().is_err()
            };
            let blamed = revoked.iter().zip(crls).find(|(file, _)| alone(file));
            match (&source, blamed) {
                (VerifierBuilderError::InvalidCrl(_), Some((_, path))) => {
                    TlsError::RevocationList { path: path.to_owned(), source: source.into() }
                }
                _ => TlsError::Authority { path: path.to_owned(), source: source.into() },
            }
        })?);
        Ok(trust)
    }
}

/// The lists of one file.
struct Revoked {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// The first of them to end.
    next_update: SystemTime,
}

/// # Errors
/// A file cannot be used, or an authority has no list: none of its clients could ever come in.
fn revoked(
    contents: Vec<Contents<'_>>,
    paths: &[PathBuf],
    authorities: &RootCertStore,
) -> Result<Vec<Revoked>, TlsError> {
    let mut issuers = Vec::new();
    let mut files = Vec::new();
    for (contents, path) in contents.into_iter().zip(paths) {
        let mut file = Revoked { lists: Vec::new(), next_update: SystemTime::UNIX_EPOCH };
        for (list, parsed) in contents.revocation_lists()? {
            file.next_update = match file.lists.is_empty() {
                true => parsed.next_update,
                false => file.next_update.min(parsed.next_update),
            };
            issuers.push(parsed.issuer);
            file.lists.push(list);
        }
        if file.next_update <= now() {
            tracing::warn!(path = %path.display(), "a revocation list has expired: every client of its CA is refused");
        }
        files.push(file);
    }
    if !files.is_empty() {
        for authority in &authorities.roots {
            if !issuers.iter().any(|issuer| **issuer == *authority.subject) {
                return Err(TlsError::NotCovered { crls: paths.to_vec() });
            }
        }
    }
    Ok(files)
}

/// Who is let in.
pub(crate) struct Trust {
    /// `None` where nobody is asked.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    required: bool,
    /// Of each file of revocation lists, when it ends.
    next_updates: Box<[(PathBuf, SystemTime)]>,
    /// Tells it from other trust.
    pub(crate) fingerprint: u64,
}

impl Trust {
    pub(crate) fn verifier(&self) -> Option<&Arc<dyn ClientCertVerifier>> {
        self.verifier.as_ref()
    }

    /// Of each file of revocation lists, when it ends.
    pub(crate) fn next_updates(&self) -> &[(PathBuf, SystemTime)] {
        &self.next_updates
    }

    /// Whether a client would be let in now.
    pub(crate) fn verify(&self, client: Option<&ClientIdentity>) -> Result<(), ClientRefused> {
        match (&self.verifier, client) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(ClientRefused::NotAsked),
            (Some(_), None) if self.required => Err(ClientRefused::Nobody),
            (Some(_), None) => Ok(()),
            (Some(verifier), Some(client)) => {
                let (own, others) = client.chain.split_first().ok_or(ClientRefused::Nobody)?;
                let before = now();
                verifier
                    .verify_client_cert(own, others, UnixTime::now())
                    .map_err(ClientRefused::Certificate)?;
                client.set_verified(before);
                Ok(())
            }
        }
    }

    /// How long it is until a client may be refused though nothing changes: a certificate or a list ends.
    pub(crate) fn next_end(&self, client: &ClientIdentity) -> Option<Duration> {
        let lists = self.next_updates.iter().map(|(_, end)| end);
        let over = client.next_end(lists)?;
        Some(over.duration_since(now()).unwrap_or_default())
    }
}
