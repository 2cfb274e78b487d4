//! The plugin as a process of its own.

use numbers::Numbers;
use prism_plugin_sdk::{
    Hosted,
    server::{ServeOptions, serve},
};
use std::{error::Error, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let plugin = Arc::new(Hosted::<Numbers>::new());
    let mut terminate = signal(SignalKind::terminate())?;
    // PRISM_PLUGIN_SOCKET says where it listens.
    let options = ServeOptions::from_env()?;
    let stopped = async move {
        terminate.recv().await;
    };
    serve(plugin, options, stopped).await?;
    Ok(())
}
