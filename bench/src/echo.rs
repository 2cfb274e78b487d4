//! A plugin that answers what it was asked, at once.

use prism_plugin_abi::{CallContext, Data, Description, Error, Health, Kind, OperationInfo, Plugin, Request};
use prism_plugin_sdk::{
    BackendPlugin, Hosted, InitContext,
    server::{Address, ServeOptions, serve},
};
use serde::Deserialize;
use std::{path::PathBuf, sync::Arc};

/// The echo.
#[derive(Debug)]
pub struct Echo;

/// It takes no configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl BackendPlugin for Echo {
    type Config = NoConfig;

    fn descriptor() -> Description {
        Description {
            name: "echo".to_owned(),
            operations: vec![OperationInfo {
                name: "echo".to_owned(),
                kind: Kind::Read,
                idempotent: true,
                raw: true,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    async fn initialize(_: InitContext<NoConfig>) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }

    async fn execute(self: &Arc<Self>, _: &CallContext, request: Request) -> Result<Data, Error> {
        Ok(request.params)
    }
}

/// The echo as a plugin.
#[must_use]
pub fn plugin() -> Arc<dyn Plugin> {
    Arc::new(Hosted::<Echo>::new())
}

/// Serves the echo on a unix socket, on a thread and a runtime of its own, until the process ends.
///
/// # Panics
/// When the thread or its runtime cannot be started.
pub fn serve_on(socket: PathBuf) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options = ServeOptions { address: Address::Unix(socket), ..ServeOptions::default() };
        runtime.block_on(serve(plugin(), options, std::future::pending())).expect("the echo serves");
    });
}
