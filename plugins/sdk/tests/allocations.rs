//! A call through the attributes' dispatch allocates what a call through one written by hand does. The only
//! test of its process, so that nobody else is counted.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use futures_util::FutureExt;
use prism_plugin_sdk::{
    BackendPlugin, Hosted, InitContext, PluginResult,
    abi::{
        CallContext, Data, Description, Health, Initialize, InstanceId, Kind, OperationInfo, Plugin, Request,
    },
    operations, plugin,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, sync::Arc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(serde::Deserialize)]
struct Nothing {}

#[plugin(name = "echo", config = Nothing)]
struct Written;

#[operations]
impl Written {
    #[init]
    async fn init(_: InitContext<Nothing>) -> PluginResult<Self> {
        Ok(Self)
    }

    #[health]
    async fn health(&self) -> Health {
        Health::healthy()
    }

    #[operation("echo", read, raw)]
    async fn echo(&self, _: &CallContext, params: Bytes) -> PluginResult<Bytes> {
        Ok(params)
    }
}

struct ByHand;

impl BackendPlugin for ByHand {
    type Config = Nothing;

    fn descriptor() -> Description {
        let echo =
            OperationInfo { name: "echo".into(), kind: Kind::Read, raw: true, ..OperationInfo::default() };
        Description { name: "echo".into(), operations: vec![echo], ..Description::default() }
    }

    async fn initialize(_: InitContext<Nothing>) -> PluginResult<Self> {
        Ok(Self)
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }

    async fn execute(self: &Arc<Self>, _: &CallContext, request: Request) -> PluginResult<Data> {
        Ok(request.params)
    }
}

/// Allocations of a thousand calls.
fn allocations<P: BackendPlugin>() -> usize {
    let plugin = Hosted::<P>::new();
    let initialize = Initialize { instance: InstanceId(1), namespace: "ns".into(), ..Initialize::default() };
    plugin.initialize(initialize).now_or_never().unwrap().unwrap();
    let region = Region::new(ALLOCATOR);
    for _ in 0..1000 {
        let context =
            CallContext { instance: InstanceId(1), namespace: "ns".into(), ..CallContext::default() };
        let params = Data::Raw(Bytes::from_static(b"x").into());
        let request = Request { operation: "echo".into(), params, metadata: Vec::new() };
        let answer = plugin.execute(context, request).now_or_never().unwrap().unwrap();
        assert!(matches!(answer, Data::Raw(_)));
    }
    region.change().allocations
}

#[test]
fn the_attributes_cost_no_allocation() {
    assert_eq!(allocations::<Written>(), allocations::<ByHand>());
}
