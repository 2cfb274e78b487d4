//! Serving the admin interface: HTTP/1.1, few connections, everything bounded.

use super::{
    endpoints::{self, AdminState},
    guard::{Peer, Way},
    places::{Activity, Places},
    socket,
    tls::{self, AdminTlsError, Client},
};
use crate::control::blocking;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prism_config::Admin;
use prism_platform::{
    Accepted, Address, BindOptions, Listener, Platform,
    time::{self, Instant},
};
use prism_tls::ServerTls;
use std::{convert::Infallible, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};

/// How much of a request is read ahead, its head too: what a browser or a person sends is a tenth of it.
const MOST_HEAD_BYTES: usize = 64 << 10;

/// How long a connection may take over its handshake, over one request's head, and live at all.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Pause after an accept that failed: there are no descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the admin interface cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The TCP address cannot be bound.
    #[error("admin.address: cannot listen on {address}: {source}{}", crate::control::advice(source))]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// What the TCP address is to be encrypted with cannot be used.
    #[error("admin.tls: {0}")]
    Tls(Box<AdminTlsError>),
    /// The unix socket cannot be bound.
    #[error("admin.socket: cannot listen on {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Another process answers there.
    #[error(
        "admin.socket: another process answers on {}: stop it, or give this one another admin.socket",
        path.display()
    )]
    InUse {
        /// Its path.
        path: PathBuf,
    },
    /// Something else has that name.
    #[error("admin.socket: {} exists and is not a socket: remove it, or choose another path", path.display())]
    NotASocket {
        /// Its path.
        path: PathBuf,
    },
}

/// The bound admin interface.
pub(crate) struct AdminServer {
    tcp: Box<dyn Listener>,
    tls: Option<Arc<ServerTls>>,
    unix: Box<dyn Listener>,
    socket: PathBuf,
}

impl AdminServer {
    /// Binds both ends.
    ///
    /// # Errors
    /// One of them is taken or cannot be had, or what the address is to be encrypted with cannot be used.
    pub(crate) async fn bind(platform: &Platform, admin: &Admin) -> Result<Self, AdminError> {
        let unix = socket::bind(platform, &admin.socket).await?;
        let tcp = platform.bind(&Address::Tcp(admin.address), BindOptions::default()).await;
        let tcp = tcp.map_err(|source| AdminError::Address { address: admin.address, source })?;
        let config = admin.clone();
        let tls =
            blocking(move || tls::open(&config)).await.map_err(|error| AdminError::Tls(error.into()))?;
        Ok(Self { tcp, tls: tls.map(Arc::new), unix, socket: admin.socket.clone() })
    }

    /// What the address is encrypted with, if it is.
    pub(crate) fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }

    /// Serves until dropped; connections are cut then.
    pub(crate) async fn run(self, state: Arc<AdminState>) {
        let mut places = [Places::new(), Places::new()];
        let mut connections = JoinSet::new();
        loop {
            let (accepted, by_socket) = tokio::select! {
                accepted = self.unix.accept() => (accepted, true),
                accepted = self.tcp.accept() => (accepted, false),
                _ = connections.join_next(), if !connections.is_empty() => continue,
            };
            let Ok(accepted) = accepted else {
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // One too many is closed at once; the caller tries again.
            let places = &mut places[usize::from(by_socket)];
            let Some(activity) = places.make_room() else { continue };
            let state = Arc::clone(&state);
            let tls = self.tls.clone().filter(|_| !by_socket);
            let way = if by_socket { Way::Socket } else { Way::tcp(accepted.peer, tls.is_some()) };
            let peer = Peer { name: name(&accepted), way, client: None };
            let served = connection(accepted, tls, state, peer, Arc::clone(&activity));
            let task = connections.spawn(async move {
                // Whether it ended by itself or by the time-out, it is over.
                let _ = time::timeout(CONNECTION_TIMEOUT, served).await;
            });
            places.take(task, activity);
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // It is ours: nobody else could bind it while we held it. If it is gone already, all the better.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Who is at the other end, as the audit log names it.
fn name(accepted: &Accepted) -> String {
    match (accepted.io.peer_credentials(), accepted.peer) {
        (Some(peer), _) => format!("uid:{}", peer.uid),
        (None, Some(peer)) => format!("tcp:{peer}"),
        (None, None) => "unknown".to_owned(),
    }
}

async fn connection(
    accepted: Accepted,
    tls: Option<Arc<ServerTls>>,
    state: Arc<AdminState>,
    peer: Peer,
    activity: Arc<Activity>,
) {
    let Some(tls) = tls else { return serve(accepted.io, state, peer, activity).await };
    let began = Instant::now();
    // Who speaks no TLS, or has no certificate where one is asked for, reads why in an alert.
    let accepted = time::timeout(HEADER_TIMEOUT, tls.accept(accepted.io)).await.map(|accepted| {
        let stream = accepted?;
        let client = Client::of(&stream, &tls, began.elapsed());
        // Nobody could say who that is, or when it ends.
        let client = client.map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
        Ok::<_, io::Error>((stream, client))
    });
    match accepted {
        Ok(Ok((stream, client))) => {
            serve(stream, state, Peer { client: Some(client), ..peer }, activity).await;
        }
        Ok(Err(error)) => {
            // Load balancers look whether a port is open by connecting to it and nothing else.
            if error.kind() != io::ErrorKind::UnexpectedEof {
                state.metrics.admin_refused("tls").inc();
                if let Some(left_out) = state.seldom_logged.due() {
                    let peer = &*peer.name;
                    tracing::warn!(peer, %error, left_out, "a TLS handshake with the admin address failed");
                }
            }
        }
        Err(_) => state.metrics.admin_refused("tls").inc(),
    }
}

async fn serve<S>(io: S, state: Arc<AdminState>, peer: Peer, activity: Arc<Activity>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let peer = Arc::new(peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, peer, activity) = (Arc::clone(&state), Arc::clone(&peer), Arc::clone(&activity));
        async move {
            let _working = activity.works();
            let response: Response<Full<bytes::Bytes>> = endpoints::answer(&state, request, &peer).await;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service);
    // A broken connection concerns nobody but its peer.
    let _ = connection.await;
}
