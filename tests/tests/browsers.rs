//! Web pages as clients: gRPC-Web in both of its forms, and what browsers ask before and after.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderName, HeaderValue, Request};
use prism_proto::{
    google::protobuf::Any,
    kv::v1::{GetRequest, GetResponse, SetRequest, SetResponse},
    plugin::{ExecuteRequest, ExecuteResponse, execute_request::Params, execute_response},
};
use prism_tests::{
    Pages, Proxy, Sidecar, Start,
    client::{
        curl::{self, Answer},
        http2, raw,
    },
    memory::Peak,
    plugin::Plugin,
    tools, wait,
    wire::{claimed, field, framed},
};
use prost::Message;
use std::{collections::HashMap, fs, io::Write, path::Path, process::Command};
use tempfile::TempDir;

/// The origin that may call where the test has no page.
const APP: &str = "https://app.example.com";
const GET: &str = "/prism.kv.v1.KeyValueService/Get";
const SET: &str = "/prism.kv.v1.KeyValueService/Set";
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];
const FORMS: [Form; 2] = [Form::Binary, Form::Text];

fn config(origin: &str) -> String {
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - trace
      - cors: {{ allow_origins: ['{origin}'] }}
      - grpc_web
      - plugin_dispatch
    routes:
      - match: {{ path_prefix: /prism. }}
      - match: {{ path_prefix: /v1/ }}
      - match: {{ path_prefix: /prism., headers: {{ x-way: native }} }}
        filters: {{ grpc_web: false }}
      - match: {{ path_prefix: /prism., headers: {{ x-way: closed }} }}
        filters: {{ cors: {{}} }}
namespaces:
  - {{ name: demo, backend: memory, limits: {{ max_message_bytes: 1MiB }} }}
"
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Binary,
    Text,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        }
    }

    fn encode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary => body.to_vec(),
            Self::Text => STANDARD.encode(body).into_bytes(),
        }
    }

    /// A text is one of several, each padded by itself.
    fn decode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary => body.to_vec(),
            Self::Text => {
                let (mut rest, mut bytes) = (body, Vec::new());
                while !rest.is_empty() {
                    let padded = rest.iter().position(|byte| *byte == b'=');
                    let (text, after) = rest.split_at(padded.map_or(rest.len(), |at| at / 4 * 4 + 4));
                    STANDARD.decode_vec(text, &mut bytes).unwrap();
                    rest = after;
                }
                bytes
            }
        }
    }
}

/// One way to call.
#[derive(Debug, Clone, Copy)]
struct Way<'a> {
    proxy: &'a Proxy,
    version: &'a str,
    form: Form,
}

/// A call's answer, read as gRPC-Web.
#[derive(Debug)]
struct Outcome {
    answer: Answer,
    messages: Vec<Vec<u8>>,
    /// Of the last frame, or, where there is none, of the headers.
    status: Option<u32>,
}

impl Outcome {
    fn read(form: Form, answer: Answer) -> Self {
        let body = form.decode(&answer.body);
        let mut rest = &body[..];
        let (mut messages, mut trailers) = (Vec::new(), None);
        while !rest.is_empty() {
            assert!(trailers.is_none(), "trailers are the last");
            let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
            let (flag, message) = (rest[0], rest[5..5 + length].to_vec());
            rest = &rest[5 + length..];
            match flag {
                0 => messages.push(message),
                0x80 => trailers = Some(String::from_utf8(message).unwrap()),
                other => panic!("a frame of kind {other}"),
            }
        }
        let in_body = trailers.as_deref().map(|trailers| {
            assert!(trailers.ends_with("\r\n"));
            let mut lines = trailers.lines().filter_map(|line| line.strip_prefix("grpc-status: "));
            lines.next().expect("trailers have a status").to_owned()
        });
        let in_headers = answer.header("grpc-status").map(str::to_owned);
        assert!(in_body.is_none() || in_headers.is_none(), "the status is said once");
        let status = in_body.or(in_headers).map(|status| status.parse().unwrap());
        Self { answer, messages, status }
    }

    /// It was refused with this code and reason, and a page can read both.
    fn refused(&self, form: Form, code: u32, reason: &str) {
        assert_eq!(self.answer.status, 200, "{self:?}");
        assert_eq!(self.status, Some(code), "{reason}: {self:?}");
        assert_eq!(self.answer.header("content-type"), Some(form.media_type()));
        let details = self.answer.header("grpc-status-details-bin").expect("details");
        let details = STANDARD.decode(details.to_owned() + &"==="[..(4 - details.len() % 4) % 4]).unwrap();
        assert!(String::from_utf8_lossy(&details).contains(reason), "{reason}: {self:?}");
        readable(&self.answer);
    }
}

/// A page of [`APP`] can read it, with what it has to say.
fn readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{answer:?}");
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{exposed}");
    }
    assert_eq!(answer.header("vary"), Some("origin"));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

impl Way<'_> {
    /// A call with a body as it is.
    fn send(self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let content_type = format!("content-type: {}", self.form.media_type());
        let origin = format!("origin: {APP}");
        let own = ["x-grpc-web: 1", &origin, &content_type];
        let headers: Vec<&str> = own.iter().chain(headers).copied().collect();
        if self.version == "--http1.1" {
            self.by_curl(path, &headers, body)
        } else {
            self.by_h2(path, &headers, body)
        }
    }

    fn by_curl(self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        fs::write(&file, body).unwrap();
        let (upload, url) = (format!("@{}", file.display()), self.proxy.url(path));
        let mut call = vec![self.version, "--path-as-is", "--data-binary", &upload, &url, "-H", "expect:"];
        headers.iter().for_each(|header| call.extend(["-H", header]));
        curl::run(&call)
    }

    /// Not by curl: 7.88 waits for ever where an answer of headers alone comes before it has sent a body.
    #[tokio::main(flavor = "current_thread")]
    async fn by_h2(self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut request = Request::post(format!("http://127.0.0.1{path}"));
        for (name, value) in headers.iter().filter_map(|header| header.split_once(": ")) {
            request = request.header(name, value);
        }
        let connection = http2::connect(self.proxy.port()).await;
        let answer = connection.call(request.body(()).unwrap(), Bytes::copy_from_slice(body)).await.unwrap();
        assert!(answer.trailers.is_empty(), "a browser does not see them: {answer:?}");
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let headers = answer.headers.iter().map(header).collect();
        Answer { status: answer.status.as_u16(), headers, body: answer.body }
    }

    fn call(self, path: &str, headers: &[&str], body: &[u8]) -> Outcome {
        Outcome::read(self.form, self.send(path, headers, &self.form.encode(body)))
    }

    /// A call that goes well; its one message.
    fn message<T: Message + Default>(self, path: &str, headers: &[&str], request: &impl Message) -> T {
        let outcome = self.call(path, headers, &framed(&request.encode_to_vec()));
        assert_eq!((outcome.answer.status, outcome.status), (200, Some(0)), "{self:?} {path}: {outcome:?}");
        assert_eq!(outcome.answer.header("content-type"), Some(self.form.media_type()));
        readable(&outcome.answer);
        let [message] = &outcome.messages[..] else { panic!("one message: {outcome:?}") };
        T::decode(&message[..]).unwrap()
    }
}

fn ways(proxy: &Proxy) -> impl Iterator<Item = Way<'_>> {
    VERSIONS.iter().flat_map(move |version| FORMS.map(|form| Way { proxy, version, form }))
}

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
        let answer = way.send(EXECUTE, &[NAMESPACE, "x-way: native"], &key).expect(415);
        assert_eq!(answer.json()["reason"], "UNSUPPORTED_MEDIA_TYPE");
        readable(&answer);
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

/// A preflight as a browser sends it, to this path.
fn preflight(proxy: &Proxy, version: &str, path: &str, origin: &str, more: &[&str]) -> Answer {
    let (url, origin) = (proxy.url(path), format!("origin: {origin}"));
    let mut call = vec![version, "--path-as-is", "-X", "OPTIONS", "-H", &origin, &url];
    call.extend(["-H", "access-control-request-method: POST"]);
    call.extend(["-H", "access-control-request-headers: content-type,x-grpc-web,x-prism-namespace"]);
    more.iter().for_each(|header| call.extend(["-H", header]));
    curl::run(&call)
}

#[test]
fn preflights_are_answered_at_the_edge_whatever_they_are_about() {
    let proxy = Proxy::start(&config(APP));
    for version in VERSIONS {
        for path in [GET, EXECUTE, HEALTH, "/v1/demo/get", "/v1/nobody/get", "/v1//", "/nothing/here", "/"] {
            let answer = preflight(&proxy, version, path, APP, &[]).expect(204);
            assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{path}");
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST"));
            let headers = answer.header("access-control-allow-headers").unwrap();
            for name in ["content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", "x-prism-namespace"] {
                assert!(headers.split(", ").any(|allowed| allowed == name), "{headers}");
            }
            assert_eq!(answer.header("access-control-max-age"), Some("600"));
            assert!(answer.body.is_empty());

            for origin in
                ["https://evil.com", "http://app.example.com", "https://app.example.com.evil.com", "null"]
            {
                let answer = preflight(&proxy, version, path, origin, &[]).expect(403);
                assert_eq!(answer.json()["reason"], "ORIGIN_NOT_ALLOWED");
                let said = answer.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
                assert_eq!(said, None, "{path} {origin}");
            }
        }
        // A route's own settings hold for its preflights, where a preflight can show that it is for that route.
        let _ = preflight(&proxy, version, GET, APP, &["x-way: closed"]).expect(403);
        // Not a preflight.
        let (url, origin) = (proxy.url(EXECUTE), format!("origin: {APP}"));
        let answer = curl::run(&[version, "-X", "OPTIONS", "-H", &origin, &url]).expect(405);
        readable(&answer);
    }
    let metrics = proxy.admin().get("/metrics").text();
    assert!(metrics.contains("prism_rejections_total{reason=\"ORIGIN_NOT_ALLOWED\"} "), "{metrics}");
}

#[test]
fn json_is_for_pages_too_and_only_for_those_that_may() {
    let proxy = Proxy::start(&config(APP));
    for version in VERSIONS {
        let call = |path: &str, origin: &str| {
            let (url, origin) = (proxy.url(path), format!("origin: {origin}"));
            let json = "content-type: application/json";
            curl::run(&[version, "-d", "{\"key\": \"absent\"}", "-H", json, "-H", &origin, &url])
        };
        readable(&call("/v1/demo/get", APP).expect(200));
        readable(&call("/v1/nobody/get", APP).expect(404));
        for (path, status) in [("/v1/demo/get", 200), ("/v1/nobody/get", 404), ("/elsewhere", 404)] {
            let answer = call(path, "https://evil.com").expect(status);
            assert_eq!(answer.header("access-control-allow-origin"), None);
            assert_eq!(answer.header("vary"), Some("origin"));
        }
        // What any form can send without asking is taken nowhere.
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            for path in ["/v1/demo/set", SET] {
                let (url, kind) = (proxy.url(path), format!("content-type: {kind}"));
                let answer =
                    curl::run(&[version, "-d", "x", "-H", &kind, "-H", "origin: https://evil.com", &url]);
                assert_eq!(answer.status, if path == SET { 404 } else { 415 }, "{path} {kind}");
            }
        }
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

fn scripts() -> std::path::PathBuf {
    tools::repository().join("tests/browser")
}

/// A folder with a script and the Node packages that it needs, which are looked for beside it.
fn beside_packages(scripts: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(tools::node_modules(), folder.path().join("node_modules")).unwrap();
    for (name, text) in scripts {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    fs::write(folder.path().join("descriptors"), prism_proto::FILE_DESCRIPTOR_SET).unwrap();
    folder
}

fn node(folder: &Path, script: &str, arguments: &[&str]) -> String {
    tools::succeed(Command::new(tools::tool("node")).arg(script).args(arguments).current_dir(folder))
}

#[test]
fn a_stock_client_in_node() {
    let proxy = Proxy::start(&config(APP));
    let names = ["clients.mjs", "suite.mjs", "node.mjs"];
    let folder =
        beside_packages(&names.map(|name| (name, fs::read_to_string(scripts().join(name)).unwrap())));
    assert_eq!(node(folder.path(), "node.mjs", &[&proxy.url(""), "descriptors", "node/"]).trim(), "done");
}

#[test]
fn the_guide_s_client_prints_what_the_guide_says() {
    let guide = fs::read_to_string(tools::repository().join("docs/browsers.md")).unwrap();
    let block = |language: &str| {
        let (_, rest) = guide.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let admin = "admin: { address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }\n";
    let yaml = block("yaml").replace("127.0.0.1:50051", "127.0.0.1:@listen@");
    let proxy = Proxy::start(&format!("{admin}{yaml}"));
    // What a generator writes is the same, with types.
    let stub = "import { readFileSync } from 'node:fs';\n\
        import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';\n\
        import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';\n\
        const files = fromBinary(FileDescriptorSetSchema, readFileSync('descriptors'));\n\
        export const KeyValueService = createFileRegistry(files).getService('prism.kv.v1.KeyValueService');\n";
    let script = block("js").replace("http://127.0.0.1:50051", &proxy.url(""));
    let files = [
        ("page.mjs", script),
        ("gen/package.json", "{ \"type\": \"module\" }".to_owned()),
        ("gen/prism/kv/v1/kv_pb.js", stub.to_owned()),
    ];
    let folder = beside_packages(&files);
    let printed = node(folder.path(), "page.mjs", &[]);
    assert_eq!(printed, "hello\ngreeting\n5 there is no namespace `nobody`\n");
    for line in printed.lines() {
        assert!(guide.contains(line), "the guide does not say `{line}`");
    }
}

#[test]
fn a_page_in_a_browser_calls_and_reads_what_was_refused() {
    let files = HashMap::from([("/descriptors", prism_proto::FILE_DESCRIPTOR_SET.to_vec())]);
    let pages = Pages::serve(&scripts(), files);
    let proxy = Proxy::start(&config(&pages.origin("127.0.0.1")));
    let told = |host: &str, parts: &[&str]| {
        let parts: String = parts.iter().map(|part| format!("&part={part}")).collect();
        pages.tells(&format!("{}/page.html?proxy={}{parts}", pages.origin(host), proxy.url("")))
    };
    let expected = |parts: &[&str]| {
        let clients = ["connect", "google text", "google binary"];
        let lines =
            clients.iter().flat_map(|client| parts.iter().map(move |part| format!("{client}: {part}: ok")));
        lines.collect::<Vec<_>>().join("\n")
    };
    let parts = ["works", "learns"];
    assert_eq!(told("127.0.0.1", &parts), expected(&parts));
    // The same page by another name of the same machine is of another origin, which may not.
    assert_eq!(told("localhost", &["isKeptOut"]), expected(&["isKeptOut"]));
    let metrics = proxy.admin().get("/metrics").text();
    assert!(metrics.contains("prism_rejections_total{reason=\"ORIGIN_NOT_ALLOWED\"} "), "{metrics}");
}
