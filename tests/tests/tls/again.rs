//! Rights that end: a client that was let in is let in no longer than it would be now.

use crate::{behind, call, nobody, own, pki, serves, somebody};
use bytes::Bytes;
use h2::{RecvStream, client::ResponseFuture};
use prism_tests::{
    Pki, Proxy, Transport,
    client::{http2, tls},
    plugin::Plugin,
    wait,
    wire::{field, framed},
};
use prism_tls::{
    ClientFiles, alpn,
    testing::{Authority, end},
};
use rcgen::CertificateParams;
use std::time::{Duration, SystemTime};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};
use tonic::Code;

const HOUR: Duration = Duration::from_secs(3600);

/// A client with a certificate of its own.
fn client(pki: &Pki, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ClientFiles {
    let identity = pki.authority.identity(&["app.test"], change);
    somebody(pki, pki.folder.identity(name, &identity))
}

fn numbered(pki: &Pki, serial: u64) -> ClientFiles {
    client(pki, &format!("client-{serial}"), |params| params.serial_number = Some(serial.into()))
}

/// Writes who was revoked.
fn revoke(pki: &Pki, serials: &[u64], next_update: SystemTime) {
    pki.folder.write("ca.crl", &pki.authority.revoked(serials, next_update));
}

/// Asks for certificates and looks whether they were revoked.
fn settings(pki: &Pki) -> String {
    own(pki, &format!(", client_ca: '{}', crls: ['{}']", pki.path("ca.crt"), pki.path("ca.crl")))
}

/// A watch that is open, and the end of its connection.
struct Watching {
    body: RecvStream,
    connection: JoinHandle<Result<(), h2::Error>>,
    send: h2::client::SendRequest<Bytes>,
}

impl Watching {
    async fn start(proxy: &Proxy, files: &ClientFiles) -> Self {
        let connection = tls::http2(proxy.port(), files).await.unwrap();
        let head = http2::head("/prism.kv.v1.KeyValueService/Watch", &[("x-prism-namespace", "demo")]);
        let mut send = connection.send.ready().await.unwrap();
        let (response, mut stream) = send.send_request(head, false).unwrap();
        stream.send_data(framed(b""), true).unwrap();
        let response = wait::guard("the watch", response).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), connection: connection.driver, send }
    }

    /// Waits until it is refused, which it has to be told.
    async fn refused(mut self) {
        let told = wait::guard("the end of the watch", async {
            while let Some(piece) = http2::next(&mut self.body).await.unwrap() {
                assert!(piece.is_empty(), "nothing happens to a key");
            }
            self.body.trailers().await.unwrap().expect("there are trailers")
        });
        let status = tonic::Status::from_header_map(&told.await).expect("there is a status");
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        assert_eq!(status.message(), "the call's credentials are not accepted");
        drop(self.body);
        // GOAWAY, and the end in order.
        wait::guard("the end of the connection", self.connection).await.unwrap().unwrap();
        self.send.ready().await.expect_err("it takes no calls any more");
    }

    /// It is open, and its connection serves.
    async fn goes_on(&mut self) {
        let connection =
            http2::Connection { send: self.send.clone(), driver: tokio::spawn(async { Ok(()) }) };
        call(&connection).await.unwrap();
        assert!(!self.connection.is_finished());
    }
}

fn ended(proxy: &Proxy) -> f64 {
    proxy.admin().metric("prism_tls_clients_ended_total", "edge")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_cut_and_others_stay() {
    let pki = pki();
    revoke(&pki, &[], SystemTime::now() + HOUR);
    let proxy = Proxy::start(&behind(&settings(&pki), ""));
    let (seven, eight) = (numbered(&pki, 7), numbered(&pki, 8));
    let (bad, mut good) = (Watching::start(&proxy, &seven).await, Watching::start(&proxy, &eight).await);
    let idle = tls::http2(proxy.port(), &seven).await.unwrap();
    call(&idle).await.unwrap();
    let mut http1 = tls::connect(proxy.port(), &seven, alpn::HTTP1).await.unwrap();
    let get = b"GET /v1/demo HTTP/1.1\r\nhost: x\r\n\r\n";
    http1.write_all(get).await.unwrap();
    let mut head = [0; 15];
    http1.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    // What changes is not theirs.
    revoke(&pki, &[9], SystemTime::now() + HOUR);
    pki.folder.identity("edge", &pki.authority.identity(&["127.0.0.1"], |_| {}));
    let nine = numbered(&pki, 9);
    wait::until_async("the ninth should be refused", || async { serves(&proxy, &nine).await.err() }).await;
    call(&idle).await.unwrap();

    revoke(&pki, &[7], SystemTime::now() + HOUR);
    bad.refused().await;
    wait::guard("the idle connection's end", idle.driver).await.unwrap().unwrap();
    let mut rest = Vec::new();
    wait::guard("the end of HTTP/1.1", http1.read_to_end(&mut rest)).await.expect("in order: it was idle");
    serves(&proxy, &seven).await.expect_err("it is revoked");
    // The ninth may have been let in for a moment.
    assert!(ended(&proxy) >= 3.0);
    let log = proxy.process.log();
    let mut told = log.lines().filter(|line| line.contains("TLS client is not let in any more"));
    assert!(told.any(|line| line.contains("Revoked") && line.contains(r#"who="dns:app.test""#)), "{log}");

    good.goes_on().await;
    serves(&proxy, &eight).await.unwrap();
    serves(&proxy, &nine).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_certificate_that_ends_is_cut_when_it_does() {
    let pki = pki();
    let proxy = Proxy::start(&behind(&own(&pki, &format!(", client_ca: '{}'", pki.path("ca.crt"))), ""));
    // Seconds are what a certificate has: it ends with the third from now.
    let short = client(&pki, "short", |params| end(params, SystemTime::now() + Duration::from_secs(3)));
    let (bad, mut good) =
        (Watching::start(&proxy, &short).await, Watching::start(&proxy, &numbered(&pki, 8)).await);
    let mut http1 = tls::connect(proxy.port(), &short, alpn::HTTP1).await.unwrap();
    bad.refused().await;
    let mut rest = Vec::new();
    wait::guard("the end of HTTP/1.1", http1.read_to_end(&mut rest)).await.expect("in order: it was idle");
    assert_eq!(ended(&proxy), 2.0);
    assert!(proxy.process.log().contains("certificate expired"), "{}", proxy.process.log());
    serves(&proxy, &short).await.expect_err("it has ended");
    good.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_expires_ends_everybody_until_there_is_a_new_one() {
    let pki = pki();
    revoke(&pki, &[], SystemTime::now() + Duration::from_secs(3));
    let proxy = Proxy::start(&behind(&settings(&pki).replace(" }", ", client_auth: optional }"), ""));
    let (eight, nobody) = (numbered(&pki, 8), nobody(&pki));
    let (bad, mut anonymous) =
        (Watching::start(&proxy, &eight).await, Watching::start(&proxy, &nobody).await);
    bad.refused().await;
    serves(&proxy, &eight).await.expect_err("nobody knows whether it was revoked");
    assert!(proxy.process.log().contains("certificate revocation list expired"), "{}", proxy.process.log());
    // Whoever has shown no certificate needs none.
    anonymous.goes_on().await;
    revoke(&pki, &[7], SystemTime::now() + HOUR);
    wait::until_async("it should be let in", || async { serves(&proxy, &eight).await.ok() }).await;
    serves(&proxy, &numbered(&pki, 7)).await.expect_err("it is revoked");
    anonymous.goes_on().await;
}

/// Sends a call that takes its time.
async fn slow(connection: &http2::Connection) -> ResponseFuture {
    let entry = [field(1, b"sleep_ms"), field(2, b"60000")].concat();
    let body = framed(&[field(1, b"echo"), field(3, b"hello"), field(4, &entry)].concat());
    let head = http2::head("/prism.data.v1.DataService/Execute", &[("x-prism-namespace", "slow")]);
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(head, false).unwrap();
    stream.send_data(body, true).unwrap();
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_with_its_connection() {
    let pki = pki();
    revoke(&pki, &[], SystemTime::now() + HOUR);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("slow.sock");
    let plugin = Plugin::start(&socket);
    let sidecar = format!("  - {}\nnamespaces:", Transport::Frames.sidecar("slow", &socket));
    let template = behind(&settings(&pki), "").replace("namespaces:", &sidecar)
        + "  - { name: slow, backend: test, plugin: slow }\n";
    let proxy = Proxy::start(&template);
    wait::until("the plugin should serve", || {
        (proxy.admin().namespace("slow")["state"] == "ready").then_some(())
    });
    let connection = tls::http2(proxy.port(), &numbered(&pki, 7)).await.unwrap();
    let answer = slow(&connection).await;
    let arrived = || async { (plugin.recorder.calls().len() == 1).then_some(()) };
    wait::until_async("the call should arrive", arrived).await;
    let mut http1 = tls::connect(proxy.port(), &numbered(&pki, 7), alpn::HTTP1).await.unwrap();
    let post = b"POST /v1/demo/watch HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\
                 content-type: application/json\r\naccept: text/event-stream\r\n\r\n{}";
    http1.write_all(post).await.unwrap();
    let mut head = [0; 15];
    http1.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    revoke(&pki, &[7], SystemTime::now() + HOUR);
    let answer = wait::guard("the refusal", http2::collect(answer)).await.unwrap();
    assert_eq!(answer.code(), Code::Unauthenticated);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    // HTTP/1.1 has nothing to say it with: the answer breaks off, and cannot be taken for a whole one.
    let mut said = Vec::new();
    let _ = wait::guard("the end of HTTP/1.1", http1.read_to_end(&mut said)).await;
    assert!(!said.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&said));
    for namespace in ["slow", "demo"] {
        let left = || proxy.admin().metric("prism_requests_in_flight", namespace);
        wait::until("nothing should be left of them", || (left() == 0.0).then_some(()));
    }
}

async fn applied(proxy: &Proxy, template: &str) {
    let version = proxy.admin().version();
    proxy.hang_up(template);
    wait::until("it should be applied", || (proxy.admin().version() > version).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_decides_for_open_connections_too() {
    let pki = pki();
    let strangers = Authority::new();
    pki.folder.write("strangers.crt", &strangers.pem());
    let ask =
        |name: &str, more: &str| behind(&own(&pki, &format!(", client_ca: '{}'{more}", pki.path(name))), "");
    let proxy = Proxy::start(&ask("ca.crt", ", client_auth: optional"));
    let (eight, nobody) = (numbered(&pki, 8), nobody(&pki));
    let (known, anonymous) = (Watching::start(&proxy, &eight).await, Watching::start(&proxy, &nobody).await);

    // A certificate is needed now.
    applied(&proxy, &ask("ca.crt", "")).await;
    anonymous.refused().await;
    let mut known = known;
    known.goes_on().await;

    // Of another authority.
    applied(&proxy, &ask("strangers.crt", "")).await;
    known.refused().await;

    // Nobody is asked, so nobody vouches for who was let in by a certificate.
    let stranger = somebody(&pki, pki.folder.identity("stranger", &strangers.identity(&["a.test"], |_| {})));
    let known = Watching::start(&proxy, &stranger).await;
    applied(&proxy, &behind(&own(&pki, ""), "")).await;
    known.refused().await;
    let mut anonymous = Watching::start(&proxy, &nobody).await;
    applied(&proxy, prism_tests::DEMO).await;
    // It is encrypted, and stays so.
    anonymous.goes_on().await;
}

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS with END_STREAM and END_HEADERS, each field a literal (RFC 7541 section 6.2.2).
fn get(stream: u32) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "x"), (":path", "/v1/demo")];
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block = fields.iter().flat_map(|(name, value)| [&[0][..], &text(name), &text(value)].concat());
    frame(1, 5, stream, &block.collect::<Vec<_>>())
}

/// Reads frames up to the first of a kind, and gives its payload; `None` at the end of the connection.
async fn until_frame(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> Option<Vec<u8>> {
    wait::guard("a frame", async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.ok()?;
            if head[3] == kind {
                return Some(payload);
            }
        }
    })
    .await
}

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// The handshake was in time, and what comes after it is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_with_its_first_byte_until_its_certificate_has_ended_gets_nothing() {
    let pki = pki();
    let proxy = Proxy::start(&behind(&own(&pki, &format!(", client_ca: '{}'", pki.path("ca.crt"))), ""));
    let at = SystemTime::now() + Duration::from_secs(2);
    let short = client(&pki, "short", |params| end(params, at));
    let mut http2 = tls::connect(proxy.port(), &short, alpn::HTTP2).await.unwrap();
    let mut http1 = tls::connect(proxy.port(), &short, alpn::HTTP1).await.unwrap();
    let mut unsaid = tls::connect(proxy.port(), &short, alpn::HTTP2).await.unwrap();
    let over = || async { (SystemTime::now() > at + Duration::from_secs(1)).then_some(()) };
    wait::until_async("the certificate should end", over).await;
    let start = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..], &get(1)].concat();
    // Either it is over already, or the call is refused.
    let _ = http2.write_all(&start).await;
    if let Some(answer) = until_frame(&mut http2, HEADERS).await {
        assert_eq!(answer[..5], *b"\x08\x03401", "{answer:x?}");
    }
    let _ = http1.write_all(b"GET /v1/demo HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut said = Vec::new();
    let _ = wait::guard("the end of HTTP/1.1", http1.read_to_end(&mut said)).await;
    assert_eq!(String::from_utf8_lossy(&said), "");
    // Without a first byte there is nothing to refuse, and the time for it is bounded.
    let _ = unsaid.write_all(&start[..10]).await;
    serves(&proxy, &short).await.expect_err("it has ended");
}

/// It may send as if nothing had happened, and never say that it has heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_listen_gets_nothing_more() {
    let pki = pki();
    revoke(&pki, &[], SystemTime::now() + HOUR);
    let proxy = Proxy::start(&behind(&settings(&pki), ""));
    let mut stream = tls::connect(proxy.port(), &numbered(&pki, 7), alpn::HTTP2).await.unwrap();
    let start = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, 0, &[])[..], &get(1)].concat();
    stream.write_all(&start).await.unwrap();
    // RFC 7541 appendix A: 8 is `:status: 200`.
    assert_eq!(until_frame(&mut stream, HEADERS).await.expect("an answer")[0], 0x88);

    revoke(&pki, &[7], SystemTime::now() + HOUR);
    until_frame(&mut stream, GOAWAY).await.expect("a GOAWAY");
    stream.write_all(&get(3)).await.unwrap();
    let answer = until_frame(&mut stream, HEADERS).await.expect("a refusal");
    // `:status` with a value of its own, of three bytes (RFC 7541 section 6.2.2).
    assert_eq!(answer[..5], *b"\x08\x03401", "{answer:x?}");
    while until_frame(&mut stream, GOAWAY).await.is_some() {}
    let open = || proxy.admin().metric("prism_connections_open", "edge");
    wait::until("it should be closed", || (open() == 0.0).then_some(()));
}
