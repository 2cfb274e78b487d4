//! A plugin as a process of its own: a server on a unix socket or a TCP port.
//!
//! It speaks `prism.plugin.BackendPlugin` over gRPC and over Prism frames (docs/frames.md), told apart by a
//! connection's first bytes; over gRPC server reflection too, so that grpcurl works on it without any file, and
//! `grpc.health.v1`, which says of the process what `HealthCheck` says of an instance: it serves until it drains.
//! Without [`ServeOptions::tls`] it authenticates nobody: the socket's mode and directory, or the loopback address, are
//! what keeps others away.

mod adapter;
mod convert;
mod crowd;
mod frames;
mod front;
mod listen;
mod outcome;
mod phase;
mod replay;
#[cfg(test)]
mod tests;

pub use adapter::Adapter;
pub use listen::{Address, BindError, Listener};
pub use prism_tls::{ClientAuth, IdentityFiles, ServerFiles, TlsError};

use phase::{Phase, reached};
use prism_plugin_abi::Plugin;
use prism_proto::plugin::backend_plugin_server::BackendPluginServer;
use prism_tls::{ServerTls, alpn};
use std::{env, ffi::OsString, future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// What calls may travel over here, as `Describe` lists it.
const TRANSPORTS: [&str; 2] = ["grpc", "frames/1"];

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where. Default: `127.0.0.1:50100`, the RFC's port for plugins, on loopback because there is no
    /// authentication.
    pub address: Address,
    /// Who may connect, and how what they say is kept from others. Default: nobody is asked, and nothing is
    /// encrypted, which is for a unix socket and for loopback. Files that change are used from then on, for new
    /// connections; the proxy opens new ones when its own files change.
    pub tls: Option<ServerFiles>,
    /// The largest message taken or sent, in bytes. Default: 64 MiB. The proxy enforces each namespace's own
    /// limit (4 MiB unless raised); this one only keeps a single length prefix from claiming all memory, and
    /// must not be what an operator who raises the other stumbles over.
    pub max_message_bytes: usize,
    /// How long calls in flight may take to end after shutdown began. Default: 10 s, as long as the proxy
    /// gives a drained generation before it kills it. Streams that are still open then are cut.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            address: Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 50100))),
            tls: None,
            max_message_bytes: 64 << 20,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl ServeOptions {
    /// The defaults, at the address that the environment names: `PRISM_PLUGIN_SOCKET`, else `PLUGIN_SOCKET`
    /// (a path), else `PRISM_PLUGIN_ADDRESS` (an IP address and a port), else `PLUGIN_GRPC_PORT` (a port on
    /// 127.0.0.1). An empty variable counts as unset. `PRISM_PLUGIN_TLS_CERT`, `PRISM_PLUGIN_TLS_KEY` and
    /// `PRISM_PLUGIN_TLS_CLIENT_CA` (PEM files) are for TLS, which asks every client for a certificate; all
    /// three or none, and not none where others than this host can connect.
    ///
    /// # Errors
    /// [`BindError`], for what the environment says.
    pub fn from_env() -> Result<Self, BindError> {
        Self::from_vars(|name| env::var_os(name))
    }

    fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self, BindError> {
        let var = |name| var(name).filter(|value| !value.is_empty());
        let mut options = Self::default();
        if let Some(path) = var("PRISM_PLUGIN_SOCKET").or_else(|| var("PLUGIN_SOCKET")) {
            options.address = Address::Unix(PathBuf::from(path));
        } else if let Some(address) = var("PRISM_PLUGIN_ADDRESS") {
            let parsed = address.to_str().and_then(|address| address.parse().ok());
            let parsed = parsed.ok_or_else(|| BindError::Address(address.to_string_lossy().into_owned()))?;
            options.address = Address::Tcp(parsed);
        } else if let Some(port) = var("PLUGIN_GRPC_PORT") {
            let number = port.to_str().and_then(|port| port.parse::<u16>().ok());
            let number = number.ok_or_else(|| BindError::Port(port.to_string_lossy().into_owned()))?;
            options.address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], number)));
        }
        const FILES: [&str; 3] =
            ["PRISM_PLUGIN_TLS_CERT", "PRISM_PLUGIN_TLS_KEY", "PRISM_PLUGIN_TLS_CLIENT_CA"];
        options.tls = match FILES.map(|name| var(name).map(PathBuf::from)) {
            [Some(certificates), Some(key), Some(ca)] => {
                Some(ServerFiles::new(IdentityFiles { certificates, key }, ClientAuth::Required(ca)))
            }
            [None, None, None] => None,
            found => {
                let missing = FILES.into_iter().zip(found).find(|(_, found)| found.is_none());
                return Err(BindError::Incomplete(missing.map_or("", |(name, _)| name)));
            }
        };
        match options.address {
            Address::Tcp(address) if options.tls.is_none() && !address.ip().is_loopback() => {
                Err(BindError::Exposed(address))
            }
            _ => Ok(options),
        }
    }
}

/// The service, as health and reflection name it.
const SERVICE: &str = "prism.plugin.BackendPlugin";

/// Streams of one connection.
const MAX_STREAMS: u32 = 10_000;

/// How long a peer may take to read how its calls were cut off.
const LINGER: Duration = Duration::from_secs(1);

/// Why serving ended badly.
#[derive(thiserror::Error)]
pub enum ServeError {
    /// It never began.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its files for TLS cannot be used.
    #[error("the files for TLS cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// The plugin's own descriptors cannot be served by reflection: a mistake in the plugin's source.
    #[error("the plugin's file descriptor set cannot be served by reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server failed.
    #[error("the gRPC server failed")]
    Server(#[from] tonic::transport::Error),
}

/// For a person, because a `main` that answers with an error prints it so.
impl std::fmt::Debug for ServeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Binds and serves until `shutdown` resolves; then lets the calls in flight end.
///
/// # Errors
/// [`ServeError`]
pub async fn serve(
    plugin: Arc<dyn Plugin>,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let listener = Listener::bind(&options.address)?;
    serve_on(listener, plugin, options, shutdown).await
}

/// The same on a listener that is bound already: for who must know the port, or must be ready before it
/// says so.
///
/// # Errors
/// [`ServeError`]
pub async fn serve_on(
    listener: Listener,
    plugin: Arc<dyn Plugin>,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let tls = match options.tls.clone() {
        Some(files) => Some(Arc::new(ServerTls::watch(files, &[alpn::FRAMES, alpn::GRPC])?)),
        None => None,
    };
    let descriptors = plugin.describe().file_descriptor_set.clone();
    let reflection = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(prism_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(SERVICE)
            .with_service_name("grpc.health.v1.Health");
        if !descriptors.is_empty() && descriptors != prism_proto::FILE_DESCRIPTOR_SET {
            builder = builder.register_encoded_file_descriptor_set(&descriptors);
        }
        builder
    };
    let (phase, phases) = watch::channel(Phase::Serving);
    let service = BackendPluginServer::new(Adapter::until(plugin.clone(), phases.clone()))
        .max_decoding_message_size(options.max_message_bytes)
        .max_encoding_message_size(options.max_message_bytes);
    let health = HealthReporter::new();
    health.set_service_status(SERVICE, ServingStatus::Serving).await;
    let router = tonic::transport::Server::builder()
        // A proxy multiplexes all its calls over a few connections: a large body must not wait for the
        // window at every 64 KiB, and must not use up the window of the calls beside it.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(64 << 10)
        // The only client is a proxy, which bounds what it sends; this merely bounds a broken one.
        .max_concurrent_streams(MAX_STREAMS)
        // It passes its clients' cancellations on. A burst of them is not the proxy's attack (CVE-2023-44487, for which
        // the default of 20 is made), and must not cost a connection that all other calls share.
        .http2_max_pending_accept_reset_streams(Some(MAX_STREAMS as usize))
        .add_service(service)
        .add_service(HealthServer::new(HealthService::from_health_reporter(health.clone())))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);

    let frames = frames::Server::new(plugin.clone(), &options, phases.clone());
    // A few at once: a full queue only makes further connections wait where they are.
    let (others, grpc) = mpsc::channel(16);
    let accepting = front::accept(listener, tls, frames, others, reached(&phases, Phase::Draining));
    let serving =
        router.serve_with_incoming_shutdown(ReceiverStream::new(grpc), reached(&phases, Phase::Draining));
    let ending = async {
        shutdown.await;
        for service in ["", SERVICE] {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
        phase.send_replace(Phase::Draining);
        tokio::time::sleep(options.drain_timeout).await;
        // Calls end now with UNAVAILABLE; what is left after that is a peer that does not read.
        phase.send_replace(Phase::Cut);
        tokio::time::sleep(LINGER).await;
    };
    let served = tokio::select! {
        (served, ()) = futures_util::future::join(serving, accepting) => served,
        () = ending => Ok(()),
    };
    // Instances end with the process; this is their chance to say goodbye to their backends.
    let _ =
        tokio::time::timeout(options.drain_timeout, plugin.shutdown(prism_plugin_abi::InstanceId(0))).await;
    Ok(served?)
}
