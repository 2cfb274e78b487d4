//! gRPC-Web, byte by byte: whatever is called over gRPC, in both of its forms over both versions of HTTP, and everything that
//! is refused.

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use prism_proto::{
    google::protobuf::Any,
    kv::v1::{GetRequest, GetResponse, SetRequest, SetResponse},
    plugin::{ExecuteRequest, ExecuteResponse, execute_request::Params, execute_response},
};
use prism_tests::{
    Proxy, Sidecar, Start,
    client::{
        curl, raw,
        web::{APP, Form, Outcome, VERSIONS, Way, config, readable, ways},
    },
    memory::Peak,
    plugin::Plugin,
    wait,
    wire::{claimed, field, framed},
};
use prost::Message;
use std::io::Write;

const GET: &str = "/prism.kv.v1.KeyValueService/Get";
const SET: &str = "/prism.kv.v1.KeyValueService/Set";
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const NAMESPACE: &str = "x-prism-namespace: demo";

fn set(key: &str, value: &[u8]) -> SetRequest {
    SetRequest { key: key.into(), value: value.to_vec().into(), ..Default::default() }
}

fn get(key: &str) -> GetRequest {
    GetRequest { key: key.into(), ..Default::default() }
}

#[test]
fn every_service_is_called_in_both_forms_over_both_versions() {
    let proxy = Proxy::start(&config(APP));
    for way in ways(&proxy) {
        let key = format!("{way:?}").len().to_string();
        assert!(way.message::<SetResponse>(SET, &[NAMESPACE], &set(&key, b"hello")).applied);
        let found: GetResponse = way.message(GET, &[NAMESPACE], &get(&key));
        assert!(found.found && found.value == b"hello"[..]);

        let value = get(&key).encode_to_vec().into();
        let params = Any { type_url: "type.googleapis.com/prism.kv.v1.GetRequest".into(), value };
        let request = ExecuteRequest {
            operation: "get".into(),
            params: Some(Params::TypedParams(params)),
            ..Default::default()
        };
        let answer: ExecuteResponse = way.message(EXECUTE, &[NAMESPACE], &request);
        let Some(execute_response::Result::TypedResult(result)) = answer.result else { panic!("{answer:?}") };
        assert_eq!(GetResponse::decode(&result.value[..]).unwrap(), found);

        // The listener's own services. SERVING is 1.
        let outcome = way.call(HEALTH, &[], &framed(b""));
        assert_eq!((outcome.status, &outcome.messages[..]), (Some(0), &[vec![8, 1]][..]));
        let reflect = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let outcome = way.call(reflect, &[NAMESPACE], &framed(&field(7, b"")));
        assert_eq!(outcome.status, Some(0));
        assert!(String::from_utf8_lossy(&outcome.messages[0]).contains("prism.kv.v1.KeyValueService"));

        // Two pieces, each padded by itself.
        if way.form == Form::Text {
            let call = framed(&get(&key).encode_to_vec());
            let pieces = STANDARD.encode(&call[..4]) + &STANDARD.encode(&call[4..]);
            let outcome = Outcome::read(way.form, way.send(GET, &[NAMESPACE], pieces.as_bytes()));
            assert_eq!((outcome.status, outcome.messages.len()), (Some(0), 1));
        }
    }
}

#[test]
fn messages_may_be_compressed_as_over_grpc() {
    let proxy = Proxy::start(&config(APP));
    let gzip = |message: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(message).unwrap();
        let deflated = encoder.finish().unwrap();
        claimed(1, u32::try_from(deflated.len()).unwrap(), &deflated)
    };
    let bomb = gzip(&vec![0; 16 << 20]);
    for way in ways(&proxy) {
        let message = set("zipped", &[7; 100_000]).encode_to_vec();
        let outcome = way.call(SET, &[NAMESPACE, "grpc-encoding: gzip"], &gzip(&message));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert_eq!(way.message::<GetResponse>(GET, &[NAMESPACE], &get("zipped")).value.len(), 100_000);
        way.call(SET, &[NAMESPACE], &gzip(&message)).refused(way.form, 12, "COMPRESSED_MESSAGE");
        let brotli = way.call(SET, &[NAMESPACE, "grpc-encoding: br"], &gzip(&message));
        brotli.refused(way.form, 12, "COMPRESSED_MESSAGE");
        let outcome = way.call(SET, &[NAMESPACE, "grpc-encoding: gzip"], &bomb);
        outcome.refused(way.form, 8, "MESSAGE_TOO_LARGE");
    }
}

#[test]
fn refusals_are_read_by_pages_wherever_they_are_made() {
    let proxy = Proxy::start(&config(APP));
    let key = framed(&get("key").encode_to_vec());
    for way in ways(&proxy) {
        for (path, headers, body, code, reason) in [
            (GET, &["x-prism-namespace: nobody"][..], &key[..], 5, "UNKNOWN_NAMESPACE"),
            (GET, &[], &key, 5, "MISSING_NAMESPACE"),
            (GET, &["x-prism-namespace: -"], &key, 3, "INVALID_NAMESPACE"),
            (GET, &[NAMESPACE, "x-prism-namespace: other"], &key, 3, "INVALID_NAMESPACE"),
            (GET, &[NAMESPACE, "grpc-timeout: soon"], &key, 3, "MALFORMED_TIMEOUT"),
            (GET, &[NAMESPACE], &framed(&get("").encode_to_vec()), 3, "OPERATION_FAILED"),
            (GET, &[NAMESPACE], &key[..key.len() - 1], 3, "MALFORMED_MESSAGE"),
            (GET, &[NAMESPACE], &[], 3, "MALFORMED_MESSAGE"),
            (GET, &[NAMESPACE], &[&key[..], &key[..]].concat(), 3, "MALFORMED_MESSAGE"),
            (GET, &[NAMESPACE], &claimed(0x80, 3, b"a: "), 3, "MALFORMED_MESSAGE"),
            (GET, &[NAMESPACE], &claimed(0, 2 << 20, b"abc"), 8, "MESSAGE_TOO_LARGE"),
            (EXECUTE, &[NAMESPACE], &framed(&field(1, b"fly")), 12, "UNKNOWN_OPERATION"),
            (EXECUTE, &[NAMESPACE], &framed(b""), 3, "MISSING_OPERATION"),
            ("/prism.kv.v1.KeyValueService/Fly", &[NAMESPACE], &key, 12, "UNKNOWN_OPERATION"),
            ("/prism.plugin.BackendPlugin/Execute", &[NAMESPACE], &key, 12, "NO_ROUTE"),
            // No route takes these.
            ("/somebody.Else/Call", &[NAMESPACE], &key, 12, "NO_ROUTE"),
            ("/", &[], &[], 12, "NO_ROUTE"),
            // Not gRPC's to call: said in gRPC all the same, because that is what was spoken.
            ("/v1/demo/get", &[], &key, 3, "UNSUPPORTED_MEDIA_TYPE"),
            ("/v1//get", &[], &key, 3, "MALFORMED_PATH"),
        ] {
            way.call(path, headers, body).refused(way.form, code, reason);
        }
    }
    let metrics = proxy.admin().get("/metrics").text();
    let counted = |code: &str| {
        let series = format!("prism_requests_total{{code=\"{code}\",namespace=\"demo\"}} ");
        metrics.lines().any(|line| line.strip_prefix(&series).is_some_and(|count| count != "0"))
    };
    // Counted as the gRPC calls that they are.
    assert!(
        counted("INVALID_ARGUMENT") && counted("RESOURCE_EXHAUSTED") && counted("UNIMPLEMENTED"),
        "{metrics}"
    );
    assert!(!counted("UNKNOWN") && !counted("CANCELLED") && !counted("OK"), "{metrics}");
}

#[test]
fn text_that_is_no_base64_reaches_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("plugin.sock");
    let plugin = Plugin::start(&socket);
    let sidecar = format!(
        "plugins: [{{ name: test, type: sidecar, socket: '{}' }}]\nnamespaces:\n  - {{ name: test, backend: test, plugin: test }}\n",
        socket.display()
    );
    let proxy = Proxy::start(&config(APP).replace("namespaces:\n", &sidecar));
    let namespace = "x-prism-namespace: test";
    let call = framed(&[field(1, b"echo"), field(3, b"hello!")].concat());
    let text = STANDARD.encode(&call);
    for version in VERSIONS {
        let way = Way { proxy: &proxy, version, form: Form::Text };
        wait::until("the plugin should serve", || {
            (way.call(EXECUTE, &[namespace], &call).status == Some(0)).then_some(())
        });
        plugin.recorder.clear();
        for (name, wrong) in [
            ("bytes", call.to_vec()),
            ("nothing that base64 has", b"{\"operation\": \"echo\"}".to_vec()),
            ("one character too few", text.as_bytes()[..text.len() - 1].to_vec()),
            ("one too many", [text.as_bytes(), b"A"].concat()),
            ("a line's end", [text.as_bytes(), b"\r\n"].concat()),
            ("the other alphabet", text.replace('A', "-").into_bytes()),
            ("padding where nothing ends", format!("A=AA{text}").into_bytes()),
            ("escapes", text.replace('=', "%3D").into_bytes()),
        ] {
            let outcome = Outcome::read(Form::Text, way.send(EXECUTE, &[namespace], &wrong));
            assert_eq!(outcome.status, Some(3), "{name}: {outcome:?}");
            outcome.refused(Form::Text, 3, "MALFORMED_MESSAGE");
        }
        let complete = plugin.recorder.complete();
        assert!(complete.is_empty(), "{} calls came through as a whole", complete.len());
    }
}

#[test]
fn without_the_filter_such_a_call_is_refused_as_ever() {
    let proxy = Proxy::start(&config(APP));
    let key = framed(&get("key").encode_to_vec());
    for way in ways(&proxy) {
        // Where the filter is, and in the route that leaves it out.
        assert_eq!(way.call(GET, &[NAMESPACE], &key).status, Some(0));
        for method in [EXECUTE, GET] {
            let answer = way.send(method, &[NAMESPACE, "x-way: native"], &key).expect(415);
            assert_eq!(answer.json()["reason"], "UNSUPPORTED_MEDIA_TYPE", "{method}");
            readable(&answer);
        }
        // Not POST.
        let answer = way.send(EXECUTE, &[NAMESPACE, "x-ignored: x"], b"");
        assert_eq!(answer.status, 200);
        let url = proxy.url(EXECUTE);
        let content_type = format!("content-type: {}", way.form.media_type());
        let call =
            [way.version, "-X", "GET", "-H", &content_type, "-H", "origin: https://app.example.com", &url];
        readable(&curl::run(&call).expect(405));
    }
}

#[test]
fn http_1_1_that_is_none_is_refused_as_such() {
    let proxy = Proxy::start(&config(APP));
    for hosts in ["", "host: a\r\nhost: b\r\n"] {
        let mut socket = raw::connect(proxy.port());
        let head = format!(
            "POST {GET} HTTP/1.1\r\n{hosts}content-type: application/grpc-web\r\n{NAMESPACE}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        raw::send(&mut socket, head.as_bytes());
        let answer = raw::until_closed(&mut socket);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("MALFORMED_HEADERS"), "{answer}");
    }
}

#[test]
fn large_texts_pass_in_little_memory() {
    const SIZE: usize = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memory.sock");
    let _sidecar = Sidecar::memory(&socket);
    let plugin = format!(
        "plugins: [{{ name: memory, type: sidecar, socket: '{}' }}]\nnamespaces:\n",
        socket.display()
    );
    let template = config(APP).replace("namespaces:\n", &plugin).replace("1MiB", "32MiB");
    let proxy = Start::new(&template).run();
    let way = Way { proxy: &proxy, version: "--http1.1", form: Form::Text };
    wait::until("the plugin should serve", || {
        let call = framed(&get("key").encode_to_vec());
        (way.call(GET, &[NAMESPACE], &call).status == Some(0)).then_some(())
    });
    let value: Vec<u8> = (0..SIZE).map(|at| (at / 7 + at / 4096).to_le_bytes()[0]).collect();
    let peak = Peak::start(&proxy.process);
    for version in VERSIONS {
        let way = Way { version, ..way };
        assert!(way.message::<SetResponse>(SET, &[NAMESPACE], &set("large", &value)).applied);
        let found: GetResponse = way.message(GET, &[NAMESPACE], &get("large"));
        assert!(found.value == value, "the value changed on its way");
    }
    let rise = peak.rise();
    println!("peak memory rose by {} KiB", rise >> 10);
    // Windows and what they hold, and far less than a value.
    assert!(rise < 10 << 20, "{rise}");
}
