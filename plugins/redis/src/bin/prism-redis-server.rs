//! The Redis plugin as a standalone server, over gRPC and Prism frames: a sidecar on a unix socket, or a remote plugin.

use clap::Parser;
use prism_plugin_sdk::server::{Address, ServeError, ServeOptions, serve};
use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Redis as a Prism Edge backend plugin.
///
/// Without an option it listens where PRISM_PLUGIN_SOCKET, PLUGIN_SOCKET, PRISM_PLUGIN_ADDRESS or PLUGIN_GRPC_PORT
/// say, else on 127.0.0.1:50100. PRISM_PLUGIN_TLS_CERT, PRISM_PLUGIN_TLS_KEY and PRISM_PLUGIN_TLS_CLIENT_CA name the
/// PEM files for TLS, without which it should be on loopback or a unix socket. Its configuration and credentials come from the proxy.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Unix socket to listen on; made with mode 0600.
    #[arg(long, value_name = "PATH", conflicts_with = "address")]
    socket: Option<PathBuf>,
    /// TCP address to listen on. Without TLS nobody is authenticated and nothing encrypted: keep it on loopback.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<SocketAddr>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // One thread: the work is Redis's, and what remains is moving bytes.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot start");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::error!(%error, reason, "the server ended");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), ServeError> {
    let mut options = ServeOptions::from_env()?;
    if let Some(path) = arguments.socket {
        options.address = Address::Unix(path);
    } else if let Some(address) = arguments.address {
        options.address = Address::Tcp(address);
    }
    tracing::info!(address = %options.address, "listening");
    serve(prism_plugin_redis::redis(), options, stopped()).await?;
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM, or an interrupt from the keyboard.
async fn stopped() {
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be waited for; only SIGKILL ends this process");
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
}
