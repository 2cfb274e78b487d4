//! A plugin that answers what it was asked, at once.

use futures_util::StreamExt;
use prism_plugin_abi::{
    CallContext, Data, Description, Error, Health, Kind, OperationInfo, Plugin, Request, RequestStream,
    ResponseStream,
};
use prism_plugin_sdk::{
    BackendPlugin, Hosted, InitContext,
    server::{Address, ServeError, ServeOptions, serve},
};
use serde::Deserialize;
use std::{future, path::PathBuf, sync::Arc};

/// The typed method that `echo` is, beside its raw form. Its messages are not described: nobody reads them.
pub const METHOD: &str = "bench.v1.Echo/Echo";

/// The echo: `echo` answers one message with itself, `echo_stream` every message of a stream.
#[derive(Debug)]
pub struct Echo;

/// It takes no configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl BackendPlugin for Echo {
    type Config = NoConfig;

    fn descriptor() -> Description {
        let operation = |name: &str, streaming| OperationInfo {
            name: name.to_owned(),
            kind: Kind::Read,
            idempotent: true,
            raw: true,
            client_streaming: streaming,
            server_streaming: streaming,
            ..Default::default()
        };
        Description {
            name: "echo".to_owned(),
            operations: vec![
                OperationInfo {
                    service_method: METHOD.to_owned(),
                    params_type: "bench.v1.Message".to_owned(),
                    result_type: "bench.v1.Message".to_owned(),
                    ..operation("echo", false)
                },
                operation("echo_stream", true),
            ],
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

    async fn execute_stream(
        self: &Arc<Self>,
        _: &CallContext,
        first: Request,
        rest: RequestStream,
    ) -> Result<ResponseStream, Error> {
        let first = futures_util::stream::once(future::ready(Ok(first)));
        Ok(Box::pin(first.chain(rest).map(|message| message.map(|request| request.params))))
    }
}

/// The echo as a plugin.
#[must_use]
pub fn plugin() -> Arc<dyn Plugin> {
    Arc::new(Hosted::<Echo>::new())
}

/// Serves the echo on a unix socket until `until` resolves, or the future is dropped.
///
/// # Errors
/// The socket cannot be bound.
pub async fn serve_at(socket: PathBuf, until: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
    let options = ServeOptions { address: Address::Unix(socket), ..ServeOptions::default() };
    serve(plugin(), options, until).await
}

/// Serves the echo on a unix socket, on a thread and a runtime of its own, until the process ends.
///
/// # Panics
/// When the thread or its runtime cannot be started.
pub fn serve_on(socket: PathBuf) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve_at(socket, future::pending())).expect("the echo serves");
    });
}
