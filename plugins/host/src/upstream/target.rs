//! Where an endpoint is, and what it takes to open a connection to it.

use arc_swap::ArcSwapOption;
use prism_platform::{Address, Io, Platform, time};
use prism_tls::{ClientTls, ServerName};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// A plugin on this host answers within milliseconds. Whoever waits longer than this would rather hear that it
/// is away.
const LOCAL_DEADLINE: Duration = Duration::from_secs(1);

/// On another host a connection takes a look-up and up to five round trips (TCP, TLS, the transport's own greeting): 3 s
/// are enough for any distance on earth, and for a lost packet.
const REMOTE_DEADLINE: Duration = Duration::from_secs(3);

/// What each address of a name is given, so that one that is dead leaves time for the next.
const ADDRESS_DEADLINE: Duration = Duration::from_secs(1);

/// Addresses of a name that are tried, at most: as many as have time.
const ADDRESSES: usize = 3;

/// A plugin's place on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEndpoint {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for RemoteEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl RemoteEndpoint {
    /// It is on this host.
    pub(crate) fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

/// How connections to other hosts are secured.
#[derive(Clone, Debug)]
pub struct RemoteTls {
    /// What is trusted, and who the proxy is.
    pub client: Arc<ClientTls>,
    /// Whose certificate it must be; the endpoint's host, where nobody says so.
    pub server_name: Option<ServerName<'static>>,
}

impl PartialEq for RemoteTls {
    fn eq(&self, other: &Self) -> bool {
        self.client.files() == other.client.files() && self.server_name == other.server_name
    }
}

/// Who asks for a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The supervisor, whose connection decides which process it is; or whoever does not care which one it is.
    Control,
    /// A worker, which has to reach the same process.
    Worker,
}

/// Where an endpoint is, and what it takes to open a connection to it.
pub(crate) struct Target {
    place: Place,
    secured: Option<Secured>,
    /// The address that the supervisor reached: of several that a name has, the one where the instance is.
    known: ArcSwapOption<SocketAddr>,
}

enum Place {
    Here(Address),
    There(RemoteEndpoint),
}

struct Secured {
    client: Arc<ClientTls>,
    server_name: ServerName<'static>,
}

impl Target {
    /// An address as it is.
    pub(crate) fn here(address: Address) -> Self {
        Self { place: Place::Here(address), secured: None, known: ArcSwapOption::empty() }
    }

    /// # Errors
    /// The host cannot be a server's name.
    pub(crate) fn there(
        endpoint: RemoteEndpoint,
        tls: Option<&RemoteTls>,
    ) -> Result<Self, prism_tls::TlsError> {
        let secured = match tls {
            None => None,
            Some(RemoteTls { client, server_name }) => Some(Secured {
                client: Arc::clone(client),
                server_name: match server_name {
                    Some(name) => name.clone(),
                    None => prism_tls::server_name(&endpoint.host)?,
                },
            }),
        };
        Ok(Self { place: Place::There(endpoint), secured, known: ArcSwapOption::empty() })
    }

    /// What stands for the host: RFC 9113 section 8.3.1 wants an authority; a unix socket has none, and gRPC
    /// libraries say this.
    pub(crate) fn authority(&self) -> String {
        match &self.place {
            Place::Here(Address::Tcp(address)) => address.to_string(),
            Place::Here(Address::Unix(_)) => "localhost".to_owned(),
            Place::There(endpoint) => endpoint.to_string(),
        }
    }

    /// What may be behind a connection that breaks as soon as it is open: in TLS 1.3 the plugin looks at the proxy's
    /// certificate after the proxy has begun to write, and its refusal may come too late to be read.
    pub(crate) fn hint(&self) -> &'static str {
        match self.secured {
            Some(_) => " (does it trust the proxy's certificate?)",
            None => "",
        }
    }

    /// What opening a connection may take.
    pub(super) fn deadline(&self) -> Duration {
        match &self.place {
            Place::Here(_) => LOCAL_DEADLINE,
            Place::There(_) => REMOTE_DEADLINE,
        }
    }

    /// Counts renewals of the certificates that connections are opened with.
    pub(crate) fn generation(&self) -> u64 {
        self.secured.as_ref().map_or(0, |secured| secured.client.generation())
    }

    /// Resolves when connections that were opened at `generation` should give way to new ones.
    pub(crate) async fn newer_than(&self, generation: u64) {
        match &self.secured {
            Some(secured) => secured.client.newer_than(generation).await,
            None => std::future::pending().await,
        }
    }

    /// Opens a connection; over TLS for what `alpn` names. Without a deadline.
    ///
    /// # Errors
    /// Why there is none, without the address.
    pub(crate) async fn connect(
        &self,
        platform: &Platform,
        alpn: &'static [u8],
        who: Who,
    ) -> Result<Io, String> {
        let io = match &self.place {
            Place::Here(address) => platform.connect(address).await.map_err(|error| error.to_string())?,
            Place::There(endpoint) => self.reach(platform, endpoint, who).await?,
        };
        let Some(Secured { client, server_name }) = &self.secured else { return Ok(io) };
        let stream = client
            .connect(server_name.clone(), alpn, io)
            .await
            .map_err(|error| format!("no TLS connection: {error}"))?;
        Ok(Io::Other(Box::new(stream)))
    }

    async fn reach(&self, platform: &Platform, endpoint: &RemoteEndpoint, who: Who) -> Result<Io, String> {
        if let Some(known) = self.known.load_full() {
            match (open(platform, *known).await, who) {
                (Ok(io), _) => return Ok(io),
                // Another address may be another process, which does not know the instance.
                (Err(problem), Who::Worker) => return Err(problem),
                (Err(_), Who::Control) => {}
            }
        }
        let looked_up = platform.resolve(&endpoint.host, endpoint.port).await;
        let addresses = looked_up.map_err(|error| format!("its name cannot be looked up: {error}"))?;
        let mut problem = "its name has no address".to_owned();
        for address in addresses.into_iter().take(ADDRESSES) {
            match open(platform, address).await {
                Ok(io) => {
                    self.known.store(Some(Arc::new(address)));
                    return Ok(io);
                }
                Err(why) => problem = why,
            }
        }
        Err(problem)
    }

    /// Forgets which address of the name it was: what answers there is not the plugin, or not any more. The next
    /// connection of the control plane looks the name up again.
    pub(crate) fn forget_address(&self) {
        self.known.store(None);
    }
}

/// Connects to one of a name's addresses, which leaves time for the next.
async fn open(platform: &Platform, address: SocketAddr) -> Result<Io, String> {
    let connecting = async { platform.connect(&Address::Tcp(address)).await };
    match time::timeout(ADDRESS_DEADLINE, connecting).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ADDRESS_DEADLINE.as_secs())),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Here(address) => address.fmt(f),
            Place::There(endpoint) => endpoint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_platform::{BindOptions, BoxFuture, Listener, Net};
    use std::{io, sync::Mutex};

    /// A name that moves: the first of its addresses answers once and is gone then, without a word.
    #[derive(Default)]
    struct Moves {
        connected: Mutex<Vec<u16>>,
        moved: std::sync::atomic::AtomicBool,
    }

    impl Net for Moves {
        fn bind<'a>(
            &'a self,
            _: &'a Address,
            _: BindOptions,
        ) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
            unreachable!()
        }

        fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Io>> {
            Box::pin(async move {
                let Address::Tcp(address) = address else { unreachable!() };
                self.connected.lock().unwrap().push(address.port());
                if self.moved.load(std::sync::atomic::Ordering::Relaxed) && address.port() == 1 {
                    std::future::pending::<()>().await;
                }
                Ok(Io::Other(Box::new(tokio::io::duplex(1).0)))
            })
        }

        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
            let port = if self.moved.load(std::sync::atomic::Ordering::Relaxed) { 2 } else { 1 };
            Box::pin(async move { Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_moved_is_looked_up_again() {
        let net = Arc::<Moves>::default();
        let platform = Platform::simulated(Arc::<Moves>::clone(&net), 1);
        let target = Target::there(RemoteEndpoint { host: "plugin.test".into(), port: 7 }, None).unwrap();
        let reach = |who| target.connect(&platform, prism_tls::alpn::GRPC, who);
        reach(Who::Control).await.unwrap();
        reach(Who::Worker).await.unwrap();
        net.moved.store(true, std::sync::atomic::Ordering::Relaxed);
        // A worker goes where the instance is, and gives up in time.
        assert!(time::timeout(REMOTE_DEADLINE, reach(Who::Worker)).await.unwrap().is_err());
        // Whoever watches over it looks again, in time too.
        time::timeout(REMOTE_DEADLINE, reach(Who::Control)).await.unwrap().unwrap();
        reach(Who::Worker).await.unwrap();
        assert_eq!(*net.connected.lock().unwrap(), [1, 1, 1, 1, 2, 2]);
        // It answers, and is somebody else.
        target.forget_address();
        net.moved.store(false, std::sync::atomic::Ordering::Relaxed);
        reach(Who::Control).await.unwrap();
        assert_eq!(net.connected.lock().unwrap().last(), Some(&1));
    }
}
