//! One plugin, every way to run it: the suite of its interface passes through a running proxy with each.

use bytes::Bytes;
use prism_plugin_abi::{Data, InstanceId};
use prism_plugin_sdk::testing::{Instance, Protocol, protocol_suite};
use prism_tests::{Proxy, Redis, Served, Sidecar, Start, kv_by_every_way_in, tools};
use std::{path::Path, sync::Arc};

/// A proxy in whose namespace `kv` the plugin `subject`, defined as `plugin`, serves.
fn proxy(plugin: &str, config: &str) -> Start {
    Start::new(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners: [{{ name: edge, address: '127.0.0.1:@listen@' }}]
plugins: [{{ name: subject, {plugin} }}]
namespaces: [{{ name: kv, backend: kv, plugin: subject, config: {config} }}]
"
    ))
}

async fn suite(plugin: &str, config: &str) {
    through(&proxy(plugin, config).run()).await;
}

async fn through(proxy: &Proxy) {
    kv_by_every_way_in(proxy.port()).await;
}

/// The part of the suite that is no interface's, on a plugin that is written in C.
#[tokio::test(flavor = "multi_thread")]
async fn echo_in_c_as_a_library() {
    let folder = tempfile::tempdir().unwrap();
    let library = tools::library_in_c(folder.path());
    for offload in [false, true] {
        let plugin = format!("type: in_process, library: '{}', offload: {offload}", library.display());
        let proxy = proxy(&plugin, "{}").run();
        let opening = Data::Raw(Bytes::from_static(b"opening").into());
        let protocol = Protocol {
            proxied: true,
            write: "echo",
            read: None,
            slots: None,
            stream: "echo_stream",
            opening,
            echoes: true,
            largest: 3 << 20,
        };
        let plugin = Arc::new(Served::new(proxy.port(), "kv"));
        let instance = Instance { plugin, id: InstanceId(1), namespace: "kv".into() };
        protocol_suite(&instance, &protocol).await;
    }
}

fn library(name: &str, offload: bool) -> String {
    format!("type: in_process, library: '{}', offload: {offload}", tools::library(name).display())
}

fn sidecar(socket: &Path, transport: &str) -> String {
    format!("type: sidecar, socket: '{}', transport: {transport}", socket.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_as_a_builtin() {
    suite("type: builtin, builtin: memory", "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_as_a_library() {
    suite(&library("prism_plugin_memory", false), "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_as_a_library_on_threads_of_its_own() {
    suite(&library("prism_plugin_memory", true), "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_as_a_sidecar() {
    for transport in ["grpc", "frames"] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("memory.sock");
        let _running = Sidecar::memory(&socket);
        suite(&sidecar(&socket, transport), "{}").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_as_a_builtin() {
    let redis = Redis::start();
    let config = format!("{{ url: '{}' }}", redis.url());
    through(&proxy("type: builtin, builtin: redis", &config).program("edge-with-redis").run()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_as_a_library() {
    for offload in [false, true] {
        let redis = Redis::start();
        suite(&library("prism_plugin_redis", offload), &format!("{{ url: '{}' }}", redis.url())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_as_a_sidecar() {
    for transport in ["grpc", "frames"] {
        let redis = Redis::start();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let _running = Sidecar::redis(&socket);
        suite(&sidecar(&socket, transport), &format!("{{ url: '{}' }}", redis.url())).await;
    }
}
