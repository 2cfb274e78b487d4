//! A forward route hides nothing of gRPC: the gRPC project's own interoperability tests, with its client and its server,
//! and compression, of which they have no case.

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use h2::server;
use http::{HeaderMap, Response, request::Parts};
use prism_tests::{
    Process, Proxy,
    client::http2::{self, Answer},
    tools, wait,
};
use std::{collections::BTreeSet, io::Write, process::Command};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Receiver},
};

/// What the client meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listener {
    Clear,
    Tls,
}

/// A test of each case over each listener: `clear::NAME` and `tls::NAME`.
macro_rules! cases {
    ($($name:ident)*) => {
        const CASES: &[&str] = &[$(stringify!($name)),*];
        mod clear {
            $(#[test]
            fn $name() {
                super::passes(stringify!($name), super::Listener::Clear);
            })*
        }
        mod tls {
            $(#[test]
            fn $name() {
                super::passes(stringify!($name), super::Listener::Tls);
            })*
        }
    };
}

cases! {
    empty_unary
    large_unary
    client_streaming
    server_streaming
    ping_pong
    empty_stream
    timeout_on_sleeping_server
    cancel_after_begin
    cancel_after_first_response
    status_code_and_message
    special_status_message
    custom_metadata
    unimplemented_method
    unimplemented_service
    orca_per_rpc
    orca_oob
    rpc_soak
    channel_soak
}

/// Cases that the client's list of its cases does not mention.
const UNLISTED: [&str; 2] = ["rpc_soak", "channel_soak"];

/// Cases that are not about what lies between client and server.
const LEFT_OUT: [&str; 7] = [
    // Of an account in Google's cloud.
    "compute_engine_creds",
    "service_account_creds",
    "jwt_token_creds",
    "per_rpc_creds",
    "oauth2_auth_token",
    "google_default_credentials",
    "compute_engine_channel_credentials",
];

/// A case that this server fails without a proxy too: it does not say its name.
const BROKEN: &str = "pick_first_unary";

/// What else the client is told for a case.
fn arguments(case: &str) -> &'static [&'static str] {
    match case {
        // The bounds are there against a hang: how long a call takes is not what is tested.
        "rpc_soak" | "channel_soak" => &[
            "-soak_iterations=100",
            "-soak_num_threads=4",
            "-soak_per_iteration_max_acceptable_latency_ms=50000",
            "-soak_overall_timeout_seconds=50",
        ],
        // The balancer that gives the load reports to the case.
        "orca_per_rpc" | "orca_oob" => &[
            "-service_config_json",
            r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#,
        ],
        _ => &[],
    }
}

/// The gRPC project's server. It says where it listens only in its log.
fn interop_server(folder: &TempDir) -> (Process, u16) {
    let mut command = Command::new(tools::interop("server"));
    command.args(["-port", "0"]).env("GRPC_GO_LOG_SEVERITY_LEVEL", "info");
    let mut server = Process::spawn("the interop server", &mut command, &folder.path().join("server.log"));
    let port = wait::until("the interop server should listen", || {
        let log = server.log();
        assert!(server.ended().is_none(), "the interop server ended:\n{log}");
        let line = log.lines().find(|line| line.contains("interop server listening on"))?.to_owned();
        // The whole line, not as much of it as has been written.
        log.contains(&format!("{line}\n")).then(|| line.rsplit_once(':').unwrap().1.parse().unwrap())
    });
    (server, port)
}

/// A proxy that forwards the calls of these services to a server in clear.
fn forward(listener: Listener, services: &[&str], port: u16) -> Proxy {
    let tls = match listener {
        Listener::Clear => String::new(),
        Listener::Tls => {
            let folder = tools::interop_certificates();
            let file = |name: &str| folder.join(name).display().to_string();
            format!("      - tls: {{ cert: '{}', key: '{}' }}\n", file("server1.pem"), file("server1.key"))
        }
    };
    let route = |service: &&str| {
        format!(
            "      - {{ match: {{ grpc: {{ service: {service} }} }}, forward: true, \
             targets: [{{ address: '127.0.0.1:{port}' }}] }}\n"
        )
    };
    let routes: String = services.iter().map(route).collect();
    Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
{tls}      - trace: {{}}
      - plugin_dispatch: {{}}
    routes:
{routes}"
    ))
}

/// What the gRPC project's client says of a case on this port, if it does not pass.
fn failure(case: &str, listener: Listener, port: u16) -> Option<String> {
    let mut command = Command::new(tools::tool("timeout"));
    command.arg("60").arg(tools::interop("client"));
    command.args(["-server_host=127.0.0.1", &format!("-server_port={port}"), &format!("-test_case={case}")]);
    if listener == Listener::Tls {
        command.args(["-use_tls", "-use_test_ca", "-server_host_override=foo.test.google.fr"]);
    }
    command.args(arguments(case)).env("GRPC_GO_LOG_SEVERITY_LEVEL", "info").env("no_proxy", "*");
    let output = tools::output(&mut command);
    (!output.status.success())
        .then(|| format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// A case passes through the proxy. If not, the server alone is asked whose fault it is.
fn passes(case: &str, listener: Listener) {
    let folder = tempfile::tempdir().unwrap();
    let (server, port) = interop_server(&folder);
    // The case `unimplemented_service` is about a service that no route takes.
    let services = ["grpc.testing.TestService", "xds.service.orca.v3.OpenRcaService"];
    let proxy = forward(listener, &services, port);
    if let Some(why) = failure(case, listener, proxy.port()) {
        let alone = match failure(case, Listener::Clear, port) {
            None => "without the proxy it passes".to_owned(),
            Some(why) => format!("without the proxy it fails too: {why}"),
        };
        panic!("{case} fails through the proxy ({listener:?}): {why}\n{alone}\n{}", server.log());
    }
}

/// A newer client's new cases are run, or left out with a reason.
#[test]
fn every_case_that_the_client_knows_is_run_or_left_out() {
    let help = tools::output(Command::new(tools::interop("client")).arg("-help"));
    let help = String::from_utf8(help.stderr).unwrap();
    let list = help.split("Valid options are:").nth(1).unwrap();
    let list = list.split("  -use_alts").next().unwrap();
    let listed: BTreeSet<&str> =
        list.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    let known = CASES.iter().chain(&LEFT_OUT).chain([&BROKEN]);
    let expected: BTreeSet<&str> = known.copied().filter(|case| !UNLISTED.contains(case)).collect();
    assert_eq!(listed, expected);
}

/// Without this, every case above could be one that nothing fails.
#[test]
fn a_case_that_is_not_served_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, port) = interop_server(&folder);
    let proxy = forward(Listener::Clear, &["grpc.testing.Nobody"], port);
    let why = failure("empty_unary", Listener::Clear, proxy.port()).expect("nothing takes its calls");
    assert!(why.contains("Unimplemented"), "{why}");
    let proxy = forward(Listener::Tls, &["grpc.testing.TestService"], port);
    for listener in [Listener::Clear, Listener::Tls] {
        let failed = failure("empty_unary", listener, proxy.port());
        assert_eq!(failed.is_some(), listener == Listener::Clear, "{listener:?}: {failed:?}");
    }
}

/// A service's answer: headers, messages and trailers, or no messages and a status in the headers alone.
#[derive(Debug, Clone)]
struct Reply {
    headers: &'static [(&'static str, &'static str)],
    body: Option<Bytes>,
}

/// A service that answers every call alike, and tells what came.
async fn service(reply: Reply) -> (u16, Receiver<(Parts, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, seen) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (reply, came) = (reply.clone(), came.clone());
            tokio::spawn(async move {
                let mut connection = server::handshake(socket).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(serve(request, respond, reply.clone(), came.clone()));
                }
            });
        }
    });
    (port, seen)
}

async fn serve(
    request: http::Request<h2::RecvStream>,
    mut respond: server::SendResponse<Bytes>,
    reply: Reply,
    came: mpsc::Sender<(Parts, Vec<u8>)>,
) {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = http2::next(&mut stream).await.unwrap() {
        body.extend_from_slice(&piece);
    }
    came.send((head, body)).await.unwrap();
    let mut response = Response::builder().header("content-type", "application/grpc");
    for (name, value) in reply.headers {
        response = response.header(*name, *value);
    }
    let mut stream = respond.send_response(response.body(()).unwrap(), reply.body.is_none()).unwrap();
    if let Some(body) = reply.body {
        http2::send_all(&mut stream, body, false).await.unwrap();
        stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())])).unwrap();
    }
}

/// Messages as gRPC frames them, each with its flag.
fn framed(messages: &[(u8, &[u8])]) -> Bytes {
    let mut body = BytesMut::new();
    for (flag, message) in messages {
        body.put_u8(*flag);
        body.put_u32(message.len().try_into().unwrap());
        body.put_slice(message);
    }
    body.freeze()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that nothing compresses, several windows of them.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(300_000)
    .collect()
}

/// A call through the proxy: what came to the service, and what came back.
async fn call(headers: &[(&str, &str)], body: Bytes, reply: Reply) -> (Parts, Vec<u8>, Answer) {
    let (port, mut seen) = service(reply).await;
    let proxy = tokio::task::spawn_blocking(move || forward(Listener::Clear, &["a.Service"], port));
    let proxy = proxy.await.unwrap();
    let connection = http2::connect(proxy.port()).await;
    let answer = connection.call(http2::head("/a.Service/Call", headers), body).await.unwrap();
    let (head, body) = wait::guard("a call at the service", seen.recv()).await.unwrap();
    (head, body, answer)
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_pass_as_they_are_both_ways() {
    let (asked, answered) = (gzip(b"what is asked"), gzip(&noise()));
    // A message of a compressed call need not be compressed; nothing says how long an empty one is.
    let sent = framed(&[(1, &asked), (0, b"as it is"), (1, &gzip(&noise())), (1, &gzip(b""))]);
    let returned = framed(&[(1, &answered), (0, b""), (1, &gzip(b"the last"))]);
    let reply = Reply {
        headers: &[("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")],
        body: Some(returned.clone()),
    };
    let headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip,deflate,identity")];
    let (head, body, answer) = call(&headers, sent.clone(), reply).await;
    assert_eq!(values(&head.headers, "grpc-encoding"), ["gzip"]);
    assert_eq!(values(&head.headers, "grpc-accept-encoding"), ["gzip,deflate,identity"]);
    assert!(body == sent, "other bytes came: {} of {}", body.len(), sent.len());
    assert_eq!(values(&answer.headers, "grpc-encoding"), ["gzip"]);
    assert_eq!(values(&answer.headers, "grpc-accept-encoding"), ["gzip"]);
    assert!(answer.body == returned, "other bytes came back: {} of {}", answer.body.len(), returned.len());
    assert_eq!(answer.code(), tonic::Code::Ok);
}

/// How a message is compressed is between the two ends; and each way it may be compressed in a way of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_compression_that_the_proxy_has_never_heard_of_passes() {
    let sent = framed(&[(1, b"\xff\x06\x00\x00sNaPpY"), (1, &noise())]);
    let returned = framed(&[(1, b"\0not really brotli")]);
    let reply = Reply { headers: &[("grpc-encoding", "x-br")], body: Some(returned.clone()) };
    let headers = [("grpc-encoding", "snappy"), ("grpc-accept-encoding", "x-br")];
    let (head, body, answer) = call(&headers, sent.clone(), reply).await;
    assert_eq!(values(&head.headers, "grpc-encoding"), ["snappy"]);
    assert_eq!(values(&head.headers, "grpc-accept-encoding"), ["x-br"]);
    assert!(body == sent, "other bytes came: {} of {}", body.len(), sent.len());
    assert_eq!(values(&answer.headers, "grpc-encoding"), ["x-br"]);
    assert!(values(&answer.headers, "grpc-accept-encoding").is_empty(), "{answer:?}");
    assert_eq!((&answer.body[..], answer.code()), (&returned[..], tonic::Code::Ok));
}

/// gRPC's doc/compression.md: "When a message from a client compressed with an unsupported algorithm is processed by a
/// server, it WILL result in an `UNIMPLEMENTED` error status on the server. The server will then include in its response a
/// `grpc-accept-encoding` header specifying the algorithms it does accept."
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_the_compression_is_heard() {
    let sent = framed(&[(1, b"sNaPpY")]);
    let reply = Reply {
        headers: &[("grpc-status", "12"), ("grpc-message", "no"), ("grpc-accept-encoding", "gzip")],
        body: None,
    };
    let (_, body, answer) = call(&[("grpc-encoding", "snappy")], sent.clone(), reply).await;
    assert!(body == sent);
    assert_eq!(values(&answer.headers, "grpc-accept-encoding"), ["gzip"]);
    assert_eq!((answer.code(), answer.grpc().message()), (tonic::Code::Unimplemented, "no"));
}
