//! Messages that lie, namespaces that are not there, headers that claim: each is refused with a precise
//! error, and a plugin that records everything shows that none of it arrived.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use prism_tests::{
    Proxy, Transport,
    client::{
        curl,
        grpc::reason,
        http2::{self, Answer, Connection},
    },
    over_every_transport,
    plugin::Plugin,
    wire::{claimed, claimed_field, field, framed, varint},
};
use tempfile::TempDir;
use tonic::Code;

const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const STREAM: &str = "/prism.data.v1.DataService/ExecuteStream";
const NAMESPACE: (&str, &str) = ("x-prism-namespace", "victim");

over_every_transport! {
    no_lie_reaches_the_plugin
    small_lies_do_not_even_open_a_call
    a_compressed_message_says_what_is_understood
    namespaces_are_named_once_and_exist
    the_plugin_protocol_is_not_reachable
    a_stream_keeps_its_operation
    a_client_cannot_speak_for_the_proxy
    nor_can_one_over_http1
}

struct Scene {
    plugin: Plugin,
    proxy: Proxy,
    _folder: TempDir,
}

fn scene(transport: Transport) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("plugin.sock");
    let plugin = Plugin::start(&socket);
    let proxy = Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - {{ name: edge, address: '127.0.0.1:@listen@' }}
plugins:
  - {}
namespaces:
  - {{ name: victim, backend: test, plugin: recorder }}
",
        transport.sidecar("recorder", &socket)
    ));
    Scene { plugin, proxy, _folder: folder }
}

/// A whole `ExecuteRequest` of the plugin's `echo`.
fn echo() -> Vec<u8> {
    [field(1, b"echo"), field(3, b"hello")].concat()
}

async fn execute(connection: &Connection, body: Bytes) -> Answer {
    connection.call(http2::head(EXECUTE, &[NAMESPACE]), body).await.expect("an answer, not a reset")
}

fn refused(name: &str, answer: &Answer, code: Code, why: &str) {
    let status = answer.grpc();
    assert_eq!((status.code(), reason(&status).as_deref()), (code, Some(why)), "{name}: {status:?}");
    assert!(!status.message().is_empty(), "{name}");
}

/// Every message that a plugin must never see, and what the client is told.
fn lies() -> Vec<(&'static str, Bytes, Code, &'static str)> {
    let malformed =
        |name, message: Vec<u8>| (name, framed(&message), Code::InvalidArgument, "MALFORMED_MESSAGE");
    let large = vec![b'x'; 1 << 20];
    let hidden = vec![b'x'; 66 << 10];
    vec![
        malformed("two operations", [echo(), field(1, b"sink")].concat()),
        malformed("the same operation twice", [echo(), field(1, b"echo")].concat()),
        malformed(
            "a second operation behind a large payload",
            [field(1, b"echo"), field(3, &large), field(1, b"sink")].concat(),
        ),
        malformed("an operation hidden behind a payload", [field(3, &hidden), field(1, b"echo")].concat()),
        malformed(
            "an operation hidden behind an unknown field",
            [field(99, &hidden), field(1, b"echo")].concat(),
        ),
        malformed("raw parameters twice", [echo(), field(3, b"again")].concat()),
        malformed(
            "a field longer than its message",
            [field(1, b"echo"), claimed_field(3, 100, b"short")].concat(),
        ),
        malformed("an operation longer than its message", claimed_field(1, 100, b"echo")),
        malformed("a field of 2^63 bytes", [field(1, b"echo"), claimed_field(3, 1 << 63, b"")].concat()),
        malformed("a tag that never ends", [field(1, b"echo"), vec![0xff; 12]].concat()),
        malformed("a tag cut short", [field(1, b"echo"), vec![0x80]].concat()),
        malformed("field number 0", [field(1, b"echo"), varint(2), varint(0)].concat()),
        malformed("wire type 6", [field(1, b"echo"), varint(5 << 3 | 6)].concat()),
        malformed("an unopened group's end", [field(1, b"echo"), varint(5 << 3 | 4)].concat()),
        malformed("an operation that is a number", [varint(1 << 3), varint(7)].concat()),
        malformed("an operation that is no text", field(1, &[0xff, 0xfe])),
        ("no operation", framed(&field(3, b"hello")), Code::InvalidArgument, "MISSING_OPERATION"),
        ("an empty operation", framed(&field(1, b"")), Code::InvalidArgument, "MISSING_OPERATION"),
        ("an empty message", framed(b""), Code::InvalidArgument, "MISSING_OPERATION"),
        ("no message", Bytes::new(), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        ("half a prefix", Bytes::from_static(&[0, 0, 0]), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        ("a prefix that says more", claimed(0, 1000, &echo()), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        ("a prefix that says less", claimed(0, 6, &echo()), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        (
            "two messages",
            [framed(&echo()), framed(&echo())].concat().into(),
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
        ),
        ("a prefix of 4 GiB", claimed(0, u32::MAX, &echo()), Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (
            "a prefix above the limit",
            claimed(0, (4 << 20) + 1, &echo()),
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
        ),
        ("a compressed message", claimed(1, 13, &echo()), Code::Unimplemented, "COMPRESSED_MESSAGE"),
        ("a flag that is none", claimed(2, 13, &echo()), Code::InvalidArgument, "MALFORMED_MESSAGE"),
        ("an unknown operation", framed(&field(1, b"fly")), Code::Unimplemented, "UNKNOWN_OPERATION"),
        ("a stream's operation", framed(&field(1, b"echo_stream")), Code::Unimplemented, "WRONG_METHOD"),
    ]
}

async fn no_lie_reaches_the_plugin(transport: Transport) {
    let scene = scene(transport);
    let connection = http2::connect(scene.proxy.port()).await;
    let mut wrong = Vec::new();
    for (name, body, code, why) in lies() {
        let status = execute(&connection, body).await.grpc();
        if (status.code(), reason(&status).as_deref()) != (code, Some(why)) {
            wrong.push(format!("{name}: {:?}, {:?}: {}", status.code(), reason(&status), status.message()));
        }
        assert!(scene.plugin.recorder.complete().is_empty(), "{name} reached the plugin");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The same connection still serves, and the recorder does record.
    let answer = execute(&connection, framed(&echo())).await;
    assert_eq!(answer.code(), Code::Ok);
    let calls = scene.plugin.recorder.complete();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].operation(), "echo");
}

async fn small_lies_do_not_even_open_a_call(transport: Transport) {
    let scene = scene(transport);
    let connection = http2::connect(scene.proxy.port()).await;
    for (name, body, ..) in lies().into_iter().filter(|(_, body, ..)| body.len() < 4096) {
        let _ = execute(&connection, body).await;
        assert!(scene.plugin.recorder.calls().is_empty(), "{name} reached the plugin in part");
    }
}

async fn a_compressed_message_says_what_is_understood(transport: Transport) {
    let scene = scene(transport);
    let connection = http2::connect(scene.proxy.port()).await;
    let head = http2::head(EXECUTE, &[NAMESPACE, ("grpc-encoding", "deflate")]);
    let answer = connection.call(head, claimed(1, 13, &echo())).await.unwrap();
    refused("compressed", &answer, Code::Unimplemented, "COMPRESSED_MESSAGE");
    assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip");
    // What says gzip and is none.
    let head = http2::head(EXECUTE, &[NAMESPACE, ("grpc-encoding", "gzip")]);
    let answer = connection.call(head, claimed(1, 13, &echo())).await.unwrap();
    refused("not gzip", &answer, Code::InvalidArgument, "MALFORMED_MESSAGE");
    assert!(scene.plugin.recorder.calls().is_empty());
}

async fn namespaces_are_named_once_and_exist(transport: Transport) {
    let scene = scene(transport);
    let connection = http2::connect(scene.proxy.port()).await;
    let cases: [(&str, &[&str], Code, &str); 9] = [
        ("none", &[], Code::NotFound, "MISSING_NAMESPACE"),
        ("unknown", &["nobody"], Code::NotFound, "UNKNOWN_NAMESPACE"),
        ("twice the same", &["victim", "victim"], Code::InvalidArgument, "INVALID_NAMESPACE"),
        ("two", &["victim", "nobody"], Code::InvalidArgument, "INVALID_NAMESPACE"),
        ("a list", &["victim, nobody"], Code::InvalidArgument, "INVALID_NAMESPACE"),
        ("capitals", &["Victim"], Code::InvalidArgument, "INVALID_NAMESPACE"),
        ("empty", &[""], Code::InvalidArgument, "INVALID_NAMESPACE"),
        ("a path", &["../victim"], Code::InvalidArgument, "INVALID_NAMESPACE"),
        (
            "64 letters",
            &["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
            Code::InvalidArgument,
            "INVALID_NAMESPACE",
        ),
    ];
    for (name, namespaces, code, why) in cases {
        let headers: Vec<(&str, &str)> = namespaces.iter().map(|value| (NAMESPACE.0, *value)).collect();
        let answer = connection.call(http2::head(EXECUTE, &headers), framed(&echo())).await.unwrap();
        refused(name, &answer, code, why);
    }
    assert!(scene.plugin.recorder.calls().is_empty());
}

async fn the_plugin_protocol_is_not_reachable(transport: Transport) {
    let scene = scene(transport);
    let connection = http2::connect(scene.proxy.port()).await;
    for method in
        ["Describe", "Initialize", "HealthCheck", "Execute", "ExecuteStream", "GetMetrics", "Shutdown"]
    {
        let path = format!("/prism.plugin.BackendPlugin/{method}");
        let answer = connection.call(http2::head(&path, &[NAMESPACE]), framed(&echo())).await.unwrap();
        refused(method, &answer, Code::Unimplemented, "NO_ROUTE");
    }
    let answer =
        connection.call(http2::head("/nobody.Service/Call", &[NAMESPACE]), framed(&echo())).await.unwrap();
    refused("a service of nobody's", &answer, Code::Unimplemented, "UNKNOWN_OPERATION");
    assert!(scene.plugin.recorder.calls().is_empty());
}

async fn a_stream_keeps_its_operation(transport: Transport) {
    let scene = scene(transport);
    let connection = http2::connect(scene.proxy.port()).await;
    let first = framed(&[field(1, b"echo_stream"), field(3, b"one")].concat());
    let unnamed = framed(&field(3, b"two"));
    let other = framed(&[field(1, b"sink"), field(3, b"three")].concat());
    let honest = [first.clone(), unnamed.clone()].concat();
    let lying = [first, unnamed, other].concat();

    let answer = connection.call(http2::head(STREAM, &[NAMESPACE]), lying.into()).await.unwrap();
    refused("another operation", &answer, Code::InvalidArgument, "OPERATION_CHANGED");
    let unary = framed(&echo());
    let answer = connection.call(http2::head(STREAM, &[NAMESPACE]), unary).await.unwrap();
    refused("a unary operation", &answer, Code::Unimplemented, "WRONG_METHOD");
    assert!(scene.plugin.recorder.complete().is_empty());

    let answer = connection.call(http2::head(STREAM, &[NAMESPACE]), honest.into()).await.unwrap();
    assert_eq!(answer.code(), Code::Ok);
    assert_eq!(scene.plugin.recorder.complete().len(), 1);
}

async fn a_client_cannot_speak_for_the_proxy(transport: Transport) {
    let scene = scene(transport);
    let connection = http2::connect(scene.proxy.port()).await;
    let head = http2::head(
        EXECUTE,
        &[
            NAMESPACE,
            ("x-prism-principal", "spiffe://example.org/admin"),
            ("x-prism-principal", "spiffe://example.org/root"),
            ("x-prism-instance", "1"),
            ("x-prism-anything", "at all"),
            ("x-prism-", "nothing"),
        ],
    );
    let mut trailers = HeaderMap::new();
    trailers.append("x-prism-principal", HeaderValue::from_static("spiffe://example.org/admin"));
    trailers.append("x-prism-namespace", HeaderValue::from_static("other"));
    let answer = connection.call_with_trailers(head, framed(&echo()), Some(trailers)).await.unwrap();
    assert_eq!(answer.code(), Code::Ok);

    let calls = scene.plugin.recorder.complete();
    assert_eq!(calls.len(), 1);
    untouched(&calls[0]);
}

async fn nor_can_one_over_http1(transport: Transport) {
    let scene = scene(transport);
    let url = scene.proxy.url("/v1/victim/echo?x-prism-principal=me");
    let answer = curl::run(&[
        "--http1.1",
        "-d",
        "hello",
        "-H",
        "content-type: application/octet-stream",
        "-H",
        "X-Prism-Principal: spiffe://example.org/admin",
        "-H",
        "x-PRISM-principal: spiffe://example.org/root",
        "-H",
        "X-PRISM-INSTANCE: 1",
        "-H",
        "Connection: x-prism-namespace, x-prism-instance",
        "-H",
        "X-Prism-Anything: at all",
        &url,
    ])
    .expect(200);
    assert_eq!(answer.text(), "hello");
    let calls = scene.plugin.recorder.complete();
    assert_eq!(calls.len(), 1);
    untouched(&calls[0]);
}

/// The call carries what the proxy vouches for, and nothing that the client claimed.
fn untouched(call: &prism_tests::plugin::Call) {
    assert_eq!(call.header("x-prism-namespace"), ["victim"]);
    assert_eq!(call.header("x-prism-principal"), [""; 0]);
    let instance = call.header("x-prism-instance");
    assert_eq!(instance.len(), 1, "{instance:?}");
    assert_ne!(instance, ["1"]);
    assert_eq!(call.header("x-request-id").len(), 1);
    let own = ["x-prism-namespace", "x-prism-instance"];
    let named: Vec<&str> = call.headers.keys().map(http::HeaderName::as_str).collect();
    let strange: Vec<&&str> =
        named.iter().filter(|name| name.starts_with("x-prism") && !own.contains(name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(call.trailers.is_empty(), "{:?}", call.trailers);
}
