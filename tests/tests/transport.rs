//! gRPC and Prism frames: which one is chosen, and what must hold on the SDK's side of either.

use bytes::Bytes;
use prism_tests::{
    DEMO, Proxy, Sidecar, Transport,
    client::{
        grpc::Client,
        http2::{self, Connection},
    },
    memory::Peak,
    over_every_transport,
    plugin::Plugin,
    wait,
    wire::{field, framed, messages},
};
use prost::Message;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tonic::Code;

over_every_transport! {
    a_gigabyte_passes_in_flat_memory
    cancelled_calls_leave_nothing_behind
    a_plugin_that_is_killed_in_the_midst_of_it_comes_back
    a_standalone_server_copies_a_payload_at_most_once_each_way
}

const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const STREAM: &str = "/prism.data.v1.DataService/ExecuteStream";
const NAMESPACE: (&str, &str) = ("x-prism-namespace", "sdk");

/// One at a time: these tests move much data, and on a small machine they would measure each other.
static QUIET: Mutex<()> = Mutex::const_new(());

struct Scene {
    sidecar: Sidecar,
    proxy: Proxy,
    _folder: TempDir,
}

async fn scene(transport: Transport) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sdk.sock");
    let sidecar = Sidecar::sdk(&socket);
    let plugin = format!("  - {}\nnamespaces:", transport.sidecar("sdk", &socket));
    // A line for each of a hundred thousand calls would be most of what is measured.
    let quiet = DEMO.replace("trace: {}", "trace: { access_log: { path: 'off' } }");
    let template = quiet.replace("namespaces:", &plugin)
        + "  - { name: sdk, backend: test, plugin: sdk, limits: { max_message_bytes: 32MiB } }\n";
    let proxy = Proxy::start(&template);
    let scene = Scene { sidecar, proxy, _folder: folder };
    scene.serves().await;
    scene
}

impl Scene {
    async fn serves(&self) {
        wait::until_async("the sidecar should serve", || async {
            let connection = http2::connect(self.proxy.port()).await;
            (ask(&connection, "echo").await.ok()? == "hello").then_some(())
        })
        .await;
    }
}

fn head(path: &str) -> http::Request<()> {
    http2::head(path, &[NAMESPACE])
}

fn request(operation: &str, raw: &[u8]) -> Bytes {
    framed(&[field(1, operation.as_bytes()), field(3, raw)].concat())
}

/// A call's raw result as text.
async fn ask(connection: &Connection, operation: &str) -> Result<String, String> {
    let answer = connection.call(head(EXECUTE), request(operation, b"hello")).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.code() != Code::Ok {
        return Err(answer.grpc().message().to_owned());
    }
    let [message] = messages(&answer.body)[..] else { return Err("not one message".into()) };
    let answer = prism_proto::plugin::ExecuteResponse::decode(message).unwrap();
    match answer.result {
        Some(prism_proto::plugin::execute_response::Result::RawResult(raw)) => {
            Ok(String::from_utf8_lossy(&raw).into_owned())
        }
        other => Err(format!("{other:?}")),
    }
}

fn transport_of(proxy: &Proxy, namespace: &str) -> serde_json::Value {
    let all = proxy.admin().get("/plugins").expect(200).json();
    let plugins = all["plugins"].as_array().unwrap();
    let namespaces = plugins.iter().flat_map(|plugin| plugin["namespaces"].as_array().unwrap());
    let one = namespaces.into_iter().find(|one| one["name"] == namespace);
    one.unwrap_or_else(|| panic!("no {namespace} in {all}"))["transport"].clone()
}

/// A proxy before a plugin, with no word about the transport.
fn unforced(socket: &std::path::Path) -> Proxy {
    let sidecar =
        format!("  - {{ name: sidecar, type: sidecar, socket: '{}' }}\nnamespaces:", socket.display());
    let proxy = Proxy::start(
        &(DEMO.replace("namespaces:", &sidecar) + "  - { name: sdk, backend: test, plugin: sidecar }\n"),
    );
    wait::until("the namespace should be ready", || {
        (proxy.admin().namespace("sdk")["state"] == "ready").then_some(())
    });
    proxy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_knows_no_frames_is_served_over_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("plain.sock");
    let plugin = Plugin::start_on_grpc_alone(&socket);
    let proxy = unforced(&socket);
    let connection = http2::connect(proxy.port()).await;
    assert_eq!(ask(&connection, "echo").await.unwrap(), "hello");
    assert_eq!(plugin.recorder.complete().len(), 1);
    assert_eq!(transport_of(&proxy, "sdk"), "grpc");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_knows_frames_is_served_over_frames() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("both.sock");
    let _plugin = Plugin::start(&socket);
    let proxy = unforced(&socket);
    let connection = http2::connect(proxy.port()).await;
    assert_eq!(ask(&connection, "echo").await.unwrap(), "hello");
    assert_eq!(transport_of(&proxy, "sdk"), "frames/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_is_forced_and_not_there_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("plain.sock");
    let plugin = Plugin::start_on_grpc_alone(&socket);
    let sidecar = format!("  - {}\nnamespaces:", Transport::Frames.sidecar("sidecar", &socket));
    let proxy = Proxy::start(
        &(DEMO.replace("namespaces:", &sidecar) + "  - { name: sdk, backend: test, plugin: sidecar }\n"),
    );
    let shown = wait::until("the reason should be shown", || {
        let shown = proxy.admin().namespace("sdk");
        shown["reason"].as_str().is_some_and(|reason| reason.contains("frames")).then_some(shown)
    });
    assert_ne!(shown["state"], "ready", "{shown}");
    let status = Client::new(proxy.port(), "sdk").get("key").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(plugin.recorder.calls().is_empty());
}

/// What either process's peak may rise by while a gigabyte passes through it twice.
const RISE: u64 = 12 << 20;

async fn a_gigabyte_passes_in_flat_memory(transport: Transport) {
    const MESSAGE: usize = 1 << 20;
    const COUNT: usize = 1 << 10;
    let _quiet = QUIET.lock().await;
    let scene = scene(transport).await;
    let connection = http2::connect(scene.proxy.port()).await;
    let (proxy, plugin) = (Peak::start(&scene.proxy.process), Peak::start(&scene.sidecar.process));
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(head(STREAM), false).unwrap();
    let message = request("echo_stream", &vec![7; MESSAGE]);
    let sending = async {
        for _ in 0..COUNT {
            http2::send_all(&mut stream, message.clone(), false).await.unwrap();
        }
        http2::send_all(&mut stream, Bytes::new(), true).await.unwrap();
    };
    let receiving = async {
        let mut body = response.await.unwrap().into_body();
        let mut received = 0;
        while let Some(piece) = http2::next(&mut body).await.unwrap() {
            received += piece.len();
        }
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        received
    };
    // A gigabyte takes a debug build longer than anything else here.
    let both = async { tokio::join!(sending, receiving) };
    let ((), received) =
        tokio::time::timeout(Duration::from_secs(600), both).await.expect("the stream hangs");
    assert!(received > COUNT * MESSAGE, "{received} bytes came back");
    let (proxy, plugin) = (proxy.rise(), plugin.rise());
    println!("{transport:?}: the proxy's peak rose by {} KiB, the plugin's by {}", proxy >> 10, plugin >> 10);
    assert!(proxy <= RISE && plugin <= RISE, "{proxy} {plugin}");
}

/// A small generator: the same storm every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

async fn cancelled_calls_leave_nothing_behind(transport: Transport) {
    const CLIENTS: usize = 4;
    let calls = match transport {
        Transport::Frames => 100_000,
        // tonic and h2 have their own such tests; what is ours is the proxy's side of it.
        Transport::Grpc => 20_000,
    };
    let _quiet = QUIET.lock().await;
    let scene = scene(transport).await;
    let mut chance = Chance(1);
    // Once to warm up, so that buffers and slabs have the size that the storm needs.
    storm(&scene, &mut chance, 2_000, CLIENTS).await;
    let (proxy, plugin) = (Peak::start(&scene.proxy.process), Peak::start(&scene.sidecar.process));
    storm(&scene, &mut chance, calls / CLIENTS, CLIENTS).await;
    let connection = http2::connect(scene.proxy.port()).await;
    wait::until_async("no call should be left in the plugin", || async {
        (ask(&connection, "alive").await.unwrap() == "0").then_some(())
    })
    .await;
    let (proxy, plugin) = (proxy.rise(), plugin.rise());
    println!("{transport:?}: the proxy's peak rose by {} KiB, the plugin's by {}", proxy >> 10, plugin >> 10);
    assert!(proxy <= RISE && plugin <= RISE, "{proxy} {plugin}");
    // And every slot can be used: more calls at once than the storm had.
    let mut sleeping = Vec::new();
    for _ in 0..10 {
        let connection = http2::connect(scene.proxy.port()).await;
        for _ in 0..50 {
            sleeping.push(open(&connection, EXECUTE, request("sleep", b""), true).await);
        }
    }
    let asking = http2::connect(scene.proxy.port()).await;
    wait::until_async("all should be under way", || async {
        (ask(&asking, "alive").await.unwrap() == sleeping.len().to_string()).then_some(())
    })
    .await;
    drop(sleeping);
    wait::until_async("all should be gone", || async {
        (ask(&asking, "alive").await.unwrap() == "0").then_some(())
    })
    .await;
}

type Opened = (h2::client::ResponseFuture, h2::SendStream<Bytes>);

async fn open(connection: &Connection, path: &str, body: Bytes, last: bool) -> Opened {
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(head(path), false).unwrap();
    // What the window does not take yet waits in the client.
    stream.send_data(body, last).unwrap();
    (response, stream)
}

/// So many calls on each of so many connections, each given up at some moment: before it is sent, while its body
/// is sent, while it runs, while its answer comes, or after its end.
async fn storm(scene: &Scene, chance: &mut Chance, calls: usize, clients: usize) {
    let port = scene.proxy.port();
    let seeds: Vec<u64> = (0..clients).map(|_| chance.below(1 << 30)).collect();
    let storms = seeds.into_iter().map(|seed| async move {
        let mut chance = Chance(seed);
        // Answers that nobody reads must not use up the window of those that somebody waits for.
        let mut builder = h2::client::Builder::new();
        builder.initial_connection_window_size(64 << 20);
        // Nor must it count what comes for calls that it has forgotten already.
        builder.max_local_error_reset_streams(None);
        let connection = http2::connect_with(port, &builder).await;
        let large = vec![1; 40_000];
        let mut begun = 0;
        while begun < calls {
            let mut opened = Vec::new();
            for _ in 0..=chance.below(50) {
                opened.push(match chance.below(6) {
                    0 => open(&connection, EXECUTE, request("sleep", b""), true).await,
                    1 => open(&connection, EXECUTE, request("echo", b"hello"), true).await,
                    2 => open(&connection, EXECUTE, request("echo", &large), true).await,
                    3 => open(&connection, EXECUTE, request("echo", &large).slice(..20_000), false).await,
                    4 => open(&connection, STREAM, request("echo_stream", &large), false).await,
                    _ => open(&connection, STREAM, request("echo_stream", b"hello"), false).await,
                });
            }
            begun += opened.len();
            // Some at once. Of more than twenty, h2 would believe that they are an attack.
            opened.truncate(opened.len() - (chance.below(15) as usize).min(opened.len()));
            // The others have arrived when this has.
            ask(&connection, "echo").await.unwrap();
            while !opened.is_empty() {
                let place = chance.below(opened.len() as u64) as usize;
                drop(opened.swap_remove(place));
                if chance.below(8) == 0 {
                    tokio::time::sleep(Duration::from_micros(chance.below(500))).await;
                }
            }
        }
    });
    wait_long("the storm", futures_util::future::join_all(storms)).await;
}

async fn wait_long<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

/// At moments that together meet every kind of frame under way.
async fn a_plugin_that_is_killed_in_the_midst_of_it_comes_back(transport: Transport) {
    let _quiet = QUIET.lock().await;
    let mut scene = scene(transport).await;
    let large = vec![1; 2 << 20];
    for round in 0..8_u64 {
        let connection = http2::connect(scene.proxy.port()).await;
        let calls: Vec<_> = (0..24)
            .map(|number| match number % 4 {
                0 => (EXECUTE, request("sleep", b""), true),
                1 => (EXECUTE, request("echo", &large), true),
                2 => (STREAM, request("echo_stream", &large), false),
                _ => (STREAM, request("echo_stream", b"hello"), false),
            })
            .collect();
        let mut opened = Vec::new();
        for (path, body, last) in calls {
            opened.push(open(&connection, path, body, last).await);
        }
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        let began = Instant::now();
        scene.sidecar.process.kill();
        // All read at once: an answer of which nobody reads holds the connection's window, and with it the others.
        let ends = opened.into_iter().map(|(response, stream)| {
            drop(stream);
            // An answer, an error or a reset: but an end.
            wait::guard("a call to a dead plugin", http2::collect(response))
        });
        futures_util::future::join_all(ends).await;
        println!("{transport:?}: all ended after {} ms", began.elapsed().as_millis());
        let status = ask(&http2::connect(scene.proxy.port()).await, "echo").await.unwrap_err();
        assert!(!status.is_empty());
        scene.sidecar.restart();
        scene.serves().await;
    }
}

/// Whatever is copied is copied into memory that was allocated for it: the payload once as it is received, then once for
/// each copy.
async fn a_standalone_server_copies_a_payload_at_most_once_each_way(transport: Transport) {
    const SIZE: u64 = 16 << 20;
    let _quiet = QUIET.lock().await;
    let scene = scene(transport).await;
    let connection = http2::connect(scene.proxy.port()).await;
    let allocated = || async { ask(&connection, "allocated").await.unwrap().parse::<u64>().unwrap() };
    let sent = request("echo", &vec![1; SIZE as usize]);
    // Once before, so that nothing is counted that is made once.
    for counted in [false, true] {
        let before = allocated().await;
        let answer = connection.call(head(EXECUTE), sent.clone()).await.unwrap();
        assert_eq!(answer.code(), Code::Ok);
        assert!(answer.body.len() as u64 > SIZE);
        let bytes = allocated().await - before;
        if counted {
            println!("{transport:?}: {bytes} bytes allocated for a payload of {SIZE} that came and went");
            let copies = match transport {
                // tonic puts a message together from its frames, and encodes an answer into one buffer.
                Transport::Grpc => 2,
                Transport::Frames => 0,
            };
            let least = SIZE * (1 + copies);
            assert!((least..least + SIZE / 4).contains(&bytes), "{bytes} bytes");
        }
    }
}
