//! The side that connects.

use crate::{
    IdentityFiles, ServerName, TlsError,
    files::{Contents, Identity},
    renewed::{INTERVAL, Renewed, Source, keep_fresh},
};
use rustls::{ClientConfig, client::ResolvesClientCert, crypto::ring, sign::SingleCertAndKey};
use std::{fmt, hash::DefaultHasher, io, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What a client needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// PEM: the authorities, one of which must have signed the server's certificate. No others are trusted.
    pub ca: PathBuf,
    /// Who the client is; without it, it is nobody.
    pub identity: Option<IdentityFiles>,
}

/// Opens connections with what [`ClientFiles`] hold now.
pub struct ClientTls {
    renewed: Arc<Renewed<ClientFiles>>,
    watching: Option<JoinHandle<()>>,
}

impl ClientTls {
    /// Reads the files, and looks at them from now on until it is dropped. Blocks for the reading.
    ///
    /// # Errors
    /// [`TlsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch(files: ClientFiles) -> Result<Self, TlsError> {
        let mut tls = Self::load(files)?;
        tls.watching = Some(tokio::spawn(keep_fresh(Arc::downgrade(&tls.renewed))));
        Ok(tls)
    }

    /// Reads the files, once. Blocks.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: ClientFiles) -> Result<Self, TlsError> {
        Ok(Self { renewed: Arc::new(Renewed::new(files)?), watching: None })
    }

    /// What it was made from.
    #[must_use]
    pub fn files(&self) -> &ClientFiles {
        self.renewed.source()
    }

    /// Counts renewals: a connection that was made at an earlier count was made with what is not in use any more.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.renewed.generation()
    }

    /// Resolves when the files were renewed since `generation`.
    pub async fn newer_than(&self, generation: u64) {
        self.renewed.newer_than(generation).await;
    }

    /// How often the files had changed and could not be used.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.renewed.failures()
    }

    /// What is wrong with the files as they are now, so that older ones are in use.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.renewed.problem()
    }

    /// Opens a connection on `io` to the server that is called `name`, for `protocol` alone. Without a deadline.
    ///
    /// # Errors
    /// The server is not who it should be, does not take this client, or does not speak `protocol`. One that
    /// takes no part in the agreement (RFC 7301 section 3.1) speaks what it speaks: `protocol` is then not known
    /// to be refused.
    pub async fn connect<S>(
        &self,
        name: ServerName<'static>,
        protocol: &'static [u8],
        io: S,
    ) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = ClientConfig::clone(&self.renewed.current());
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config)).connect(name, io).await
    }
}

impl Source for ClientFiles {
    const INTERVAL: Duration = INTERVAL;
    type Made = ClientConfig;
    type Contents<'a> = (Contents<'a>, Option<Identity<'a>>);

    fn read(&self) -> Self::Contents<'_> {
        (Contents::read(&self.ca), self.identity.as_ref().map(Identity::read))
    }

    fn identify((ca, identity): &Self::Contents<'_>, hasher: &mut DefaultHasher) {
        ca.identify(hasher);
        if let Some(identity) = identity {
            identity.identify(hasher);
        }
    }

    fn make(&self, (ca, identity): Self::Contents<'_>) -> Result<ClientConfig, TlsError> {
        let identity = identity.map(Identity::certified).transpose()?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(ca.authorities()?);
        // Every renewal has a store for sessions of its own: one that was resumed would not be verified anew.
        Ok(match identity {
            None => builder.with_no_client_auth(),
            Some(certified) => {
                let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(certified));
                builder.with_client_cert_resolver(resolver)
            }
        })
    }
}

impl Drop for ClientTls {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("files", self.files()).finish_non_exhaustive()
    }
}
