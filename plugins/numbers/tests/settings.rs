//! A plugin whose configuration is a protobuf message.

#![allow(clippy::unwrap_used)] // a test

use numbers::v1::Settings;
use prism_plugin_sdk::{
    Hosted, InitContext, PluginResult, Proto,
    abi::{Code, Health},
    operations, plugin,
    testing::Host,
};
use serde_json::json;
use std::sync::Arc;

/// As `numbers::v1` has them.
const DESCRIPTORS: &[u8] = numbers::DESCRIPTORS;

#[plugin(name = "limit", config = Proto<Settings>, descriptors = DESCRIPTORS)]
struct Limit {
    last: u64,
}

#[operations]
impl Limit {
    #[init]
    async fn init(cx: InitContext<Proto<Settings>>) -> PluginResult<Self> {
        Ok(Self { last: cx.config.last.unwrap_or(1000) })
    }

    #[health]
    async fn health(&self) -> Health {
        Health::healthy()
    }

    #[operation("limit", read, idempotent)]
    async fn limit(&self, _: Settings) -> PluginResult<Settings> {
        Ok(Settings { last: Some(self.last) })
    }
}

#[tokio::test]
async fn the_mapping_becomes_the_message() {
    let host = Host::new(Arc::new(Hosted::<Limit>::new()));
    // No double holds this one.
    let config = json!({ "last": u64::MAX });
    for (config, last) in [(config, u64::MAX), (json!({}), 1000)] {
        let limit = host.namespace("orders").config(&config).initialize().await.unwrap();
        let got: Settings = limit.call("limit", &Settings::default()).await.unwrap();
        assert_eq!(got.last, Some(last));
    }
    for config in [json!({ "lsat": 1 }), json!({ "last": "many" }), json!({ "last": -1 })] {
        let error = host.namespace("orders").config(&config).initialize().await.err().unwrap();
        assert_eq!(error.code, Code::InvalidArgument, "{config}");
    }
}
