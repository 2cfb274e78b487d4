//! What the admin address is encrypted with, and who is at the other end of a connection.

use super::guard::Shown;
use prism_config::{Admin, AdminTls, ClientAuthError};
use prism_filters::{auth::certificate_principal, tls};
use prism_tls::{
    ClientIdentity, IdentityFiles, Malformed, ServerFiles, ServerStream, ServerTls, TlsError, alpn,
};
use std::{sync::Arc, time::Duration};

/// The interface speaks HTTP/1.1 and nothing else.
const PROTOCOLS: [&[u8]; 1] = [alpn::HTTP1];

/// Why the address cannot be encrypted as it is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminTlsError {
    /// What is written.
    #[error(transparent)]
    Settings(#[from] ClientAuthError),
    /// What is in the files.
    #[error(transparent)]
    Files(#[from] TlsError),
}

fn files(tls: &AdminTls) -> Result<ServerFiles, ClientAuthError> {
    let AdminTls { cert, key, client_ca, client_auth, crls } = tls.clone();
    let clients = tls::clients(client_ca, client_auth, &crls)?;
    let identity = IdentityFiles { certificates: cert, key };
    Ok(ServerFiles { crls, ..ServerFiles::new(identity, clients) })
}

/// Reads the files, if the address is encrypted, and looks at them from now on. Blocks.
///
/// # Errors
/// They cannot be used.
pub(super) fn open(admin: &Admin) -> Result<Option<ServerTls>, AdminTlsError> {
    let Some(tls) = &admin.tls else { return Ok(None) };
    Ok(Some(ServerTls::watch(files(tls)?, &PROTOCOLS)?))
}

/// Reads the files of a configuration that will not run here: for `prism-edge check`. Blocks.
pub(crate) fn check(admin: &Admin) -> Option<AdminTlsError> {
    let load = |tls| Ok(ServerTls::load(files(tls)?, &PROTOCOLS).map(drop)?);
    load(admin.tls.as_ref()?).err()
}

/// Who has made an encrypted connection.
#[derive(Debug)]
pub(super) struct Client {
    tls: Arc<ServerTls>,
    identity: Option<ClientIdentity>,
}

impl Client {
    /// Of a connection whose handshake took so long.
    ///
    /// # Errors
    /// Its certificate is none: it must not be let in.
    pub(super) fn of<S>(
        stream: &ServerStream<S>,
        tls: &Arc<ServerTls>,
        took: Duration,
    ) -> Result<Self, Malformed> {
        Ok(Self { identity: prism_tls::client_of(stream, took)?, tls: Arc::clone(tls) })
    }

    /// What it has shown, by what the files hold now: a connection outlives certificates, and a request comes on it when a
    /// new one would not be let in any more. Verifies signatures, some 100 µs, which no more than a few people and programs
    /// ask for.
    pub(super) fn shown(&self) -> Shown {
        let principal = self.identity.as_ref().map(certificate_principal);
        if let Err(why) = self.tls.verify_again(self.identity.as_ref()) {
            return Shown::Ended(match principal {
                Some(Ok(principal)) => format!("the certificate of {principal}: {why}").into(),
                _ => why.to_string().into(),
            });
        }
        match principal {
            None => Shown::Nothing,
            Some(Ok(principal)) => Shown::Principal(principal.to_string()),
            Some(Err(why)) => Shown::Nobody(why),
        }
    }
}
