//! HTTP by `curl`: the two calls of the contract, and everything that is refused.

use prism_tests::{
    DEMO, Proxy,
    client::{
        curl::{self, Answer},
        raw,
    },
};
use std::{fs, thread, time::Duration};

const BYTES: &str = "content-type: application/octet-stream";
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// A POST with a body.
fn post(proxy: &Proxy, version: &str, path: &str, body: &str) -> Answer {
    curl::run(&[version, "--path-as-is", "--data-binary", body, "-H", BYTES, &proxy.url(path)])
}

/// An error's shape: the code's HTTP status, and a JSON body that says all there is to say.
fn refused(answer: Answer, status: u16, code: &str, reason: &str) {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["reason"], reason, "{body}");
    assert!(!body["message"].as_str().unwrap().is_empty(), "{body}");
    assert!(!body["request_id"].as_str().unwrap().is_empty(), "{body}");
    assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
}

#[test]
fn the_two_calls_of_the_contract() {
    let proxy = Proxy::start(DEMO);
    for version in VERSIONS {
        let set = proxy.url("/v1/demo/set?key=greeting");
        let _ = curl::run(&[version, "--data-binary", "hello", &set, "-H", BYTES]).expect(200);
        let get = proxy.url("/v1/demo/get");
        let answer = curl::run(&[version, "-d", "greeting", &get, "-H", BYTES]).expect(200);
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
    }
}

#[test]
fn bodies_need_no_length_and_may_hold_any_byte() {
    let proxy = Proxy::start(DEMO);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    let value: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(&file, &value).unwrap();
    let upload = format!("@{}", file.display());
    for version in VERSIONS {
        let set = proxy.url("/v1/demo/set?key=chunked");
        // HTTP/2 has no chunks; a body without a length is one without the header.
        let header = if version == "--http1.1" { "transfer-encoding: chunked" } else { "content-length:" };
        let call = [version, "--data-binary", &upload, "-H", BYTES, "-H", header, &set];
        let _ = curl::run(&call).expect(200);
        assert_eq!(post(&proxy, version, "/v1/demo/get", "chunked").expect(200).body, value);
    }
}

#[test]
fn only_bytes_are_taken_for_bytes() {
    let proxy = Proxy::start(DEMO);
    let url = proxy.url("/v1/demo/get");
    for version in VERSIONS {
        for kind in [
            "content-type:",
            "content-type: text/plain",
            "content-type: application/x-www-form-urlencoded",
            "content-type: multipart/form-data; boundary=x",
            "content-type: application/octet-stream-not",
        ] {
            let answer = curl::run(&[version, "-d", "key", "-H", kind, &url]);
            refused(answer, 415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE");
        }
    }
}

#[test]
fn queries_and_paths_have_one_reading() {
    let proxy = Proxy::start(DEMO);
    for version in VERSIONS {
        for query in ["key=a&key=b", "key=a&key=a", "key=a&%6bey=b"] {
            let answer = post(&proxy, version, &format!("/v1/demo/set?{query}"), "value");
            refused(answer, 400, "INVALID_ARGUMENT", "MALFORMED_QUERY");
        }
        for path in [
            "/v1/demo%2fset",
            "/v1/%64emo/set",
            "/v1/demo%2Fget/get",
            "/v1//demo/get",
            "/v1/demo//get",
            "//v1/demo/get",
            "/v1/demo/get/../set",
            "/v1/./demo/get",
        ] {
            let answer = post(&proxy, version, path, "key");
            assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
            let reason = answer.json()["reason"].clone();
            assert!(reason == "MALFORMED_PATH" || reason == "NO_ROUTE", "{path}: {reason}");
        }
        refused(post(&proxy, version, "/v1/demo%2fset", "key"), 400, "INVALID_ARGUMENT", "MALFORMED_PATH");
        refused(post(&proxy, version, "/v1//demo/get", "key"), 400, "INVALID_ARGUMENT", "MALFORMED_PATH");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let proxy = Proxy::start(DEMO);
    for version in VERSIONS {
        let call = |path: &str| post(&proxy, version, path, "absent");
        refused(call("/v1/nobody/get"), 404, "NOT_FOUND", "UNKNOWN_NAMESPACE");
        refused(call("/v1/demo/get"), 404, "NOT_FOUND", "OPERATION_FAILED");
        refused(call("/v1/demo/fly"), 501, "UNIMPLEMENTED", "UNKNOWN_OPERATION");
        refused(call("/v1/-bad-/get"), 400, "INVALID_ARGUMENT", "INVALID_NAMESPACE");
        refused(call("/elsewhere"), 404, "UNIMPLEMENTED", "NO_ROUTE");
        let answer = curl::run(&[version, "-X", "PUT", "-d", "x", "-H", BYTES, &proxy.url("/v1/demo/get")]);
        refused(answer, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED");
    }
}

#[test]
fn an_operation_that_fails_says_so() {
    let proxy = Proxy::start(DEMO);
    for version in VERSIONS {
        let answer = post(&proxy, version, "/v1/demo/set?key=k&ttl_ms=-1", "value");
        refused(answer, 400, "INVALID_ARGUMENT", "OPERATION_FAILED");
        let answer = post(&proxy, version, "/v1/demo/set", "value without a key");
        refused(answer, 400, "INVALID_ARGUMENT", "OPERATION_FAILED");
    }
}

#[test]
fn too_much_is_refused_whether_announced_or_not() {
    let proxy = Proxy::start(DEMO);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("value");
    fs::write(&file, vec![b'x'; 5 << 20]).unwrap();
    let upload = format!("@{}", file.display());
    let url = proxy.url("/v1/demo/set?key=large");
    for extra in
        [&["--http1.1"][..], &["--http1.1", "-H", "transfer-encoding: chunked"], &["--http2-prior-knowledge"]]
    {
        let mut call = vec!["--data-binary", &upload, "-H", BYTES, &url];
        call.extend(extra);
        refused(curl::run(&call), 429, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE");
    }
    assert_eq!(post(&proxy, "--http1.1", "/v1/demo/get", "large").status, 404);
}

#[test]
fn a_header_may_not_contradict_the_path() {
    let proxy = Proxy::start(DEMO);
    let url = proxy.url("/v1/demo/set?key=k");
    for version in VERSIONS {
        let call = |headers: &[&str]| {
            let mut arguments = vec![version, "-d", "v", "-H", BYTES, &url];
            headers.iter().for_each(|header| arguments.extend(["-H", header]));
            curl::run(&arguments)
        };
        let _ = call(&["X-Prism-Namespace: demo"]).expect(200);
        refused(call(&["X-Prism-Namespace: other"]), 400, "INVALID_ARGUMENT", "INVALID_NAMESPACE");
        let twice = ["x-prism-namespace: demo", "X-PRISM-NAMESPACE: demo"];
        refused(call(&twice), 400, "INVALID_ARGUMENT", "INVALID_NAMESPACE");
    }
}

#[test]
fn grpc_over_http1_is_refused() {
    let proxy = Proxy::start(DEMO);
    let url = proxy.url("/prism.data.v1.DataService/Execute");
    let call = ["--http1.1", "--data-binary", "x", "-H", "content-type: application/grpc", &url];
    refused(curl::run(&call), 415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE");
}

#[test]
fn a_deadline_that_passes_is_an_http_answer() {
    let proxy = Proxy::start(DEMO);
    let _ = post(&proxy, "--http1.1", "/v1/demo/set?key=k", "v").expect(200);
    for version in VERSIONS {
        for timeout in ["0n", "1n", "100u", "300u"] {
            let header = format!("grpc-timeout: {timeout}");
            let call =
                [version, "--data-binary", "k", "-H", BYTES, "-H", &header, &proxy.url("/v1/demo/get")];
            let answer = curl::run(&call);
            assert!(matches!(answer.status, 200 | 504), "{version} {timeout}: {}", answer.status);
        }
    }
}

/// Connections are shared by calls of many namespaces: one that is refused costs the next nothing, or says so.
#[test]
fn what_follows_a_refusal_on_its_connection_is_served_or_told_not_to_come() {
    let proxy = Proxy::start(DEMO);
    let head = |namespace: &str, length: usize, more: &str| {
        format!(
            "POST /v1/{namespace}/get HTTP/1.1\r\nhost: x\r\n{BYTES}\r\ncontent-length: {length}\r\n{more}\r\n"
        )
    };
    for (length, pause) in [(1, 0), (1, 5), (5000, 0), (5000, 20), (60_000, 5)] {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, head("nobody", length, "").as_bytes());
        thread::sleep(Duration::from_millis(pause));
        raw::send(&mut socket, &vec![b'x'; length]);
        raw::send(&mut socket, head("demo", 3, "connection: close\r\n").as_bytes());
        raw::send(&mut socket, b"key");
        let answers = raw::until_closed(&mut socket);
        assert!(answers.starts_with("HTTP/1.1 404"), "{length}, {pause}: {answers}");
        assert!(
            answers.contains("UNKNOWN_NAMESPACE") && answers.contains("OPERATION_FAILED"),
            "{length}, {pause}: {answers}"
        );
    }
    // More than anybody reads for nothing, a body that does not come, and one that waits to be asked for.
    for (length, more) in [(10_000_000, ""), (100, ""), (100, "expect: 100-continue\r\n")] {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, head("nobody", length, more).as_bytes());
        let answer = raw::until_closed(&mut socket);
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    }
}
