//! The side that is connected to.

use crate::{
    IdentityFiles, TlsError,
    files::{Contents, Identity},
    renewed::{Made, Renewed, keep_fresh},
};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ResolvesServerCert, WebPkiClientVerifier},
    sign::SingleCertAndKey,
};
use std::{fmt, io, path::PathBuf, sync::Arc};
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
    /// PEM: the authorities, one of which must have signed every client's certificate. `None` takes anybody.
    pub client_ca: Option<PathBuf>,
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
        let read = files.clone();
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let renewed = Arc::new(Renewed::new(move || make(&read, &protocols))?);
        let watching = Some(tokio::spawn(keep_fresh(Arc::downgrade(&renewed))));
        Ok(Self { files, renewed, watching })
    }

    /// Takes the connection on `io`. Without a deadline.
    ///
    /// # Errors
    /// The client is not who it should be, or speaks no TLS.
    pub async fn accept<S>(&self, io: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.renewed.current()).accept(io).await
    }
}

fn make(files: &ServerFiles, protocols: &[Vec<u8>]) -> Made<ServerConfig> {
    let contents = (Identity::read(&files.identity), files.client_ca.as_deref().map(Contents::read));
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
            let builder = match (client_ca, &files.client_ca) {
                (Some(contents), Some(path)) => {
                    let verifier =
                        WebPkiClientVerifier::builder_with_provider(contents.authorities()?, provider)
                            .build()
                            .map_err(|source| TlsError::Authority {
                                path: path.clone(),
                                source: source.into(),
                            })?;
                    builder.with_client_cert_verifier(verifier)
                }
                _ => builder.with_no_client_auth(),
            };
            let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
            // Every renewal has a store for sessions of its own: one that was resumed would not be verified anew.
            let mut config = builder.with_cert_resolver(resolver);
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
