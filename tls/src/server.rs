//! The side that is connected to.

use crate::{
    IdentityFiles, TlsError,
    files::{Contents, Identity},
    renewed::{Made, Renewed, keep_fresh},
};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::SingleCertAndKey,
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a server needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Who the server is.
    pub identity: IdentityFiles,
    /// Who clients have to be.
    pub clients: ClientAuth,
}

/// Whether clients say who they are. The file is PEM: the authorities, one of which must have signed a client's
/// certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nobody is asked.
    None,
    /// A client may have no certificate. One that has must have a right one.
    Optional(PathBuf),
    /// A client without a right certificate is refused in the handshake.
    Required(PathBuf),
}

impl ClientAuth {
    fn ca(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Optional(ca) | Self::Required(ca) => Some(ca),
        }
    }
}

/// Takes connections with what [`ServerFiles`] hold now. Those that are open stay as they are.
pub struct ServerTls {
    files: ServerFiles,
    renewed: Arc<Renewed<ServerConfig>>,
    watching: Option<JoinHandle<()>>,
}

impl ServerTls {
    /// Reads the files, and looks at them from now on until it is dropped. Blocks for the reading. `protocols` are
    /// those that a client may ask for, the best first; one that asks for others alone is refused (RFC 7301
    /// section 3.2).
    ///
    /// # Errors
    /// [`TlsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch(files: ServerFiles, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        Self::watch_telling(files, protocols, || {})
    }

    /// As [`ServerTls::watch`], and calls `failed` each time the files had changed and could not be used. It must not
    /// block.
    ///
    /// # Errors
    /// [`TlsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch_telling(
        files: ServerFiles,
        protocols: &[&[u8]],
        failed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let mut tls = Self::make(files, protocols, failed)?;
        tls.watching = Some(tokio::spawn(keep_fresh(Arc::downgrade(&tls.renewed))));
        Ok(tls)
    }

    /// As [`ServerTls::watch`], but reads the files once.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: ServerFiles, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        Self::make(files, protocols, || {})
    }

    fn make(
        files: ServerFiles,
        protocols: &[&[u8]],
        failed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let read = files.clone();
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let renewed = Arc::new(Renewed::new(move || make(&read, &protocols), failed)?);
        Ok(Self { files, renewed, watching: None })
    }

    /// What it was made from.
    #[must_use]
    pub fn files(&self) -> &ServerFiles {
        &self.files
    }

    /// Takes the connection on `io`. Without a deadline.
    ///
    /// # Errors
    /// The client is not who it should be, or speaks no TLS.
    pub async fn accept<S>(&self, io: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_or_return(io).await.map_err(|(error, _)| error)
    }

    /// As [`ServerTls::accept`], and gives `io` back where it fails, with the alert that says why written to it:
    /// whoever closes a socket decides whether its peer can still read that.
    ///
    /// # Errors
    /// As [`ServerTls::accept`].
    pub async fn accept_or_return<S>(&self, io: S) -> Result<TlsStream<S>, (io::Error, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.renewed.current()).accept(io).into_fallible().await
    }
}

fn make(files: &ServerFiles, protocols: &[Vec<u8>]) -> Made<ServerConfig> {
    let contents = (Identity::read(&files.identity), files.clients.ca().map(Contents::read));
    Made::new(
        contents,
        |(identity, client_ca), hasher| {
            identity.identify(hasher);
            if let Some(client_ca) = client_ca {
                client_ca.identify(hasher);
            }
        },
        |(identity, client_ca)| {
            let provider = Arc::new(ring::default_provider());
            let certified = identity.certified(&provider)?;
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?;
            let builder = match (client_ca, files.clients.ca()) {
                (Some(contents), Some(path)) => {
                    let verifier =
                        WebPkiClientVerifier::builder_with_provider(contents.authorities()?, provider);
                    let verifier = match files.clients {
                        ClientAuth::Required(_) => verifier,
                        ClientAuth::Optional(_) | ClientAuth::None => verifier.allow_unauthenticated(),
                    };
                    let verifier = verifier.build().map_err(|source| TlsError::Authority {
                        path: path.to_owned(),
                        source: source.into(),
                    })?;
                    builder.with_client_cert_verifier(verifier)
                }
                _ => builder.with_no_client_auth(),
            };
            let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
            let mut config = builder.with_cert_resolver(resolver);
            if files.clients != ClientAuth::None {
                // A client that resumes a session is not verified anew: it would be who it was for as long as a
                // ticket lives (up to seven days, RFC 8446 section 4.6.1), however its certificate had fared since.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            config.alpn_protocols = protocols.to_vec();
            Ok(config)
        },
    )
}

impl Drop for ServerTls {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("files", &self.files).finish_non_exhaustive()
    }
}
