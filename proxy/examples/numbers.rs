//! The plugin of docs/write-a-plugin.md: a backend that hands out numbers, as a sidecar.

use bytes::Bytes;
use futures_util::stream;
use prism_plugin_sdk::{
    BackendPlugin, Hosted, InitContext,
    abi::{
        CallContext, Code, Data, Description, Error, Health, Kind, OperationInfo, Request, RequestStream,
        ResponseStream,
    },
    server::{ServeOptions, serve},
};
use serde::Deserialize;
use std::sync::Arc;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// The `config` mapping of a namespace on this backend.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The first number. Default: 1.
    first: u64,
    /// The last number. Default: 1,000.
    last: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { first: 1, last: 1000 }
    }
}

/// One instance: the numbers of one namespace.
pub struct Numbers {
    last: u64,
    /// The number that comes next.
    next: watch::Sender<u64>,
}

impl BackendPlugin for Numbers {
    type Config = Config;

    fn descriptor() -> Description {
        let operation =
            |name: &str, kind| OperationInfo { name: name.into(), kind, raw: true, ..Default::default() };
        let peek = OperationInfo { idempotent: true, ..operation("peek", Kind::Read) };
        let follow = OperationInfo { server_streaming: true, ..operation("follow", Kind::Read) };
        Description {
            name: "numbers".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            operations: vec![operation("take", Kind::Write), peek, follow],
            ..Default::default()
        }
    }

    async fn initialize(context: InitContext<Config>) -> Result<Self, Error> {
        let Config { first, last } = context.config;
        if first > last {
            return Err(Error::invalid("config.first: is above config.last"));
        }
        Ok(Self { last, next: watch::Sender::new(first) })
    }

    async fn health(&self) -> Health {
        let mut health = Health::healthy();
        health.details.insert("next".into(), self.next.borrow().to_string());
        health
    }

    async fn execute(self: &Arc<Self>, _: &CallContext, request: Request) -> Result<Data, Error> {
        match &*request.operation {
            "take" => self.take().map(text),
            "peek" => Ok(text(*self.next.borrow())),
            other => Err(Error::channel(Code::Unimplemented, format!("there is no operation `{other}`"))),
        }
    }

    async fn execute_stream(
        self: &Arc<Self>,
        _: &CallContext,
        _: Request,
        _: RequestStream,
    ) -> Result<ResponseStream, Error> {
        // Subscribed before the headers leave: no change after them is missed.
        let changes = self.next.subscribe();
        Ok(Box::pin(stream::unfold(changes, |mut changes| async move {
            changes.changed().await.ok()?;
            let next = *changes.borrow_and_update();
            Some((Ok(text(next)), changes))
        })))
    }
}

impl Numbers {
    fn take(&self) -> Result<u64, Error> {
        let mut taken = None;
        self.next.send_if_modified(|next| {
            if *next <= self.last {
                taken = Some(*next);
                *next += 1;
            }
            taken.is_some()
        });
        taken.ok_or_else(|| {
            let message =
                format!("{} was the last number; raise `last` in the namespace's config", self.last);
            Error::operation(Code::ResourceExhausted, message)
        })
    }
}

fn text(number: u64) -> Data {
    Data::Raw(Bytes::from(number.to_string()).into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_sdk::testing::Instance;
    use serde_json::json;

    #[tokio::test]
    async fn numbers_come_one_after_the_other_and_end() {
        let plugin = Arc::new(Hosted::<Numbers>::new());
        let numbers = Instance::initialize(plugin, 1, &json!({ "first": 7, "last": 8 }), &[]).await.unwrap();
        for expected in ["7", "8"] {
            assert_eq!(numbers.raw("peek", "", &[]).await.unwrap(), expected);
            assert_eq!(numbers.raw("take", "", &[]).await.unwrap(), expected);
        }
        let error = numbers.raw("take", "", &[]).await.unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn a_configuration_that_can_never_work_is_refused() {
        for config in [json!({ "first": 2, "last": 1 }), json!({ "frist": 1 }), json!({ "first": -1 })] {
            let plugin = Arc::new(Hosted::<Numbers>::new());
            let error = Instance::initialize(plugin, 1, &config, &[]).await.err().unwrap();
            assert_eq!(error.code, Code::InvalidArgument, "{config}");
        }
    }
}
