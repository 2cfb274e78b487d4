//! The Redis plugin against a real `redis-server`, in memory and as a sidecar.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use futures_util::StreamExt;
use prism_plugin_sdk::{
    abi::{Code, Error, HealthStatus},
    testing::{Instance, KvCapabilities, RemotePlugin, Transport, free_port, kv_suite},
};
use prism_proto::kv::v1::{GetRequest, GetResponse, SetRequest, SetResponse, WatchRequest};
use prism_proto::plugin::CustomMetrics;
use prost::Message;
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, sync::Arc, time::Duration};
use tokio::process::{Child, Command};

/// A server of this test's own. Killed when dropped.
struct Server {
    port: u16,
    process: Child,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start(options: &[&str]) -> Self {
        let port = free_port();
        Self::start_on(port, options).await
    }

    async fn start_on(port: u16, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
            ])
            .arg(dir.path())
            .args(options)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("redis-server is needed for this test (apt install redis-server): {error}")
            });
        let server = Self { port, process, _dir: dir };
        let ready = async {
            // NOAUTH is an answer too.
            while !server.cli(&["PING"]).await.0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ready).await.expect("redis-server does not answer");
        server
    }

    /// What `redis-cli` says, and whether it reached the server.
    async fn cli(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .await
            .unwrap_or_else(|error| {
                panic!("redis-cli is needed for this test (apt install redis-tools): {error}")
            });
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn instance(&self, more: Value) -> Result<Instance, Error> {
        self.instance_as(more, &[]).await
    }

    async fn instance_as(&self, more: Value, credentials: &[(&str, &str)]) -> Result<Instance, Error> {
        let mut config = json!({ "url": self.url() });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Instance::initialize(prism_plugin_redis::redis(), 7, &config, credentials).await
    }
}

async fn get(instance: &Instance, key: &str) -> Result<GetResponse, Error> {
    instance.call("get", &GetRequest { key: key.into(), with_ttl: false }).await
}

async fn set(instance: &Instance, key: &str, value: &'static str) -> Result<SetResponse, Error> {
    instance.call("set", &SetRequest { key: key.into(), value: value.into(), ..SetRequest::default() }).await
}

const WATCH: [&str; 2] = ["--notify-keyspace-events", "Kg$x"];

#[tokio::test]
async fn the_interface_in_memory() {
    let server = Server::start(&WATCH).await;
    kv_suite(&server.instance(json!({})).await.unwrap(), KvCapabilities { watch: true, proxied: false })
        .await;
}

#[tokio::test]
async fn the_interface_with_a_prefix_and_keyevent_channels() {
    let server = Server::start(&["--notify-keyspace-events", "AE"]).await;
    server.cli(&["SET", "suite/other", "not ours"]).await;
    let instance = server.instance(json!({ "key_prefix": "te*nant:", "pool_size": 2 })).await.unwrap();
    kv_suite(&instance, KvCapabilities { watch: true, proxied: false }).await;
    set(&instance, "k", "v").await.unwrap();
    assert_eq!(server.cli(&["GET", "te*nant:k"]).await.1, "v");
}

#[tokio::test]
async fn the_interface_without_notifications() {
    let server = Server::start(&[]).await;
    let instance = server.instance(json!({})).await.unwrap();
    kv_suite(&instance, KvCapabilities { watch: false, proxied: false }).await;
    let refused = instance.open("watch", &WatchRequest::default()).await.err().unwrap();
    assert!(refused.message.contains("notify-keyspace-events"), "{refused}");
}

/// The binary on a unix socket, and a connection to it.
#[expect(clippy::disallowed_methods, reason = "a plugin's tests have no platform seam")]
async fn sidecar(dir: &Path, transport: Transport) -> (Child, Arc<RemotePlugin>) {
    let socket = dir.join("redis.sock");
    let process = Command::new(env!("CARGO_BIN_EXE_prism-redis-server"))
        .arg("--socket")
        .arg(&socket)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ready = async {
        // The file is there a moment before anybody listens.
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.expect("the sidecar does not listen");
    let description = prism_plugin_redis::redis().describe();
    (process, Arc::new(RemotePlugin::connect(socket, description, transport).await))
}

#[tokio::test]
async fn the_interface_as_a_sidecar_and_its_end() {
    for transport in Transport::ALL {
        as_a_sidecar(transport).await;
    }
}

async fn as_a_sidecar(transport: Transport) {
    let server = Server::start(&WATCH).await;
    let dir = tempfile::tempdir().unwrap();
    let (mut process, plugin) = sidecar(dir.path(), transport).await;
    let config = json!({ "url": server.url() });
    let instance = Instance::initialize(plugin.clone(), u64::MAX, &config, &[]).await.unwrap();
    kv_suite(&instance, KvCapabilities { watch: true, proxied: false }).await;
    let metrics = plugin.fetch_metrics(instance.id).await.unwrap();
    assert!(metrics.requests_total > 0 && metrics.queries_executed > 0 && metrics.connections_idle > 0);
    let custom = CustomMetrics::decode(metrics.custom_metrics.unwrap().value).unwrap();
    let names: Vec<_> = custom.metrics.iter().map(|metric| &*metric.name).collect();
    assert_eq!(names, ["pool_max_connections", "pool_waiting_calls", "watchers"]);

    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(30), process.wait()).await.expect("SIGTERM ends it");
    assert!(ended.unwrap().success());
    assert!(!dir.path().join("redis.sock").exists());
}

#[tokio::test]
async fn credentials_are_checked_at_once() {
    let server = Server::start(&["--requirepass", "hunter2"]).await;
    for credentials in [&[][..], &[("password", "wrong")], &[("username", "nobody"), ("password", "hunter2")]]
    {
        let error = server.instance_as(json!({}), credentials).await.err().unwrap();
        assert_eq!(error.code, Code::Unauthenticated, "{credentials:?}: {error}");
        assert!(!error.message.contains("hunter2"));
    }
    let error = server.instance_as(json!({}), &[("username", "default")]).await.err().unwrap();
    assert_eq!(error.code, Code::InvalidArgument);
    let instance = server.instance_as(json!({}), &[("password", "hunter2")]).await.unwrap();
    assert!(set(&instance, "k", "v").await.unwrap().applied);
    let error = Instance::initialize(prism_plugin_redis::redis(), 1, &json!({}), &[("password", "x")])
        .await
        .err()
        .unwrap();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(error.message.contains("`url`"), "{error}");
    let error = server.instance(json!({ "pool_siez": 3 })).await.err().unwrap();
    assert!(error.code == Code::InvalidArgument && error.message.contains("pool_siez"), "{error}");
}

#[tokio::test]
async fn a_backend_that_is_down_is_unavailable_and_comes_back() {
    let port = free_port();
    let url = json!({ "url": format!("redis://127.0.0.1:{port}"), "connect_timeout_ms": 500 });
    let down = Instance::initialize(prism_plugin_redis::redis(), 1, &url, &[]).await.err().unwrap();
    assert_eq!(down.code, Code::Unavailable, "{down}");

    let mut server = Server::start_on(port, &WATCH).await;
    let instance = server.instance(json!({ "connect_timeout_ms": 500 })).await.unwrap();
    set(&instance, "k", "v").await.unwrap();
    let mut watch = instance.open("watch", &WatchRequest::default()).await.unwrap();
    server.process.kill().await.unwrap();
    assert_eq!(get(&instance, "k").await.unwrap_err().code, Code::Unavailable);
    assert_eq!(instance.plugin.health(instance.id).await.status, HealthStatus::Unhealthy);
    let ended = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap();
    assert_eq!(ended.unwrap().unwrap_err().code, Code::Unavailable);
    assert!(watch.next().await.is_none());

    let _server = Server::start_on(port, &WATCH).await;
    assert!(!get(&instance, "k").await.unwrap().found, "connected again, to an empty server");
    assert_eq!(instance.plugin.health(instance.id).await.status, HealthStatus::Healthy);
}

#[tokio::test]
async fn what_redis_refuses_has_its_code() {
    let server = Server::start(&[]).await;
    let instance = server.instance(json!({ "command_timeout_ms": 300 })).await.unwrap();
    server.cli(&["LPUSH", "list", "x"]).await;
    assert_eq!(get(&instance, "list").await.unwrap_err().code, Code::FailedPrecondition);
    let forever = SetRequest { key: "k".into(), ttl_ms: Some(i64::MAX), ..SetRequest::default() };
    let error = instance.call::<_, SetResponse>("set", &forever).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument, "{error}");
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(set(&instance, "k", "v").await.unwrap_err().code, Code::ResourceExhausted);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
    // A server that hangs: the command's time is over before the pause is.
    get(&instance, "k").await.unwrap();
    server.cli(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let code = get(&instance, "k").await.unwrap_err().code;
    assert!(matches!(code, Code::DeadlineExceeded | Code::Unavailable), "{code}");
}

#[tokio::test]
async fn watchers_are_bounded_and_end_with_their_instance() {
    let server = Server::start(&WATCH).await;
    let instance = server.instance(json!({ "max_watchers": 1, "watch_buffer": 2 })).await.unwrap();
    let all = WatchRequest::default();
    let mut slow = instance.open("watch", &all).await.unwrap();
    assert_eq!(instance.open("watch", &all).await.err().unwrap().code, Code::ResourceExhausted);
    // Each answered `set` has been announced; the pump runs while the next is under way.
    for _ in 0..50 {
        set(&instance, "k", "v").await.unwrap();
    }
    let items: Vec<_> = slow.by_ref().collect().await;
    assert!(items.len() <= 4, "{} items", items.len());
    let last = items.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.code, Code::ResourceExhausted);
    assert!(last.message.contains("watch_buffer"), "{last}");
    drop(slow);
    let mut next = instance.open("watch", &all).await.unwrap();
    instance.plugin.shutdown(instance.id).await;
    assert_eq!(next.next().await.unwrap().unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn other_programs_see_the_keys_and_are_seen() {
    let server = Server::start(&WATCH).await;
    let instance = server.instance(json!({})).await.unwrap();
    set(&instance, "greeting", "hello").await.unwrap();
    assert_eq!(server.cli(&["GET", "greeting"]).await.1, "hello");
    let mut watch = instance.open("watch", &WatchRequest { prefix: "n".into() }).await.unwrap();
    server.cli(&["LPUSH", "nlist", "x"]).await;
    server.cli(&["INCR", "number"]).await;
    let item = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap();
    let prism_plugin_sdk::abi::Data::Typed { value, .. } = item.unwrap().unwrap() else { panic!() };
    assert!(
        value.into_bytes().ends_with(b"number\x1a\x011"),
        "the first event is the number's, with its value"
    );
    assert_eq!(&get(&instance, "number").await.unwrap().value[..], b"1");
}
