//! The side that is connected to.

use crate::{
    ClientIdentity, ClientRefused, Expiry, IdentityFiles, Malformed, TlsError,
    certificates::Certificates,
    files::Identity,
    parsed,
    renewed::{Renewed, SERVER_INTERVAL, Source, keep_fresh},
    trust::{Trust, TrustFiles},
};
use rustls::{ServerConfig, crypto::ring, server::NoServerSessionStorage};
use std::{
    fmt,
    hash::DefaultHasher,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a server needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Who the server is, to clients that ask for nobody else.
    pub identity: IdentityFiles,
    /// Who else it is: chosen by the name that a client asks for (SNI), which has to be among a certificate's DNS names.
    pub more: Vec<IdentityFiles>,
    /// Who clients have to be.
    pub clients: ClientAuth,
    /// PEM: lists of the certificates that the clients' authorities have revoked. Where there is one, every authority needs
    /// one, up to each client's certificate: what no list covers is refused, and so is everybody once a list has expired.
    pub crls: Vec<PathBuf>,
}

impl ServerFiles {
    /// One certificate, and no revocation lists.
    #[must_use]
    pub fn new(identity: IdentityFiles, clients: ClientAuth) -> Self {
        Self { identity, more: Vec::new(), clients, crls: Vec::new() }
    }
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
    pub(crate) fn ca(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Optional(ca) | Self::Required(ca) => Some(ca),
        }
    }
}

/// What has become of a server's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// They had changed and could not be used; those before stay in use.
    Failed,
    /// Others are in use now.
    Renewed {
        /// Authorities or revocation lists are others: a client that was let in might not be any more.
        trust_changed: bool,
    },
}

/// What [`ServerFiles`] make.
struct Made {
    config: Arc<ServerConfig>,
    trust: Trust,
    certificates: Vec<Expiry>,
}

struct ServerSource {
    files: ServerFiles,
    protocols: Vec<Vec<u8>>,
    told: Box<dyn Fn(Event) + Send + Sync>,
}

/// Takes connections with what [`ServerFiles`] hold now. Those that are open stay as they are; their owner asks
/// [`ServerTls::verify_again`].
pub struct ServerTls {
    renewed: Arc<Renewed<ServerSource>>,
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
        Self::watch_telling(files, protocols, |_| {})
    }

    /// As [`ServerTls::watch`], and calls `told` each time the files had changed, when what follows from it has been done.
    /// It must not block.
    ///
    /// # Errors
    /// [`TlsError`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch_telling(
        files: ServerFiles,
        protocols: &[&[u8]],
        told: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let mut tls = Self::make(files, protocols, told)?;
        tls.watching = Some(tokio::spawn(keep_fresh(Arc::downgrade(&tls.renewed))));
        Ok(tls)
    }

    /// As [`ServerTls::watch`], but reads the files once.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: ServerFiles, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        Self::make(files, protocols, |_| {})
    }

    fn make(
        files: ServerFiles,
        protocols: &[&[u8]],
        told: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let source = ServerSource { files, protocols, told: Box::new(told) };
        Ok(Self { renewed: Arc::new(Renewed::new(source)?), watching: None })
    }

    /// What it was made from.
    #[must_use]
    pub fn files(&self) -> &ServerFiles {
        &self.renewed.source().files
    }

    /// Counts renewals.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.renewed.generation()
    }

    /// Whether a client that was let in once would be let in now. Verifies signatures: some 100 µs.
    ///
    /// # Errors
    /// It would not: its certificate has ended, was revoked, or nobody vouches for it any more.
    pub fn verify_again(&self, client: Option<&ClientIdentity>) -> Result<(), ClientRefused> {
        self.renewed.current().trust.verify(client)
    }

    /// How long it is until a client has to be verified again though no file changes: a certificate of its chain ends, or a
    /// revocation list. By the wall clock as it is now; zero where that is over and was not when it was verified last.
    #[must_use]
    pub fn next_end(&self, client: &ClientIdentity) -> Option<Duration> {
        self.renewed.current().trust.next_end(client)
    }

    /// The ends of the server's own certificates, in the order of its files.
    #[must_use]
    pub fn certificates(&self) -> Vec<Expiry> {
        self.renewed.current().certificates.clone()
    }

    /// The ends of the revocation lists: of each file, the first.
    #[must_use]
    pub fn revocation_lists(&self) -> Vec<Expiry> {
        let made = self.renewed.current();
        made.trust.next_updates().iter().map(|(path, at)| Expiry { path: path.clone(), at: *at }).collect()
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
        TlsAcceptor::from(Arc::clone(&self.renewed.current().config)).accept(io).into_fallible().await
    }
}

/// Who a client is, by the certificate that its handshake has verified; `None` where it has shown none. `took` is how long ago
/// the handshake began at most: what has ended since is looked at again.
///
/// # Errors
/// Its certificate is none by RFC 5280, though rustls has let it pass: it must not be let in.
pub fn client_of<S>(stream: &TlsStream<S>, took: Duration) -> Result<Option<ClientIdentity>, Malformed> {
    let began = parsed::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
    let chain = stream.get_ref().1.peer_certificates();
    chain.map(|chain| ClientIdentity::new(chain, began)).transpose()
}

impl Source for ServerSource {
    const INTERVAL: Duration = SERVER_INTERVAL;
    type Made = Made;
    type Contents<'a> = (Vec<(&'a IdentityFiles, Identity<'a>)>, TrustFiles<'a>);

    fn read(&self) -> Self::Contents<'_> {
        let ServerFiles { identity, more, clients, crls } = &self.files;
        let identities = std::iter::once(identity).chain(more);
        (identities.map(|files| (files, Identity::read(files))).collect(), TrustFiles::read(clients, crls))
    }

    fn identify((identities, trust): &Self::Contents<'_>, hasher: &mut DefaultHasher) {
        for (_, identity) in identities {
            identity.identify(hasher);
        }
        trust.identify(hasher);
    }

    fn make(&self, (identities, trust): Self::Contents<'_>) -> Result<Made, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let certificates = Certificates::new(identities.into_iter())?;
        let trust = trust.trust(&provider)?;
        let expiries = certificates.expiries.clone();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match trust.verifier() {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        if trust.verifier().is_some() {
            // A client that resumes a session is not verified anew: it would be who it was for as long as a
            // ticket lives (up to seven days, RFC 8446 section 4.6.1), however its certificate had fared since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(Made { config: Arc::new(config), trust, certificates: expiries })
    }

    fn renewed(&self, before: &Made, now: &Made) {
        let trust_changed = before.trust.fingerprint != now.trust.fingerprint;
        (self.told)(Event::Renewed { trust_changed });
    }

    fn failed(&self) {
        (self.told)(Event::Failed);
    }
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
        f.debug_struct("ServerTls").field("files", self.files()).finish_non_exhaustive()
    }
}
