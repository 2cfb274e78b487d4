//! JSON by `curl`: calls, streams, what there is to call, and everything that is refused.

use bytes::BytesMut;
use flate2::{Compression, write::GzEncoder};
use prism_tests::{
    DEMO, Proxy,
    client::{
        curl::{self, Answer},
        grpc::Client,
        http2::{self, Connection},
    },
    memory::Peak,
    tools, wait,
};
use serde_json::{Value, json};
use std::{fs, io::Write, process::Command};

const JSON: &str = "content-type: application/json";
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

fn post(proxy: &Proxy, version: &str, path: &str, body: &str) -> Answer {
    curl::run(&[version, "--path-as-is", "--data-binary", body, "-H", JSON, &proxy.url(path)])
}

fn refused(answer: Answer, status: u16, code: &str, reason: &str) -> String {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!((&body["code"], &body["reason"]), (&json!(code), &json!(reason)), "{body}");
    body["message"].as_str().unwrap().to_owned()
}

#[test]
fn set_get_and_what_is_not_there() {
    let proxy = Proxy::start(DEMO);
    for version in VERSIONS {
        let set =
            post(&proxy, version, "/v1/demo/set", r#"{"key":"greeting","value":"aGVsbG8="}"#).expect(200);
        assert_eq!(set.header("content-type"), Some("application/json"));
        assert_eq!(set.json(), json!({ "applied": true }));
        let get = post(&proxy, version, "/v1/demo/get", r#"{"key":"greeting"}"#).expect(200);
        assert_eq!(get.json(), json!({ "found": true, "value": "aGVsbG8=" }));
        let get = post(&proxy, version, "/v1/demo/get", r#"{"key":"nothing"}"#).expect(200);
        assert_eq!(get.json(), json!({ "found": false, "value": "" }));
        let get = post(&proxy, version, "/v1/demo/get", r#"{"key":"greeting","withTtl":true}"#).expect(200);
        assert_eq!(get.json(), json!({ "found": true, "value": "aGVsbG8=" }));
        let more =
            post(&proxy, version, "/v1/demo/multi_get", r#"{"keys":["greeting","nothing"]}"#).expect(200);
        assert_eq!(more.json()["entries"][1], json!({ "key": "nothing", "found": false, "value": "" }));
    }
    // 64-bit numbers are text: a double does not hold them.
    let _ = post(&proxy, VERSIONS[0], "/v1/demo/set", r#"{"key":"short","value":"","ttlMs":"60000"}"#)
        .expect(200);
    let get =
        post(&proxy, VERSIONS[0], "/v1/demo/get", r#"{"key":"short","with_ttl":true}"#).expect(200).json();
    assert!(get["ttlMs"].as_str().unwrap().parse::<u64>().unwrap() <= 60_000, "{get}");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let proxy = Proxy::start(DEMO);
    for version in VERSIONS {
        let call = |path: &str, body: &str| post(&proxy, version, path, body);
        for (body, words) in [
            (r#"{"key":7}"#, "`key`"),
            (r#"{"keys":["a"]}"#, "keys"),
            (r#"{"key":"a","key":"b"}"#, "`key` is given twice"),
            ("{", "EOF"),
            ("", "the body is empty: send {}"),
            ("{}{}", "trailing"),
        ] {
            let message = refused(call("/v1/demo/get", body), 400, "INVALID_ARGUMENT", "MALFORMED_MESSAGE");
            assert!(message.contains(words) && !message.contains('?'), "{body}: {message}");
        }
        refused(call("/v1/demo/get", r#"{"key":""}"#), 400, "INVALID_ARGUMENT", "OPERATION_FAILED");
        let message = refused(call("/v1/demo/fly", "{}"), 501, "UNIMPLEMENTED", "UNKNOWN_OPERATION");
        assert!(message.contains("`GET /v1/demo` lists"), "{message}");
        let message = refused(call("/v1/demo/multiget", "{}"), 501, "UNIMPLEMENTED", "UNKNOWN_OPERATION");
        assert!(message.contains("did you mean `multi_get`?"), "{message}");
        refused(call("/v1/nobody/get", "{}"), 404, "NOT_FOUND", "UNKNOWN_NAMESPACE");
        refused(call("/v1/demo/watch/more", "{}"), 400, "INVALID_ARGUMENT", "MALFORMED_PATH");
        refused(call("/v1/demo/get?a=1&a=2", r#"{"key":"a"}"#), 400, "INVALID_ARGUMENT", "MALFORMED_QUERY");
        refused(call("/v1/demo", "{}"), 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED");
        let coded =
            ["-H", "content-encoding: br", "-d", "{}", "-H", JSON, version, &proxy.url("/v1/demo/get")];
        refused(curl::run(&coded), 415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE");
        // A page that may post only what forms may post gets nothing done.
        for simple in
            ["content-type: text/plain", "content-type: application/x-www-form-urlencoded", "content-type:"]
        {
            let call = [version, "-d", r#"{"key":"a"}"#, "-H", simple, &proxy.url("/v1/demo/get")];
            refused(curl::run(&call), 415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE");
        }
    }
}

/// An upload over HTTP/2 whose answer may come before its end.
fn early(proxy: &Proxy, content: Vec<u8>) -> Answer {
    let answer = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let connection = http2::connect(proxy.port()).await;
        let head =
            http::Request::post("http://127.0.0.1/v1/demo/set").header("content-type", "application/json");
        connection.call(head.body(()).unwrap(), content.into()).await.unwrap()
    });
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Answer {
        status: answer.status.as_u16(),
        headers: answer.headers.iter().map(header).collect(),
        body: answer.body,
    }
}

#[test]
fn what_is_too_large_is_refused_compressed_or_not() {
    // A client that still sends over HTTP/1.1 must have the time to read its refusal, however busy the machine is.
    let proxy = Proxy::start(&format!("{DEMO}drain: {{ linger: 10s }}\n"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        format!("@{}", path.display())
    };
    let gzip = |content: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let url = proxy.url("/v1/demo/set");
    // `A` is a base64 digit: 6 MiB of them are more than 4 MiB of bytes, and 20 MiB are more than anybody reads.
    let large = |digits: usize| format!(r#"{{"key":"large","value":"{}"}}"#, "A".repeat(digits)).into_bytes();
    let coded = "content-encoding: gzip";
    for version in VERSIONS {
        let small = gzip(br#"{"key":"small","value":"aGVsbG8="}"#);
        let upload = file("small", &small);
        let _ = curl::run(&[version, "--data-binary", &upload, "-H", JSON, "-H", coded, &url]).expect(200);
        for digits in [6 << 20, 20 << 20] {
            let content = large(digits);
            let answer = if version == "--http1.1" || digits < 8 << 20 {
                curl::run(&[version, "--data-binary", &file("large", &content), "-H", JSON, &url])
            } else {
                // The refusal comes before the upload's end. curl 7.88, Debian's, may miss an answer that comes in
                // one read with the NO_ERROR reset behind it (RFC 9113 §8.1), so another client sends this one.
                early(&proxy, content)
            };
            refused(answer, 429, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE");
            let upload = file("large", &gzip(&large(digits)));
            let answer = curl::run(&[version, "--data-binary", &upload, "-H", JSON, "-H", coded, &url]);
            refused(answer, 429, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE");
        }
        let bomb = file("bomb", &gzip(&vec![b' '; 256 << 20]));
        let peak = Peak::start(&proxy.process);
        let answer = curl::run(&[version, "--data-binary", &bomb, "-H", JSON, "-H", coded, &url]);
        refused(answer, 429, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE");
        // Of 256 MiB there were never more than what 4 MiB of bytes can take as text.
        assert!(peak.rise() < 16 << 20, "{}", peak.rise());
        let upload = file("cut", &small[..small.len() - 1]);
        let answer = curl::run(&[version, "--data-binary", &upload, "-H", JSON, "-H", coded, &url]);
        refused(answer, 400, "INVALID_ARGUMENT", "MALFORMED_MESSAGE");
    }
}

/// A stream that is read line by line.
struct Lines {
    body: h2::RecvStream,
    text: BytesMut,
}

impl Lines {
    async fn open(
        connection: &Connection,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (Self, http::HeaderMap) {
        let mut request =
            http::Request::post(format!("http://127.0.0.1{path}")).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut send = connection.send.clone().ready().await.unwrap();
        let (response, mut upload) = send.send_request(request.body(()).unwrap(), false).unwrap();
        http2::send_all(&mut upload, body.to_owned().into(), true).await.unwrap();
        let (head, body) = response.await.unwrap().into_parts();
        assert_eq!(head.status, 200);
        (Self { body, text: BytesMut::new() }, head.headers)
    }

    /// The next line, or what ends in an empty one; `None` at the end.
    async fn next(&mut self, end: &str) -> Option<String> {
        wait::guard("a line", async {
            loop {
                let text = String::from_utf8(self.text.to_vec()).unwrap();
                if let Some(at) = text.find(end) {
                    let line = self.text.split_to(at + end.len());
                    return Some(String::from_utf8(line[..at].to_vec()).unwrap());
                }
                match http2::next(&mut self.body).await.unwrap() {
                    Some(piece) => self.text.extend_from_slice(&piece),
                    None => {
                        assert!(self.text.is_empty(), "{text}");
                        return None;
                    }
                }
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_as_lines_and_as_events() {
    let proxy = Proxy::start(DEMO);
    let connection = http2::connect(proxy.port()).await;
    let prefix = r#"{"prefix":"seen/"}"#;
    let (mut lines, head) = Lines::open(&connection, "/v1/demo/watch", &[], prefix).await;
    assert_eq!(head["content-type"], "application/x-ndjson");
    let accept = [("accept", "text/event-stream, */*;q=0.1")];
    let (mut events, head) = Lines::open(&connection, "/v1/demo/watch", &accept, prefix).await;
    assert_eq!(head["content-type"], "text/event-stream");
    let client = Client::new(proxy.port(), "demo");
    client.set("unseen", "0").await.unwrap();
    for number in 0..3 {
        client.set(&format!("seen/{number}"), "hello\nyou").await.unwrap();
        let expected =
            json!({ "result": { "kind": "PUT", "key": format!("seen/{number}"), "value": "aGVsbG8KeW91" } });
        let line: Value = serde_json::from_str(&lines.next("\n").await.unwrap()).unwrap();
        assert_eq!(line, expected);
        let event = events.next("\n\n").await.unwrap();
        let data: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_says_so_last() {
    let proxy = Proxy::start(DEMO);
    let connection = http2::connect(proxy.port()).await;
    let soon = [("grpc-timeout", "300m")];
    let (mut lines, _) = Lines::open(&connection, "/v1/demo/watch", &soon, "{}").await;
    let line: Value = serde_json::from_str(&lines.next("\n").await.unwrap()).unwrap();
    assert_eq!(line["error"]["code"], "DEADLINE_EXCEEDED", "{line}");
    assert!(!line["error"]["request_id"].as_str().unwrap().is_empty(), "{line}");
    assert_eq!(lines.next("\n").await, None);

    let soon = [("grpc-timeout", "300m"), ("accept", "text/event-stream")];
    let (mut events, _) = Lines::open(&connection, "/v1/demo/watch", &soon, "{}").await;
    let event = events.next("\n\n").await.unwrap();
    assert!(event.starts_with("event: error\ndata: {\"error\":{\"code\":\"DEADLINE_EXCEEDED\""), "{event}");
    assert_eq!(events.next("\n\n").await, None);

    // Over HTTP/1.1 the answer is a whole one too: curl fails when it is cut off.
    let mut curl = Command::new(tools::tool("curl"));
    curl.args([
        "-sS",
        "--http1.1",
        "--noproxy",
        "*",
        "--max-time",
        "30",
        "-H",
        "grpc-timeout: 300m",
        "--json",
        "{}",
    ]);
    let text = tools::succeed(curl.arg(proxy.url("/v1/demo/watch")));
    assert!(
        text.starts_with("{\"error\":{\"code\":\"DEADLINE_EXCEEDED\"") && text.ends_with("}}\n"),
        "{text}"
    );

    // Whoever looks after the proxy is told how it ended, though its status was 200.
    let ended = |log: &str| {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let failed = |line: &Value| {
            line["code"] == "DEADLINE_EXCEEDED"
                && line["reason"] == "DEADLINE_EXCEEDED"
                && line["http_status"] == 200
        };
        lines.filter(failed).count()
    };
    wait::until("the log says how they ended", || (ended(&proxy.process.log()) == 3).then_some(()));
    let metric = |name: &str, label: &str| proxy.admin().metric(name, label);
    assert_eq!(metric("prism_requests_total", "code=\"DEADLINE_EXCEEDED\",namespace=\"demo\""), 3.0);
    assert_eq!(metric("prism_rejections_total", "DEADLINE_EXCEEDED"), 3.0);
    // A client that goes away is noticed: the plugin's stream goes too.
    let (lines, _) = Lines::open(&connection, "/v1/demo/watch", &[], "{}").await;
    drop(lines);
    wait::until("no call should be left", || {
        let label = "namespace=\"demo\"";
        (proxy.admin().metric("prism_requests_in_flight", label) == 0.0).then_some(())
    });
}

#[test]
fn a_namespace_says_what_it_has() {
    let proxy = Proxy::start(DEMO);
    let get = |path: &str| curl::run(&[&proxy.url(path)]);
    let list = get("/v1/demo").expect(200).json();
    assert_eq!((&list["namespace"], &list["plugin"]), (&json!("demo"), &json!("memory")));
    let operations = list["operations"].as_array().unwrap();
    let names: Vec<_> = operations.iter().map(|operation| operation["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["delete", "exists", "get", "multi_get", "scan", "set", "watch"]);
    let set = &operations[5];
    assert_eq!(
        (&set["kind"], &set["raw"], &set["server_streaming"]),
        (&json!("write"), &json!(true), &json!(false))
    );
    assert_eq!(set["method"], "prism.kv.v1.KeyValueService/Set");
    assert_eq!(set["params"]["type"], "prism.kv.v1.SetRequest");
    let schema = &list["schemas"]["prism.kv.v1.SetRequest"]["properties"];
    assert_eq!(schema["ttlMs"]["type"], json!(["string", "integer"]));
    assert_eq!(schema["condition"]["enum"], json!(["ALWAYS", "IF_ABSENT", "IF_PRESENT"]));

    let openapi = get("/v1/demo/openapi.json").expect(200).json();
    assert_eq!(openapi["openapi"], "3.1.0");
    let post = &openapi["paths"]["/v1/demo/get"]["post"];
    let reference = "#/components/schemas/prism.kv.v1.GetRequest";
    assert_eq!(post["requestBody"]["content"]["application/json"]["schema"]["$ref"], reference);
    assert!(openapi["components"]["schemas"]["prism.kv.v1.GetRequest"].is_object());
    assert!(
        openapi["paths"]["/v1/demo/watch"]["post"]["responses"]["200"]["content"]["text/event-stream"]
            .is_object()
    );
    // Every reference leads somewhere.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    for document in [&list, &openapi] {
        let mut found = Vec::new();
        references(document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }
    refused(get("/v1/nobody"), 404, "NOT_FOUND", "UNKNOWN_NAMESPACE");
    refused(get("/v1/demo/get"), 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED");
}
