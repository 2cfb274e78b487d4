//! Serving the admin interface: HTTP/1.1, few connections, everything bounded.

use super::{
    endpoints::{self, AdminState, Caller},
    socket,
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prism_config::Admin;
use prism_platform::{Accepted, Address, BindOptions, Io, Listener, Platform, time};
use std::{convert::Infallible, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, task::JoinSet};

/// Connections at the same time, by either way in: a scraper, a probe and a few people, with room to spare. Each way has its
/// own, so that whoever reaches the address cannot keep the socket's owner out.
const MOST_CONNECTIONS: usize = 64;

/// How long a connection may take over one request's head, and live at all.
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
    unix: Box<dyn Listener>,
    socket: PathBuf,
}

impl AdminServer {
    /// Binds both ends.
    ///
    /// # Errors
    /// One of them is taken or cannot be had.
    pub(crate) async fn bind(platform: &Platform, admin: &Admin) -> Result<Self, AdminError> {
        let unix = socket::bind(platform, &admin.socket).await?;
        let tcp = platform.bind(&Address::Tcp(admin.address), BindOptions::default()).await;
        let tcp = tcp.map_err(|source| AdminError::Address { address: admin.address, source })?;
        Ok(Self { tcp, unix, socket: admin.socket.clone() })
    }

    /// Serves until dropped; connections are cut then.
    pub(crate) async fn run(self, state: Arc<AdminState>) {
        let permits = [(); 2].map(|()| Arc::new(Semaphore::new(MOST_CONNECTIONS)));
        let mut connections = JoinSet::new();
        loop {
            let (accepted, may_change) = tokio::select! {
                accepted = self.unix.accept() => (accepted, true),
                accepted = self.tcp.accept() => (accepted, false),
                _ = connections.join_next(), if !connections.is_empty() => continue,
            };
            let Ok(accepted) = accepted else {
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            // One too many is closed at once; the caller tries again.
            let permits = &permits[usize::from(may_change)];
            let Ok(permit) = Arc::clone(permits).try_acquire_owned() else { continue };
            let state = Arc::clone(&state);
            let caller = Caller { name: name(&accepted), may_change };
            connections.spawn(async move {
                // Whether it ended by itself or by the time-out, it is over.
                let _ = time::timeout(CONNECTION_TIMEOUT, serve(accepted.io, state, caller)).await;
                drop(permit);
            });
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

async fn serve(io: Io, state: Arc<AdminState>, caller: Caller) {
    let caller = Arc::new(caller);
    let service = service_fn(move |request: Request<Incoming>| {
        let (state, caller) = (Arc::clone(&state), Arc::clone(&caller));
        async move {
            let response: Response<Full<bytes::Bytes>> = endpoints::answer(&state, request, &caller).await;
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    // A broken connection concerns nobody but its peer.
    let _ = connection.await;
}
