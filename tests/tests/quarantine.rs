//! What is away stops nobody: boot and reload with one namespace's plugin or backend down, and its return.

use prism_tests::{
    DEMO, Proxy, Redis, Sidecar, Start, Transport,
    client::grpc::{Client, reason},
    over_every_transport,
    plugin::Plugin,
    wait,
};
use std::path::Path;
use tonic::{Code, Status};

over_every_transport! {
    boots_changes_and_heals_with_a_sidecar_down
    ready_waits_for_all_when_told_to
    a_plugin_whose_backend_is_down_is_away_too
}

/// [`DEMO`] and a namespace `away` behind a socket.
fn with_sidecar(transport: Transport, socket: &Path, config: &str) -> String {
    let sidecar = transport.sidecar("sidecar", socket);
    DEMO.replace("namespaces:", &format!("  - {sidecar}\nnamespaces:"))
        + &format!("  - {{ name: away, backend: redis, plugin: sidecar, config: {{ {config} }} }}\n")
}

fn unavailable(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(status).as_deref(), Some("PLUGIN_UNAVAILABLE"));
    assert!(!status.message().is_empty());
}

async fn heals(client: &Client) {
    wait::until_async("the namespace should serve", || async {
        // Any answer but UNAVAILABLE comes from the plugin itself.
        match client.get("key").await {
            Err(status) if status.code() == Code::Unavailable => None,
            _ => Some(()),
        }
    })
    .await;
}

async fn boots_changes_and_heals_with_a_sidecar_down(transport: Transport) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("away.sock");
    let template = with_sidecar(transport, &socket, "");
    let proxy = Proxy::start(&template);
    let (demo, away) = (Client::new(proxy.port(), "demo"), Client::new(proxy.port(), "away"));

    demo.set("key", "value").await.unwrap();
    unavailable(&away.get("key").await.unwrap_err());
    let shown = proxy.admin().namespace("away");
    assert_ne!(shown["state"], "ready", "{shown}");
    assert!(!shown["reason"].as_str().unwrap().is_empty(), "{shown}");
    assert_eq!(proxy.admin().namespace("demo")["state"], "ready");

    let more = format!("{template}  - {{ name: second, backend: memory, plugin: memory }}\n");
    let _ = proxy.admin().over_socket("PUT", "/config", &proxy.fill(&more)).expect(200);
    Client::new(proxy.port(), "second").set("key", "value").await.unwrap();
    demo.get("key").await.unwrap().expect("what was stored before the reload");
    unavailable(&away.get("key").await.unwrap_err());

    let plugin = Plugin::start(&socket);
    heals(&away).await;
    wait::until("the namespace should be shown as ready", || {
        (proxy.admin().namespace("away")["state"] == "ready").then_some(())
    });
    drop(plugin);
}

async fn ready_waits_for_all_when_told_to(transport: Transport) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("away.sock");
    let template = with_sidecar(transport, &socket, "").replace("admin: {", "admin: { ready: all,");
    let proxy = Start::new(&template).without_ready().run();
    let answer = proxy.admin().get("/ready").expect(503);
    assert!(answer.text().contains("away"), "{}", answer.text());
    let _plugin = Plugin::start(&socket);
    wait::until("/ready should say yes", || (proxy.admin().get("/ready").status == 200).then_some(()));
}

async fn a_plugin_whose_backend_is_down_is_away_too(transport: Transport) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let _sidecar = Sidecar::redis(&socket);
    let port = Redis::start().port();
    let proxy = Proxy::start(&with_sidecar(transport, &socket, &format!("url: 'redis://127.0.0.1:{port}'")));
    let (demo, away) = (Client::new(proxy.port(), "demo"), Client::new(proxy.port(), "away"));
    demo.set("key", "value").await.unwrap();
    unavailable(&away.get("key").await.unwrap_err());
    assert!(!proxy.admin().namespace("away")["reason"].as_str().unwrap().is_empty());

    let redis = Redis::start_on(port);
    heals(&away).await;
    away.set("key", "value").await.unwrap();
    assert_eq!(redis.cli(&["get", "key"]).trim(), "value");
}
