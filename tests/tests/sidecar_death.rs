//! `kill -9` on a sidecar: its namespace says so, nobody else notices, and it comes back by itself.

use prism_proto::plugin::{ExecuteRequest, ExecuteResponse, execute_request::Params};
use prism_tests::{
    DEMO, Proxy, Sidecar, Transport,
    client::grpc::{Client, reason},
    load::Load,
    over_every_transport, wait,
};
use tempfile::TempDir;
use tonic::{Code, Status};

over_every_transport! {
    only_its_own_namespace_notices
    calls_in_flight_are_told
}

struct Scene {
    sidecar: Sidecar,
    proxy: Proxy,
    _folder: TempDir,
}

fn scene(transport: Transport) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("echo.sock");
    let sidecar = Sidecar::echo(&socket);
    let plugin = format!("  - {}\nnamespaces:", transport.sidecar("echo", &socket));
    let template =
        DEMO.replace("namespaces:", &plugin) + "  - { name: mortal, backend: test, plugin: echo }\n";
    Scene { sidecar, proxy: Proxy::start(&template), _folder: folder }
}

async fn echo(client: &Client, sleep_ms: u32) -> Result<ExecuteResponse, Status> {
    let message = ExecuteRequest {
        operation: "echo".into(),
        params: Some(Params::RawParams("hello".into())),
        metadata: [("sleep_ms".to_owned(), sleep_ms.to_string())].into(),
    };
    client.execute(message).await
}

async fn serves(client: &Client) {
    wait::until_async("the sidecar should serve", || async { echo(client, 0).await.ok() }).await;
}

fn unavailable(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(status).as_deref(), Some("PLUGIN_UNAVAILABLE"), "{status:?}");
    assert!(!status.message().contains(".sock"), "a path is no caller's business: {status:?}");
}

async fn only_its_own_namespace_notices(transport: Transport) {
    let mut scene = scene(transport);
    let client = Client::new(scene.proxy.port(), "mortal");
    serves(&client).await;
    let others = Load::start(scene.proxy.port(), "demo", 4);
    for _ in 0..3 {
        scene.sidecar.process.kill();
        for _ in 0..50 {
            unavailable(&echo(&client, 0).await.unwrap_err());
        }
        scene.sidecar.restart();
        serves(&client).await;
    }
    wait::until_async("the operator should be told in the access log", || async {
        let log = scene.proxy.process.log();
        let told = |line: &str| line.contains("\"detail\":\"") && line.contains("echo.sock");
        log.lines().any(told).then_some(())
    })
    .await;
    let before = others.calls();
    let outcome = others.stop().await;
    assert!(before > 0 && outcome.failures.is_empty(), "{outcome:?}");
}

async fn calls_in_flight_are_told(transport: Transport) {
    let mut scene = scene(transport);
    let client = Client::new(scene.proxy.port(), "mortal");
    serves(&client).await;
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { echo(&client, 60_000).await })
        })
        .collect();
    // They are on their way; those that come too late are refused alike.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    scene.sidecar.process.kill();
    for call in waiting {
        unavailable(&wait::guard("a call in flight", call).await.unwrap().unwrap_err());
    }
}
