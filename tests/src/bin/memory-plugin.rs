//! The memory plugin in a process of its own, for tests that run one plugin in every way.

use clap::Parser;
use prism_plugin_sdk::server::{Address, ServeError, ServeOptions, serve};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Options {
    /// The unix socket to listen on; without it the environment says where.
    #[arg(long)]
    socket: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    let mut options = ServeOptions::from_env()?;
    if let Some(socket) = Options::parse().socket {
        options.address = Address::Unix(socket);
    }
    let mut term = signal(SignalKind::terminate()).expect("SIGTERM can be waited for");
    let stopped = async {
        term.recv().await;
    };
    serve(prism_plugin_memory::memory(), options, stopped).await
}
