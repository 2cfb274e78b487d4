//! SIGTERM: what is in flight finishes, nothing new begins, and the end comes in bounded time.

use futures_util::future::join_all;
use prism_tests::{
    DEMO, Proxy, Signal, Transport,
    client::{
        grpc::Client,
        http2::{self, Answer},
    },
    load::Load,
    over_every_transport,
    plugin::Plugin,
    wait,
    wire::{field, framed},
};
use std::{net::TcpStream, time::Duration};
use tempfile::TempDir;
use tonic::Code;

const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const STREAM: &str = "/prism.data.v1.DataService/ExecuteStream";
const NAMESPACE: (&str, &str) = ("x-prism-namespace", "slow");

over_every_transport! {
    calls_in_flight_finish_and_no_new_one_begins
    a_stream_that_never_ends_does_not_hold_the_end_up
    an_idle_proxy_ends_at_once_and_takes_its_socket_with_it
    what_fails_during_a_drain_was_never_begun
}

struct Scene {
    plugin: Plugin,
    proxy: Proxy,
    _folder: TempDir,
}

/// With its access log in a file.
fn scene(transport: Transport, drain: &str) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("slow.sock");
    let plugin = Plugin::start(&socket);
    let sidecar = format!("  - {}\nnamespaces:", transport.sidecar("slow", &socket));
    let template = DEMO.replace("trace: {}", "trace: { access_log: { path: '@dir@/access.log' } }");
    let template = template.replace("namespaces:", &sidecar)
        + "  - { name: slow, backend: test, plugin: slow }\n"
        + &format!("drain: {{ timeout: {drain} }}\n");
    let proxy = Proxy::start(&template);
    wait::until("the plugin should serve", || {
        (proxy.admin().namespace("slow")["state"] == "ready").then_some(())
    });
    Scene { plugin, proxy, _folder: folder }
}

/// An echo that takes two seconds.
fn slow_echo() -> bytes::Bytes {
    let entry = [field(1, b"sleep_ms"), field(2, b"2000")].concat();
    framed(&[field(1, b"echo"), field(3, b"hello"), field(4, &entry)].concat())
}

async fn calls_in_flight_finish_and_no_new_one_begins(transport: Transport) {
    let mut scene = scene(transport, "20s");
    let connection = http2::connect(scene.proxy.port()).await;
    let calls: Vec<_> =
        (0..8).map(|_| connection.call(http2::head(EXECUTE, &[NAMESPACE]), slow_echo())).collect();
    let recorder = &scene.plugin.recorder;
    let (answers, ()) = tokio::join!(join_all(calls), async {
        wait::until_async("the calls should arrive", || async {
            (recorder.calls().len() == 8).then_some(())
        })
        .await;
        scene.proxy.process.signal(Signal::TERM);
        wait::until_async("new connections should be refused", || async {
            TcpStream::connect(("127.0.0.1", scene.proxy.port())).is_err().then_some(())
        })
        .await;
        // After GOAWAY the connection carries what it had, and takes nothing new.
        wait::until_async("GOAWAY should come", || async {
            match connection.send.clone().ready().await {
                Ok(mut send) => send.send_request(http2::head(EXECUTE, &[NAMESPACE]), true).err().map(drop),
                Err(_) => Some(()),
            }
        })
        .await;
    });
    let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.expect("the call finishes")).collect();
    assert!(answers.iter().all(|answer| answer.code() == Code::Ok));
    assert_eq!(scene.proxy.process.wait().code(), Some(0));
}

async fn a_stream_that_never_ends_does_not_hold_the_end_up(transport: Transport) {
    let mut scene = scene(transport, "1s");
    let client = Client::new(scene.proxy.port(), "demo");
    let mut watch = client.watch("").await.unwrap();
    let connection = http2::connect(scene.proxy.port()).await;
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, _stream) = send.send_request(http2::head(STREAM, &[NAMESPACE]), false).unwrap();
    scene.proxy.process.signal(Signal::TERM);
    let ended = wait::guard("the end of the watch", watch.event()).await;
    let status = ended.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let _ = wait::guard("the end of the stream", http2::collect(response)).await;
    assert!(scene.proxy.process.wait().code().is_some());
}

async fn an_idle_proxy_ends_at_once_and_takes_its_socket_with_it(transport: Transport) {
    let mut scene = scene(transport, "60s");
    let idle = http2::connect(scene.proxy.port()).await;
    scene.proxy.process.signal(Signal::TERM);
    assert_eq!(scene.proxy.process.wait().code(), Some(0));
    assert!(!scene.proxy.admin().socket().exists());
    wait::guard("the idle connection's end", idle.driver).await.unwrap().ok();
}

async fn what_fails_during_a_drain_was_never_begun(transport: Transport) {
    let mut scene = scene(transport, "20s");
    let load = Load::start(scene.proxy.port(), "demo", 8);
    wait::until_async("load should flow", || async { (load.calls() > 200).then_some(()) }).await;
    scene.proxy.process.signal(Signal::TERM);
    assert_eq!(scene.proxy.process.wait().code(), Some(0));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let outcome = load.stop().await;
    // What a failed call looks like depends on how far its client's HTTP/2 was with it. Whether it was begun does not:
    // every call that was has its line in the log, and the line says how it ended.
    let log = std::fs::read_to_string(scene.proxy.folder().join("access.log")).unwrap();
    let begun: Vec<&str> = log.lines().filter(|line| line.contains(r#""namespace":"demo""#)).collect();
    let unanswered: Vec<_> = begun.iter().filter(|line| !line.contains(r#""code":"OK""#)).collect();
    assert!(unanswered.is_empty(), "{unanswered:?}; {:?}", outcome.failures);
    assert_eq!(begun.len() as u64, outcome.answered, "{:?}", outcome.failures);
}
