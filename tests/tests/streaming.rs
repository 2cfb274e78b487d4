//! Large bodies stream, back-pressure reaches the sender, and a stalled stream is cut.

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use prism_proto::plugin::{ExecuteResponse, execute_response::Result as Outcome};
use prism_tests::{
    DEMO, Proxy, Redis, Sidecar, Signal, Transport,
    client::{
        curl,
        grpc::Client,
        http2::{self, Connection},
    },
    memory::Peak,
    over_every_transport, wait,
    wire::{field, framed, messages},
};
use prost::Message;
use std::{path::Path, time::Duration};
use tempfile::TempDir;
use tokio::sync::{Barrier, Mutex};
use tonic::Code;

const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const STREAM: &str = "/prism.data.v1.DataService/ExecuteStream";
const NAMESPACE: (&str, &str) = ("x-prism-namespace", "large");
const VALUE: usize = 16 << 20;
const AT_ONCE: usize = 4;
/// What the proxy's peak may rise by while 64 MiB pass through it in each direction: what four calls are promised when their windows
/// have grown (1 MiB of upload each, as much of answers over frames), and 2 MiB for all that is on its way between.
const RISE: u64 = 10 << 20;
const PAUSE: Duration = Duration::from_secs(5);

/// One at a time: these tests move much data, and on a small machine they would measure each other.
static QUIET: Mutex<()> = Mutex::const_new(());

over_every_transport! {
    four_large_values_pass_in_little_memory
    four_large_values_on_one_connection
    a_client_that_pauses_holds_its_own_call_up_and_no_memory
    a_sidecar_that_pauses_holds_the_client_up_and_no_memory
    large_values_reach_a_real_redis_and_return
    large_answers_stream_over_http_too
    an_echo_whose_client_sends_first_and_reads_later_does_not_deadlock
    a_client_that_never_opens_its_window_is_cut
    a_client_that_never_opens_its_window_has_its_deadline
    a_client_that_stops_in_the_middle_of_a_message_is_cut
    silence_between_messages_is_no_stall
}

struct Scene {
    sidecar: Sidecar,
    proxy: Proxy,
    _folder: TempDir,
}

fn template(transport: Transport, socket: &Path, config: &str, listener: &str) -> String {
    let plugin = format!("  - {}\nnamespaces:", transport.sidecar("sidecar", socket));
    let namespace = format!(
        "  - {{ name: large, backend: test, plugin: sidecar, config: {{ {config} }},
      limits: {{ max_message_bytes: 33554432 }} }}\n"
    );
    DEMO.replace("namespaces:", &plugin).replace("    filters:", &format!("{listener}    filters:"))
        + &namespace
}

async fn scene(transport: Transport, listener: &str) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("echo.sock");
    let sidecar = Sidecar::echo(&socket);
    let proxy = Proxy::start(&template(transport, &socket, "", listener));
    let connection = http2::connect(proxy.port()).await;
    wait::until_async("the sidecar should serve", || async {
        let answer = connection.call(head(EXECUTE), request("echo", b"warm")).await.ok()?;
        (answer.code() == Code::Ok).then_some(())
    })
    .await;
    Scene { sidecar, proxy, _folder: folder }
}

fn head(path: &str) -> http::Request<()> {
    http2::head(path, &[NAMESPACE])
}

fn request(operation: &str, raw: &[u8]) -> Bytes {
    framed(&[field(1, operation.as_bytes()), field(3, raw)].concat())
}

/// A value in which every stretch differs from the next.
fn value(seed: usize) -> Vec<u8> {
    (0..VALUE).map(|at| (at / 7 + at / 4096 + seed).to_le_bytes()[0]).collect()
}

/// What happens in the middle of a large call.
#[derive(Clone, Copy)]
enum Middle<'a> {
    /// Nothing.
    Flows,
    /// The client pauses while it sends, and again while it receives.
    Pauses(Duration),
    /// Half of it is sent; the client waits at the barrier until the others are there too, and again until
    /// the test has done what it wants.
    Meets(&'a Barrier),
}

/// Sends 16 MiB through `echo` and checks what comes back.
async fn echo(connection: &Connection, seed: usize, middle: Middle<'_>) {
    let value = value(seed);
    let mut body = request("echo", &value);
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(head(EXECUTE), false).unwrap();
    let first = body.split_to(body.len() / 2);
    http2::send_all(&mut stream, first, false).await.unwrap();
    match middle {
        Middle::Flows => {}
        Middle::Pauses(pause) => tokio::time::sleep(pause).await,
        Middle::Meets(barrier) => {
            barrier.wait().await;
            barrier.wait().await;
        }
    }
    if http2::send_all(&mut stream, body, true).await.is_err() {
        panic!("refused in the middle: {:?}", http2::collect(response).await);
    }
    let (parts, mut answer) = response.await.unwrap().into_parts();
    assert_eq!(parts.status, 200);
    let mut received = BytesMut::new();
    let mut pause = if let Middle::Pauses(pause) = middle { Some(pause) } else { None };
    while let Some(piece) = http2::next(&mut answer).await.unwrap() {
        received.extend_from_slice(&piece);
        if received.len() > VALUE / 2
            && let Some(pause) = pause.take()
        {
            tokio::time::sleep(pause).await;
        }
    }
    let trailers = answer.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let received = received.freeze();
    let [message] = messages(&received)[..] else { panic!("one message") };
    let answer = ExecuteResponse::decode(received.slice_ref(message)).unwrap();
    let Some(Outcome::RawResult(raw)) = answer.result else { panic!("no raw result") };
    assert!(raw == value, "the value changed on its way");
}

async fn echo_many(proxy: &Proxy, middle: Middle<'_>) {
    let connections = join_all((0..AT_ONCE).map(|_| http2::connect(proxy.port()))).await;
    let calls = connections.iter().enumerate().map(|(seed, connection)| echo(connection, seed, middle));
    wait::guard("four large calls", join_all(calls)).await;
}

fn rose_little(peak: &Peak) {
    let rise = peak.rise();
    println!("peak memory rose by {} KiB", rise >> 10);
    assert!(rise <= RISE, "peak memory rose by {} KiB", rise >> 10);
}

async fn four_large_values_pass_in_little_memory(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "").await;
    let peak = Peak::start(&scene.proxy.process);
    echo_many(&scene.proxy, Middle::Flows).await;
    rose_little(&peak);
}

async fn four_large_values_on_one_connection(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "").await;
    let peak = Peak::start(&scene.proxy.process);
    let connection = http2::connect(scene.proxy.port()).await;
    let calls = (0..AT_ONCE).map(|seed| echo(&connection, seed, Middle::Flows));
    wait::guard("four large calls", join_all(calls)).await;
    rose_little(&peak);
}

async fn a_client_that_pauses_holds_its_own_call_up_and_no_memory(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "").await;
    let peak = Peak::start(&scene.proxy.process);
    echo_many(&scene.proxy, Middle::Pauses(PAUSE)).await;
    rose_little(&peak);
}

async fn a_sidecar_that_pauses_holds_the_client_up_and_no_memory(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "").await;
    let peak = Peak::start(&scene.proxy.process);
    let barrier = Barrier::new(AT_ONCE + 1);
    let pausing = async {
        barrier.wait().await;
        scene.sidecar.process.signal(Signal::STOP);
        barrier.wait().await;
        tokio::time::sleep(PAUSE).await;
        rose_little(&peak);
        scene.sidecar.process.signal(Signal::CONT);
    };
    tokio::join!(echo_many(&scene.proxy, Middle::Meets(&barrier)), pausing);
    rose_little(&peak);
}

async fn large_values_reach_a_real_redis_and_return(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("redis.sock");
    let _sidecar = Sidecar::redis(&socket);
    let proxy = Proxy::start(&template(transport, &socket, &format!("url: '{}'", redis.url()), ""));
    let clients: Vec<Client> = (0..AT_ONCE).map(|_| Client::new(proxy.port(), "large")).collect();
    wait::until_async("redis should serve", || async { clients[0].set("small", "value").await.ok() }).await;
    let peak = Peak::start(&proxy.process);
    let calls = clients.iter().enumerate().map(|(seed, client)| async move {
        let (key, value) = (format!("large-{seed}"), value(seed));
        client.set(&key, value.clone()).await.unwrap();
        assert!(client.get(&key).await.unwrap().unwrap() == value, "the value changed on its way");
    });
    wait::guard("four large values", join_all(calls)).await;
    rose_little(&peak);
    assert_eq!(redis.cli(&["strlen", "large-0"]).trim(), VALUE.to_string());
}

async fn large_answers_stream_over_http_too(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "").await;
    let url = scene.proxy.url("/v1/large/source");
    let peak = Peak::start(&scene.proxy.process);
    let calls = (0..AT_ONCE).map(|number| {
        let (url, length) = (url.clone(), VALUE.to_string());
        // Slower than the plugin sends, so that whatever does not stream piles up.
        tokio::task::spawn_blocking(move || {
            let version = if number % 2 == 0 { "--http1.1" } else { "--http2-prior-knowledge" };
            let octets = "content-type: application/octet-stream";
            curl::run(&[version, "--limit-rate", "8M", "-d", &length, "-H", octets, &url])
                .expect(200)
                .body
                .len()
        })
    });
    for length in wait::guard("four large answers", join_all(calls)).await {
        assert_eq!(length.unwrap(), VALUE);
    }
    rose_little(&peak);
}

async fn an_echo_whose_client_sends_first_and_reads_later_does_not_deadlock(transport: Transport) {
    const PIECES: usize = 64;
    const PIECE: usize = 64 << 10;
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "").await;
    // The client's own windows hold everything that comes while it only sends.
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16 << 20).initial_connection_window_size(16 << 20);
    let connection = http2::connect_with(scene.proxy.port(), &builder).await;
    let exchange = async {
        let mut send = connection.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(head(STREAM), false).unwrap();
        for _ in 0..PIECES {
            http2::send_all(&mut stream, request("echo_stream", &vec![7; PIECE]), false).await.unwrap();
        }
        http2::send_all(&mut stream, Bytes::new(), true).await.unwrap();
        http2::collect(response).await.unwrap()
    };
    let answer = wait::guard("the echo", exchange).await;
    assert_eq!(answer.code(), Code::Ok);
    let echoed = messages(&answer.body);
    assert_eq!(echoed.len(), PIECES);
    assert!(echoed.iter().all(|message| message.len() > PIECE));
}

async fn a_client_that_never_opens_its_window_is_cut(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "    limits: { stall_timeout: 1s }\n").await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let connection = http2::connect_with(scene.proxy.port(), &builder).await;
    let stalled = connection.call(head(EXECUTE), request("source", b"1000000")).await.unwrap_err();
    assert!(stalled.is_remote(), "{stalled:?}");

    // Somebody else, meanwhile and after, is served.
    let other = http2::connect(scene.proxy.port()).await;
    let answer = other.call(head(EXECUTE), request("source", b"1000000")).await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    assert!(answer.body.len() > 1_000_000);
}

async fn a_client_that_never_opens_its_window_has_its_deadline(transport: Transport) {
    let _quiet = QUIET.lock().await;
    // As long as the stall is by default: it is not that which ends the call.
    let scene = scene(transport, "").await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(0);
    let connection = http2::connect_with(scene.proxy.port(), &builder).await;
    let mut head = head(EXECUTE);
    head.headers_mut().insert("grpc-timeout", http::HeaderValue::from_static("500m"));
    let answer = connection.call(head, request("source", b"1000000")).await.unwrap();
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    assert!(answer.body.is_empty());
}

async fn a_client_that_stops_in_the_middle_of_a_message_is_cut(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "    limits: { stall_timeout: 1s }\n").await;
    let connection = http2::connect(scene.proxy.port()).await;
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(head(EXECUTE), false).unwrap();
    let half = request("echo", &[7; 1000]).slice(..500);
    http2::send_all(&mut stream, half, false).await.unwrap();
    match wait::guard("the cut", http2::collect(response)).await {
        Ok(answer) => assert_eq!(answer.code(), Code::DeadlineExceeded),
        Err(cut) => assert!(cut.is_remote(), "{cut:?}"),
    }
}

async fn silence_between_messages_is_no_stall(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let scene = scene(transport, "    limits: { stall_timeout: 1s }\n").await;
    let connection = http2::connect(scene.proxy.port()).await;
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(head(STREAM), false).unwrap();
    let mut answer = None;
    let mut response = Some(response);
    for _ in 0..2 {
        http2::send_all(&mut stream, request("echo_stream", b"ping"), false).await.unwrap();
        if let Some(response) = response.take() {
            answer = Some(wait::guard("the headers", response).await.unwrap().into_body());
        }
        let body = answer.as_mut().unwrap();
        assert!(wait::guard("an echo", http2::next(body)).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    http2::send_all(&mut stream, Bytes::new(), true).await.unwrap();
    let mut body = answer.unwrap();
    assert!(wait::guard("the end", http2::next(&mut body)).await.unwrap().is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
}
