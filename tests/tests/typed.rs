//! Typed calls against plugins that answer in every way there is, clients that compress, and large values.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use prism_proto::{
    kv::v1::{GetRequest, GetResponse, SetRequest},
    plugin::{ExecuteRequest, execute_request::Params},
};
use prism_tests::{
    Proxy, Sidecar, Transport,
    client::{
        curl,
        http2::{self, Answer, Connection},
    },
    memory::Peak,
    over_every_transport,
    plugin::{ANSWER, ANSWER_URL, Plugin},
    wait,
    wire::{claimed, field, framed, messages, varint},
};
use prost::Message;
use std::io::Write;
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt;

over_every_transport! {
    answers_are_what_they_say_or_no_success
    answers_cut_at_every_byte_are_no_success
    what_clients_compress_reaches_the_plugin_as_it_was
    a_bomb_is_refused_in_little_memory
    large_values_pass_in_little_memory
    a_typed_call_that_is_nobodys_is_refused
}

const NAMESPACE: (&str, &str) = ("x-prism-namespace", "test");
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";

struct Scene {
    plugin: Plugin,
    proxy: Proxy,
    _folder: TempDir,
}

fn template(transport: Transport, socket: &std::path::Path) -> String {
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners: [{{ name: edge, address: '127.0.0.1:@listen@' }}]
plugins: [{}]
namespaces: [{{ name: test, backend: test, plugin: test, limits: {{ max_message_bytes: 32MiB }} }}]
",
        transport.sidecar("test", socket)
    )
}

async fn scene(transport: Transport) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("plugin.sock");
    let plugin = Plugin::start(&socket);
    let proxy = Proxy::start(&template(transport, &socket));
    let scene = Scene { plugin, proxy, _folder: folder };
    let connection = http2::connect(scene.proxy.port()).await;
    wait::until_async("the plugin should serve", || async {
        let answer = execute(&connection, &[], framed(&echo(b"hello"))).await;
        (answer.code() == Code::Ok).then_some(())
    })
    .await;
    scene
}

fn echo(value: &[u8]) -> Vec<u8> {
    [field(1, b"echo"), field(3, value)].concat()
}

async fn execute(connection: &Connection, headers: &[(&str, &str)], body: Bytes) -> Answer {
    let headers: Vec<_> = [NAMESPACE].iter().chain(headers).copied().collect();
    connection.call(http2::head(EXECUTE, &headers), body).await.unwrap()
}

async fn typed(connection: &Connection, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
    let headers: Vec<_> = [NAMESPACE].iter().chain(headers).copied().collect();
    connection.call(http2::head(&format!("/{path}"), &headers), body).await.unwrap()
}

/// What the client gets when the plugin answers so.
async fn answered(connection: &Connection, reply: &[u8]) -> Answer {
    typed(connection, ANSWER, &[], framed(reply)).await
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn any(url: &str, value: &[u8]) -> Vec<u8> {
    [field(1, url.as_bytes()), field(2, value)].concat()
}

fn reason(status: &Status) -> Option<String> {
    status.get_error_details().error_info().map(|info| info.reason.clone())
}

async fn answers_are_what_they_say_or_no_success(transport: Transport) {
    let scene = scene(transport).await;
    let connection = http2::connect(scene.proxy.port()).await;
    // Small enough to come in one piece, and so large that it is on its way before its end is here.
    for size in [0, 10, 100_000] {
        let value = vec![7; size];
        let (success, result) = (number(1, 1), field(4, &any(ANSWER_URL, &value)));
        let metrics = field(6, &[8, 9]);
        let parts = [&success, &result, &metrics];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let answer = answered(&connection, &framed(&order.map(|at| parts[at].clone()).concat())).await;
            assert_eq!(answer.code(), Code::Ok, "{order:?} {size}");
            assert_eq!(messages(&answer.body), [&value[..]], "{order:?}");
        }
        let reversed = field(4, &[field(2, &value), field(1, ANSWER_URL.as_bytes())].concat());
        let answer = answered(&connection, &framed(&[success.clone(), reversed].concat())).await;
        assert_eq!((answer.code(), messages(&answer.body)), (Code::Ok, vec![&value[..]]));

        let twice = [any(ANSWER_URL, &value), field(2, b"other")].concat();
        let operation = |code| (code, Some("OPERATION_FAILED"));
        let protocol = (Code::Internal, Some("PLUGIN_PROTOCOL"));
        for (name, message, (code, why)) in [
            ("nothing", vec![], operation(Code::Unknown)),
            ("success = false", number(1, 0), operation(Code::Unknown)),
            ("a result alone", result.clone(), operation(Code::Unknown)),
            ("false with a result", [number(1, 0), result.clone()].concat(), operation(Code::Unknown)),
            ("a failure", [field(2, b"no"), number(3, 5)].concat(), operation(Code::NotFound)),
            (
                "a failure after a result",
                [result.clone(), field(2, b"no"), number(3, 5)].concat(),
                operation(Code::NotFound),
            ),
            ("code 0", [field(2, b"no"), number(3, 0)].concat(), operation(Code::Unknown)),
            ("code 17", [field(2, b"no"), number(3, 17)].concat(), operation(Code::Unknown)),
            ("a negative code", [field(2, b"no"), number(3, u64::MAX)].concat(), operation(Code::Unknown)),
            ("success without a result", success.clone(), protocol),
            ("a raw result", [success.clone(), field(5, &value)].concat(), protocol),
            (
                "another type",
                [success.clone(), field(4, &any("type.googleapis.com/test.v1.Other", &value))].concat(),
                protocol,
            ),
            ("no type", [success.clone(), field(4, &field(2, &value))].concat(), protocol),
            ("success twice", [success.clone(), success.clone(), result.clone()].concat(), protocol),
            (
                "success twice, after it",
                [success.clone(), result.clone(), success.clone()].concat(),
                protocol,
            ),
            ("false after it", [success.clone(), result.clone(), number(1, 0)].concat(), protocol),
            ("two results", [success.clone(), result.clone(), result.clone()].concat(), protocol),
            ("a raw one too", [success.clone(), result.clone(), field(5, b"raw")].concat(), protocol),
            ("an error after it", [success.clone(), result.clone(), field(2, b"no")].concat(), protocol),
            ("a code after it", [success.clone(), result.clone(), number(3, 5)].concat(), protocol),
            ("a code before it", [success.clone(), number(3, 5), result.clone()].concat(), protocol),
            ("two values", [success.clone(), field(4, &twice)].concat(), protocol),
            ("half a field after it", [success.clone(), result.clone(), vec![0xff]].concat(), protocol),
        ] {
            let status = answered(&connection, &framed(&message)).await.grpc();
            assert_eq!(
                (status.code(), reason(&status).as_deref()),
                (code, why),
                "{name}, {size}: {status:?}"
            );
            assert!(!status.message().is_empty());
        }
        // A result that is not there is an empty message.
        let absent = [success.clone(), field(4, &field(1, ANSWER_URL.as_bytes()))].concat();
        let answer = answered(&connection, &framed(&absent)).await;
        assert_eq!((answer.code(), messages(&answer.body)), (Code::Ok, vec![&b""[..]]));
        // Two messages are not one.
        let two = framed(&[success.clone(), result.clone()].concat()).repeat(2);
        assert_eq!(answered(&connection, &two).await.code(), Code::Internal);
    }
    let large = [number(1, 1), field(4, &any(ANSWER_URL, &vec![0; 32 << 20]))].concat();
    let length = u32::try_from(large.len()).unwrap();
    // More than the namespace's limit: known from the prefix, of which nothing more needs to come.
    let status = answered(&connection, &claimed(0, length, &large[..200_000])).await.grpc();
    assert_ne!(status.code(), Code::Ok, "{status:?}");
    let status = answered(&connection, &claimed(1, 3, b"abc")).await.grpc();
    assert_eq!(
        (status.code(), reason(&status).as_deref()),
        (Code::Internal, Some("PLUGIN_PROTOCOL")),
        "{status:?}"
    );
}

async fn answers_cut_at_every_byte_are_no_success(transport: Transport) {
    let scene = scene(transport).await;
    let connection = http2::connect(scene.proxy.port()).await;
    let whole = framed(&[number(1, 1), field(4, &any(ANSWER_URL, &[9; 150])), field(6, &[8, 1])].concat());
    assert_eq!(answered(&connection, &whole).await.code(), Code::Ok);
    for end in 0..whole.len() {
        let status = answered(&connection, &whole[..end]).await.grpc();
        assert_eq!(status.code(), Code::Internal, "cut at {end}: {status:?}");
    }
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn compressed(message: &[u8]) -> Bytes {
    let deflated = gzip(message);
    claimed(1, u32::try_from(deflated.len()).unwrap(), &deflated)
}

async fn what_clients_compress_reaches_the_plugin_as_it_was(transport: Transport) {
    let scene = scene(transport).await;
    let connection = http2::connect(scene.proxy.port()).await;
    let encoding = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    for size in [0, 100, 300_000] {
        scene.plugin.recorder.clear();
        let message = echo(&vec![7; size]);
        let answer = execute(&connection, &encoding, compressed(&message)).await;
        assert_eq!(answer.code(), Code::Ok);
        assert!(!answer.headers.contains_key("grpc-encoding"));
        let [call] = &scene.plugin.recorder.complete()[..] else { panic!("one call") };
        assert!(call.body == framed(&message), "it is not what was compressed");
        assert!(call.header("grpc-encoding").is_empty() && call.header("grpc-accept-encoding").is_empty());

        let reply = framed(&[number(1, 1), field(4, &any(ANSWER_URL, &vec![7; size]))].concat());
        let answer = typed(&connection, ANSWER, &encoding, compressed(&reply)).await;
        assert_eq!((answer.code(), messages(&answer.body)), (Code::Ok, vec![&vec![7; size][..]]));
        let calls = scene.plugin.recorder.complete();
        let request = ExecuteRequest::decode(&calls[1].body[5..]).unwrap();
        assert_eq!(request.operation, "answer");
        assert!(matches!(request.params, Some(Params::TypedParams(any)) if any.value == reply));
    }
}

async fn a_bomb_is_refused_in_little_memory(transport: Transport) {
    let scene = scene(transport).await;
    let connection = http2::connect(scene.proxy.port()).await;
    // A thousand to one, and 128 MiB where 32 are allowed.
    let bomb = compressed(&vec![0; 128 << 20]);
    assert!(bomb.len() < 150_000);
    let peak = Peak::start(&scene.proxy.process);
    let encoding = [("grpc-encoding", "gzip")];
    for _ in 0..3 {
        let status = execute(&connection, &encoding, bomb.clone()).await.grpc();
        assert_eq!(
            (status.code(), reason(&status).as_deref()),
            (Code::ResourceExhausted, Some("MESSAGE_TOO_LARGE"))
        );
        let status = typed(&connection, ANSWER, &encoding, bomb.clone()).await.grpc();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
    let rise = peak.rise();
    println!("{transport:?}: peak memory rose by {} KiB", rise >> 10);
    // What became of one was held to 32 MiB; the allocator keeps some of it for the next.
    assert!(rise < 64 << 20, "{rise}");
}

async fn large_values_pass_in_little_memory(transport: Transport) {
    const SIZE: usize = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memory.sock");
    let _sidecar = Sidecar::memory(&socket);
    let proxy = Proxy::start(&template(transport, &socket));
    let connection = http2::connect(proxy.port()).await;
    let call = |method: &str, body: Vec<u8>| {
        let (connection, method) = (&connection, format!("prism.kv.v1.KeyValueService/{method}"));
        async move { typed(connection, &method, &[], framed(&body)).await }
    };
    wait::until_async("the plugin should serve", || async {
        let answer =
            call("Get", GetRequest { key: "key".into(), ..Default::default() }.encode_to_vec()).await;
        (answer.code() == Code::Ok).then_some(())
    })
    .await;
    let value: Bytes = (0..SIZE).map(|at| (at / 7 + at / 4096).to_le_bytes()[0]).collect::<Vec<_>>().into();
    let peak = Peak::start(&proxy.process);
    for _ in 0..3 {
        let set = SetRequest { key: "large".into(), value: value.clone(), ..Default::default() };
        assert_eq!(call("Set", set.encode_to_vec()).await.code(), Code::Ok);
        let answer =
            call("Get", GetRequest { key: "large".into(), ..Default::default() }.encode_to_vec()).await;
        assert_eq!(answer.code(), Code::Ok);
        let [message] = messages(&answer.body)[..] else { panic!("one message") };
        let found = GetResponse::decode(message).unwrap();
        assert!(found.found && found.value == value, "the value changed on its way");
    }
    let rise = peak.rise();
    println!("{transport:?}: peak memory rose by {} KiB", rise >> 10);
    // Windows and what they hold, and far less than a value.
    assert!(rise < 8 << 20, "{rise}");
}

async fn a_typed_call_that_is_nobodys_is_refused(transport: Transport) {
    let scene = scene(transport).await;
    let connection = http2::connect(scene.proxy.port()).await;
    scene.plugin.recorder.clear();
    let known = "/prism.kv.v1.KeyValueService/Get";
    for (path, namespace, code, why) in [
        (known, None, Code::NotFound, "MISSING_NAMESPACE"),
        (known, Some("nobody"), Code::NotFound, "UNKNOWN_NAMESPACE"),
        // Another plugin has it.
        (known, Some("test"), Code::Unimplemented, "UNKNOWN_OPERATION"),
        ("/test.v1.Test/Answer", None, Code::Unimplemented, "NO_ROUTE"),
        ("/test.v1.Test/answer", Some("test"), Code::Unimplemented, "UNKNOWN_OPERATION"),
        ("/test.v1.Test/Answer/", Some("test"), Code::Unimplemented, "UNKNOWN_OPERATION"),
        ("//test.v1.Test/Answer", Some("test"), Code::Unimplemented, "UNKNOWN_OPERATION"),
        ("/test.v1.Test/%41nswer", Some("test"), Code::Unimplemented, "UNKNOWN_OPERATION"),
        ("/prism.plugin.BackendPlugin/Execute", Some("test"), Code::Unimplemented, "NO_ROUTE"),
        ("/prism.admin.v1.Admin/Drain", Some("test"), Code::Unimplemented, "NO_ROUTE"),
        ("/grpc.Anything/At", Some("test"), Code::Unimplemented, "NO_ROUTE"),
    ] {
        let headers: Vec<_> = namespace.map(|name| ("x-prism-namespace", name)).into_iter().collect();
        let answer = connection.call(http2::head(path, &headers), framed(b"")).await.unwrap();
        let status = answer.grpc();
        assert_eq!(
            (status.code(), reason(&status).as_deref()),
            (code, Some(why)),
            "{path} {namespace:?}: {status:?}"
        );
    }
    // What is no gRPC is told so where there is such a method, whosever it is; and nothing of a path that is nobody's.
    for (version, kind, path, status, why) in [
        ("--http1.1", "application/grpc", known, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("--http1.1", "application/json", known, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("--http1.1", "application/grpc", "/test.v1.Test/Answer", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (
            "--http2-prior-knowledge",
            "application/grpc-web",
            "/test.v1.Test/Answer",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            "--http2-prior-knowledge",
            "application/json",
            "/test.v1.Test/Answer",
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        ("--http1.1", "application/json", "/test.v1.Test/Fly", 404, "NO_ROUTE"),
        ("--http1.1", "application/grpc", "/prism.plugin.BackendPlugin/Execute", 404, "NO_ROUTE"),
        ("--http1.1", "application/grpc", "/prism.kv.v1.KeyValueService/Fly", 404, "NO_ROUTE"),
    ] {
        let kind = format!("content-type: {kind}");
        let url = scene.proxy.url(path);
        let call = [version, "-d", "x", "-H", &kind, "-H", "x-prism-namespace: test", &url];
        let answer = curl::run(&call).expect(status);
        assert_eq!(answer.json()["reason"], why, "{version} {kind} {path}");
    }
    assert!(scene.plugin.recorder.calls().is_empty(), "none of them reached the plugin");
}
