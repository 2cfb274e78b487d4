//! Receive windows grow for large bodies, within a budget, and for nobody who does not read.

use bytes::Bytes;
use futures_util::future::join_all;
use h2::{RecvStream, SendStream, client::ResponseFuture};
use prism_tests::{
    DEMO, Proxy, Sidecar, Signal,
    client::http2::{self, Connection},
    memory::Peak,
    wait,
    wire::{field, framed},
};
use std::{future::poll_fn, path::Path, task::Poll, time::Duration};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tonic::Code;

const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const NAMESPACE: (&str, &str) = ("x-prism-namespace", "large");
const MIB: usize = 1 << 20;
/// `http2.initial_stream_window_bytes` and its sibling, as they are by default.
const STREAM: usize = 64 << 10;
const CONNECTION: usize = MIB;
/// `http2.max_stream_window_bytes` and its sibling.
const LARGE_STREAM: usize = MIB;
const LARGE_CONNECTION: usize = 4 * MIB;

/// One at a time: they measure memory.
static QUIET: Mutex<()> = Mutex::const_new(());

struct Scene {
    sidecar: Sidecar,
    proxy: Proxy,
    _folder: TempDir,
}

fn config(socket: &Path, budget: usize) -> String {
    let plugin =
        format!("  - {{ name: sidecar, type: sidecar, socket: '{}' }}\nnamespaces:", socket.display());
    let namespace =
        "  - { name: large, backend: test, plugin: sidecar, limits: { max_message_bytes: 64MiB } }\n";
    format!("window_budget_bytes: {budget}\n{}{namespace}", DEMO.replace("namespaces:", &plugin))
}

async fn scene(budget: usize) -> Scene {
    scene_with(|socket| config(socket, budget)).await
}

async fn scene_with(config: impl FnOnce(&Path) -> String) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("echo.sock");
    let sidecar = Sidecar::echo(&socket);
    let proxy = Proxy::start(&config(&socket));
    let connection = http2::connect(proxy.port()).await;
    wait::until_async("the sidecar should serve", || async {
        let answer = connection.call(http2::head(EXECUTE, &[NAMESPACE]), request(b"warm")).await.ok()?;
        (answer.code() == Code::Ok).then_some(())
    })
    .await;
    Scene { sidecar, proxy, _folder: folder }
}

fn request(raw: &[u8]) -> Bytes {
    framed(&[field(1, b"echo"), field(3, raw)].concat())
}

/// A client whose own side is never what makes a body wait.
async fn connect(proxy: &Proxy) -> Connection {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(64 << 20)
        .initial_connection_window_size(64 << 20)
        .max_send_buffer_size(64 << 20);
    http2::connect_with(proxy.port(), &builder).await
}

/// Sends and gets back `length` bytes.
async fn echo(connection: &Connection, length: usize) {
    let head = http2::head(EXECUTE, &[NAMESPACE]);
    let answer = connection.call(head, request(&vec![7; length])).await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    assert!(answer.body.len() > length);
}

async fn open(connection: &Connection) -> (ResponseFuture, SendStream<Bytes>) {
    let mut send = connection.send.clone().ready().await.unwrap();
    send.send_request(http2::head(EXECUTE, &[NAMESPACE]), false).unwrap()
}

/// What the proxy lets a client send now on `streams` new streams, without anything being read of it.
async fn promised(connection: &Connection, streams: usize) -> usize {
    let mut opened = Vec::new();
    for _ in 0..streams {
        opened.push(open(connection).await);
    }
    // h2 gives no capacity to a stream whose head has not left yet. After a call they all have.
    echo(connection, 128).await;
    let promised = |(_, stream): &mut (_, SendStream<Bytes>)| {
        stream.reserve_capacity(64 << 20);
        stream.capacity()
    };
    opened.iter_mut().map(promised).sum()
}

/// Echoes until the proxy promises more than `enough` on so many streams.
async fn grow(connection: &Connection, streams: usize, enough: usize) {
    wait::until_async("the windows should grow", || async {
        echo(connection, 8 * MIB).await;
        (promised(connection, streams).await > enough).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_gets_large_windows() {
    let _quiet = QUIET.lock().await;
    let scene = scene(64 * MIB).await;
    let connection = connect(&scene.proxy).await;
    echo(&connection, 1000).await;
    assert_eq!(promised(&connection, 1).await, STREAM, "nothing large was sent yet");
    grow(&connection, 1, LARGE_STREAM - 1).await;
    assert_eq!(promised(&connection, 1).await, LARGE_STREAM);
    let all = promised(&connection, 8).await;
    assert!(all > CONNECTION && all <= LARGE_CONNECTION, "{all}");

    // Another connection has its own.
    let other = connect(&scene.proxy).await;
    echo(&other, 1000).await;
    assert_eq!(promised(&other, 1).await, STREAM);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_calls_never_grow_a_window() {
    let _quiet = QUIET.lock().await;
    let scene = scene(64 * MIB).await;
    let connection = connect(&scene.proxy).await;
    for _ in 0..2_000 {
        echo(&connection, 128).await;
    }
    assert_eq!(promised(&connection, 1).await, STREAM);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_budget_no_connection_is_promised_more() {
    let _quiet = QUIET.lock().await;
    let scene = scene(0).await;
    let connection = connect(&scene.proxy).await;
    // A stream's window grows within what the connection has anyway.
    grow(&connection, 1, STREAM).await;
    for _ in 0..4 {
        echo(&connection, 8 * MIB).await;
    }
    let all = promised(&connection, 32).await;
    assert!(all <= CONNECTION, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_share_the_budget_and_give_it_back_at_their_end() {
    let _quiet = QUIET.lock().await;
    // Enough for one of them.
    let scene = scene(LARGE_CONNECTION - CONNECTION).await;
    let first = connect(&scene.proxy).await;
    grow(&first, 8, CONNECTION).await;
    let second = connect(&scene.proxy).await;
    for _ in 0..4 {
        echo(&second, 8 * MIB).await;
    }
    let all = promised(&second, 32).await;
    assert!(all <= CONNECTION, "{all}");
    first.driver.abort();
    drop(first);
    grow(&second, 8, CONNECTION).await;
}

/// Sends what is let through, until nothing has been for a while. Keeps the call open.
async fn push(connection: &Connection) -> (usize, (ResponseFuture, SendStream<Bytes>)) {
    let body = request(&vec![7; 16 * MIB]);
    let (response, mut stream) = open(connection).await;
    let mut sent = 0;
    stream.reserve_capacity(body.len());
    loop {
        let more = poll_fn(|cx| match stream.capacity() {
            0 => stream.poll_capacity(cx),
            capacity => Poll::Ready(Some(Ok(capacity))),
        });
        match tokio::time::timeout(Duration::from_secs(2), more).await {
            Ok(Some(Ok(0))) => {}
            Ok(Some(Ok(capacity))) => {
                let piece = body.slice(sent..(sent + capacity).min(body.len()));
                sent += piece.len();
                stream.send_data(piece, false).unwrap();
                stream.reserve_capacity(body.len() - sent);
            }
            Ok(ended) => panic!("the call ended: {ended:?}"),
            Err(_) => return (sent, (response, stream)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_no_plugin_reads_hold_no_more_than_windows_and_budget() {
    const UPLOADS: usize = 16;
    const BUDGET: usize = 2 * (LARGE_CONNECTION - CONNECTION);
    let _quiet = QUIET.lock().await;
    let scene = scene(BUDGET).await;
    let connections = join_all((0..UPLOADS).map(|_| connect(&scene.proxy))).await;
    for connection in &connections {
        for _ in 0..2 {
            echo(connection, 8 * MIB).await;
        }
    }
    let peak = Peak::start(&scene.proxy.process);
    scene.sidecar.process.signal(Signal::STOP);
    let pushed = wait::guard("the uploads", join_all(connections.iter().map(push))).await;
    let sent: usize = pushed.iter().map(|(sent, _)| sent).sum();
    let rise = peak.rise();
    println!("{} KiB were let through, peak memory rose by {} KiB", sent >> 10, rise >> 10);
    scene.sidecar.process.signal(Signal::CONT);
    assert!(sent < UPLOADS * 16 * MIB, "somebody reads");
    let most = UPLOADS * CONNECTION + BUDGET;
    assert!(rise <= most as u64, "peak memory rose by {} KiB", rise >> 10);
}

/// Takes nothing of an answer.
async fn unread(connection: &Connection) -> (RecvStream, SendStream<Bytes>) {
    let (response, mut stream) = open(connection).await;
    http2::send_all(&mut stream, request(&vec![7; 8 * MIB]), true).await.unwrap();
    let response = wait::guard("the headers", response).await.unwrap();
    (response.into_body(), stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_no_client_reads_stop_nobody_else() {
    const CLIENTS: usize = 16;
    let _quiet = QUIET.lock().await;
    let scene = scene(64 * MIB).await;
    let other = connect(&scene.proxy).await;
    grow(&other, 1, STREAM).await;
    let peak = Peak::start(&scene.proxy.process);
    // h2's own settings: 64 KiB for each of them, and their answers have 8 MiB.
    let slow = join_all((0..CLIENTS).map(|_| http2::connect(scene.proxy.port()))).await;
    let held = join_all(slow.iter().map(unread)).await;
    for _ in 0..4 {
        wait::guard("an echo beside them", echo(&other, 8 * MIB)).await;
    }
    let rise = peak.rise();
    println!("peak memory rose by {} KiB", rise >> 10);
    // Each holds at most what its call may have on its way to the client: a window towards the plugin, which
    // grows to 1 MiB, what is queued for the client, and what its own upload still holds.
    assert!(rise <= (CLIENTS * 2 * MIB) as u64, "peak memory rose by {} KiB", rise >> 10);
    drop(held);
}

/// More streams than one worker's connection to a plugin has window for, if they shared it: what those hold who do not read
/// must not be what the others need.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_answers_that_one_client_does_not_read_stop_nobody_else() {
    const STREAMS: usize = 100;
    let _quiet = QUIET.lock().await;
    // One worker, and so one connection to the plugin, over HTTP/2.
    let grpc = |socket: &Path| {
        let config = config(socket, 64 * MIB).replace("type: sidecar,", "type: sidecar, transport: grpc,");
        format!("workers: 1\n{config}")
    };
    let scene = scene_with(grpc).await;
    let other = connect(&scene.proxy).await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0).max_send_buffer_size(64 << 20);
    let slow = http2::connect_with(scene.proxy.port(), &builder).await;
    let peak = Peak::start(&scene.proxy.process);
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        let (response, mut stream) = open(&slow).await;
        http2::send_all(&mut stream, request(&vec![7; MIB / 4]), true).await.unwrap();
        let response = wait::guard("the headers", response).await.unwrap();
        held.push((response.into_body(), stream));
    }
    for _ in 0..4 {
        wait::guard("an echo beside them", echo(&other, MIB)).await;
    }
    let rise = peak.rise();
    println!("peak memory rose by {} KiB", rise >> 10);
    // The echoes did not come because the others had been cut.
    for (body, _) in &mut held {
        let cut = tokio::time::timeout(Duration::from_millis(1), body.data()).await;
        assert!(cut.is_err(), "{cut:?}");
    }
    // A window towards the plugin for each, what is queued for the client, and the echoes themselves.
    assert!(rise <= 24 * MIB as u64, "peak memory rose by {} KiB", rise >> 10);
    drop(held);
}
