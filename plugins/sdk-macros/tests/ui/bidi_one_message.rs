//! One message where many come.

#![allow(dead_code, unused_imports)]

use bytes::Bytes;
use futures_util::{Stream, stream};
use prism_plugin_sdk::{
    InitContext, PluginResult, Requests,
    abi::{CallContext, Health, Metrics},
    operations, plugin,
};
use prism_proto::kv::v1::{GetRequest, GetResponse, WatchEvent};

#[derive(serde::Deserialize)]
struct Config {}

#[plugin(name = "wrong", config = Config)]
struct Wrong;

#[operations]
impl Wrong {
    #[init]
    async fn init(_: InitContext<Config>) -> PluginResult<Self> {
        Ok(Self)
    }

    #[health]
    async fn health(&self) -> Health {
        Health::healthy()
    }

    #[operation("chat", write, bidi)]
    async fn chat(&self, _: &CallContext, _: GetRequest) -> PluginResult<impl Stream<Item = PluginResult<WatchEvent>> + Send + 'static> {
        Ok(stream::empty())
    }
}

fn main() {}
