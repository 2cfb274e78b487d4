//! How encrypted connections end: told so, with nothing lost, and on time.

use crate::{behind, call, nobody, own, pki, start};
use prism_tests::{
    Proxy, Signal, Transport,
    client::{
        curl, http2,
        tls::{self, s_client},
    },
    plugin::Plugin,
    tools, wait,
    wire::{field, framed},
};
use prism_tls::alpn;
use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

const RAW: &str = "content-type: application/octet-stream";

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_goaway_and_finishes_what_is_under_way() {
    let pki = pki();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("slow.sock");
    let plugin = Plugin::start(&socket);
    let sidecar = format!("  - {}\nnamespaces:", Transport::Frames.sidecar("slow", &socket));
    let template = behind(&own(&pki, ""), "").replace("namespaces:", &sidecar)
        + "  - { name: slow, backend: test, plugin: slow }\ndrain: { timeout: 20s }\n";
    let mut proxy = Proxy::start(&template);
    wait::until("the plugin should serve", || {
        (proxy.admin().namespace("slow")["state"] == "ready").then_some(())
    });
    let nobody = nobody(&pki);
    let (idle, busy) =
        (tls::http2(proxy.port(), &nobody).await.unwrap(), tls::http2(proxy.port(), &nobody).await.unwrap());
    call(&idle).await.unwrap();
    let entry = [field(1, b"sleep_ms"), field(2, b"2000")].concat();
    let slow = framed(&[field(1, b"echo"), field(3, b"hello"), field(4, &entry)].concat());
    let head = http2::head("/prism.data.v1.DataService/Execute", &[("x-prism-namespace", "slow")]);
    let (answer, ()) = tokio::join!(busy.call(head, slow), async {
        let arrived = || async { (plugin.recorder.calls().len() == 1).then_some(()) };
        wait::until_async("the call should arrive", arrived).await;
        proxy.process.signal(Signal::TERM);
        // GOAWAY, then the end in order: a `close_notify` before FIN, or it would be an error.
        wait::guard("the idle connection's end", idle.driver).await.unwrap().unwrap();
    });
    assert_eq!(answer.expect("the call finishes").code(), Code::Ok);
    assert_eq!(proxy.process.wait().code(), Some(0));
}

/// Without it whoever cuts the connection could pass for the answer's end (RFC 8446 section 6.1).
#[test]
fn an_answer_that_ends_with_its_connection_is_followed_by_a_close_notify() {
    let (pki, proxy, _) = start("");
    for version in ["-tls1_2", "-tls1_3"] {
        let get = b"GET /v1/demo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let said = s_client(proxy.port(), &["-quiet", version, "-CAfile", &pki.path("ca.crt")], get);
        assert!(said.text.contains("HTTP/1.1 200 OK"), "{said:?}");
        assert!(said.success && !said.text.contains("unexpected eof"), "{said:?}");
    }
}

#[test]
fn a_refusal_reaches_a_client_that_still_sends() {
    let pki = pki();
    // The client must have the time to read it, however busy the machine is.
    let proxy = Proxy::start(&(behind(&own(&pki, ""), "") + "drain: { linger: 10s }\n"));
    let file = pki.folder.path().join("large");
    fs::write(&file, vec![0; 12 << 20]).unwrap();
    let (ca, upload) = (pki.path("ca.crt"), format!("@{}", file.display()));
    let url = format!("https://127.0.0.1:{}/v1/demo/set?key=k", proxy.port());
    for _ in 0..5 {
        let sending =
            ["--http1.1", "--cacert", &ca, "-H", RAW, "-H", "expect:", "--data-binary", &upload, &url];
        let answer = curl::run(&sending).expect(429);
        assert!(answer.text().contains("MESSAGE_TOO_LARGE"), "{}", answer.text());
    }
}

/// Stores 3 MiB under `large`.
async fn store(connection: &http2::Connection) {
    let head = http::Request::post("https://127.0.0.1/v1/demo/set?key=large")
        .header("content-type", "application/octet-stream");
    let answer = connection.call(head.body(()).unwrap(), vec![b'x'; LARGE].into()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

const LARGE: usize = 3 << 20;
const GET: &str = "POST /v1/demo/get HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n\
                   content-length: 5\r\n\r\nlarge";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_not_waited_for() {
    let (pki, proxy, nobody) = start("limits: { stall_timeout: 1s }");
    store(&tls::http2(proxy.port(), &nobody).await.unwrap()).await;
    let open = || proxy.admin().metric("prism_connections_open", "edge");
    wait::until("the setter's connection should end", || (open() == 0.0).then_some(()));
    // What it reads goes into a pipe that nobody empties.
    let mut client = Command::new(tools::tool("openssl"));
    client.args(["s_client", "-quiet", "-CAfile", &pki.path("ca.crt"), "-connect"]);
    client.arg(format!("127.0.0.1:{}", proxy.port()));
    let mut client =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(GET.repeat(20).as_bytes()).unwrap();
    wait::until("its connection should be open", || (open() == 1.0).then_some(()));
    wait::until("its connection should be cut", || (open() == 0.0).then_some(()));
    client.kill().unwrap();
    client.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    let (_pki, proxy, nobody) = start("limits: { stall_timeout: 1s }");
    store(&tls::http2(proxy.port(), &nobody).await.unwrap()).await;
    let mut stream = tls::connect(proxy.port(), &nobody, alpn::HTTP1).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    // Some 800 kB/s, for four times as long as a stall may take.
    let (mut read, mut piece) = (0, vec![0; 80_000]);
    while read < LARGE {
        match stream.read(&mut piece).await.unwrap() {
            0 => break,
            length => read += length,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(read >= LARGE, "cut after {read} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_before_any_handshake() {
    let (_pki, proxy, nobody) = start("limits: { max_connections: 1 }");
    let first = tls::http2(proxy.port(), &nobody).await.unwrap();
    for _ in 0..3 {
        tls::http2(proxy.port(), &nobody).await.expect_err("one too many");
        call(&first).await.unwrap();
    }
    assert_eq!(crate::failed(&proxy), 0.0);
}
