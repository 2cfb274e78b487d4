//! A plugin that nobody can ask how it is.

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
}

fn main() {}
