//! An authorizer in another process, by Envoy's `ext_authz`: what the rules allow, it has to allow too, and whatever is no
//! yes is a no.

mod authorizer;
mod reached;
mod rights;

use authorizer::{Authorizer, Does, babble, header, no, says, told, yes, yes_with};
use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::{CheckResponse, check_response::HttpResponse};
use prism_proto::{
    kv::v1::{GetRequest, SetRequest},
    plugin::{ExecuteRequest, StreamRequest, execute_request, stream_request},
};
use prism_tests::{
    Proxy, Start,
    backend::{Backend, Speaks},
    client::{
        curl::{self, Answer},
        grpc::any,
        http2,
    },
    sha256, wait,
    wire::framed,
};
use prost::Message;
use serde_json::Value;
use tonic::Code;

const BYTES: &str = "content-type: application/octet-stream";
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const STREAM: &str = "/prism.data.v1.DataService/ExecuteStream";
const KV: &str = "/prism.kv.v1.KeyValueService";

/// What a caller without the right is told, whoever denies it.
const DENIED: &str = "the caller may not do that, or there is no such thing here";

/// A proxy that asks the authorizer with these settings, and forwards `/svc/` to that address.
pub(crate) fn config(external: &str, service: &str) -> String {
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters: [ trace: {{}}, auth, authz: {{ {external} }}, plugin_dispatch ]
    routes:
      - match: {{}}
      - match: {{ path_prefix: /svc/ }}
        forward: true
        targets: [{{ address: '{service}' }}]
        access: [{{ principal: 'key:owner' }}]
namespaces:
  - name: demo
    backend: memory
    access:
      - {{ principal: 'key:owner', permissions: [read, write] }}
      - {{ principal: 'key:reader', permissions: [read] }}
"
    )
}

/// Its settings for that address.
pub(crate) fn at(address: &str) -> String {
    format!("external: {{ address: '{address}', timeout: 5s, headers: [x-tenant], claims: [groups] }}")
}

pub(crate) fn start(config: &str) -> Proxy {
    Start::new(config).program("edge-that-believes").run()
}

pub(crate) fn http(proxy: &Proxy, caller: &str, path: &str, arguments: &[&str]) -> Answer {
    let (caller, url) = (format!("x-caller: {caller}"), proxy.url(path));
    curl::run(&[&["--path-as-is", "-H", &caller, &url], arguments].concat())
}

pub(crate) fn set(proxy: &Proxy, caller: &str, value: &str) -> Answer {
    http(proxy, caller, "/v1/demo/set?key=k", &["--data-binary", value, "-H", BYTES])
}

pub(crate) fn get(proxy: &Proxy, caller: &str) -> Answer {
    http(proxy, caller, "/v1/demo/get", &["--data-binary", "k", "-H", BYTES])
}

async fn grpc(proxy: &Proxy, path: &str, message: &[u8]) -> http2::Answer {
    let connection = http2::connect(proxy.port()).await;
    let head = http2::head(path, &[("x-caller", "owner"), ("x-prism-namespace", "demo")]);
    connection.call(head, framed(message)).await.unwrap()
}

/// Waits until a refusal in the access log has a detail with this in it.
pub(crate) fn logged(proxy: &Proxy, detail: &str) {
    wait::until(&format!("the log says {detail}"), || {
        let log = proxy.process.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.any(|line| line["detail"].as_str().is_some_and(|it| it.contains(detail))).then_some(())
    });
}

/// Every way in to read or write the key `k`: by which name, of which kind, and what each answers.
async fn every_way(proxy: &Proxy) -> Vec<(&'static str, &'static str, &'static str, String)> {
    let get = GetRequest { key: "k".into(), ..Default::default() };
    let set = SetRequest { key: "k".into(), value: Bytes::from_static(b"mine"), ..Default::default() };
    let executed = ExecuteRequest {
        operation: "get".into(),
        params: Some(execute_request::Params::TypedParams(any(&get))),
        ..Default::default()
    };
    let streamed = StreamRequest {
        operation: "watch".into(),
        params: Some(stream_request::Params::RawParams(Bytes::from_static(b"k"))),
        ..Default::default()
    };
    let code = |answer: http2::Answer| format!("{:?}", answer.code());
    let status = |answer: Answer| answer.status.to_string();
    let json = ["--json", r#"{"key":"k"}"#];
    vec![
        ("set", "write", "typed", code(grpc(proxy, &format!("{KV}/Set"), &set.encode_to_vec()).await)),
        ("get", "read", "Execute", code(grpc(proxy, EXECUTE, &executed.encode_to_vec()).await)),
        ("watch", "read", "ExecuteStream", code(grpc(proxy, STREAM, &streamed.encode_to_vec()).await)),
        ("get", "read", "JSON", status(http(proxy, "owner", "/v1/demo/get", &json))),
        ("set", "write", "bytes", status(self::set(proxy, "owner", "mine"))),
        ("", "describe", "description", status(http(proxy, "owner", "/v1/demo", &[]))),
        ("", "forward", "forward", status(http(proxy, "owner", "/svc/x", &["--http2-prior-knowledge"]))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_asks_it_and_it_is_told_what_is_about_to_be_done() {
    let (authorizer, backend) = (Authorizer::start(yes()), Backend::start(Speaks::Http2));
    let proxy = start(&config(&at(&authorizer.address), &backend.address));
    let ways = every_way(&proxy).await;
    let asked = authorizer.asked();
    assert_eq!(asked.len(), ways.len());
    for ((operation, kind, way, outcome), question) in ways.iter().zip(&asked) {
        assert!(["Ok", "200"].contains(&&**outcome), "{way}: {outcome}");
        let (request, extensions) = told(question);
        assert_eq!((&*extensions["operation"], &*extensions["kind"]), (*operation, *kind), "{way}");
        assert_eq!((&*extensions["principal"], &*extensions["listener"]), ("key:owner", "edge"), "{way}");
        assert_eq!(extensions["namespace"], if *way == "forward" { "" } else { "demo" }, "{way}");
        let source = question.attributes.clone().unwrap().source.unwrap();
        assert_eq!(source.principal, "key:owner");
        assert!(format!("{:?}", source.address).contains("127.0.0.1"), "{source:?}");
        assert!(
            !request.id.is_empty() && request.path.starts_with('/') && !request.host.is_empty(),
            "{request:?}"
        );
    }

    authorizer.set(no(403));
    let before = backend.requests().len();
    for (.., way, outcome) in every_way(&proxy).await {
        assert!(["PermissionDenied", "403"].contains(&&*outcome), "{way}: {outcome}");
    }
    assert_eq!(backend.requests().len(), before);
    let body = get(&proxy, "owner").expect(403).json();
    assert_eq!((&body["reason"], &body["message"]), (&Value::from("ACCESS_DENIED"), &Value::from(DENIED)));
    logged(&proxy, &format!("the authorizer at {}: it denies the call: not on a Friday", authorizer.address));
    // It is a question with a deadline, by gRPC's rules.
    for head in authorizer.heads() {
        assert_eq!(
            (&head["content-type"], &head["te"]),
            (&"application/grpc".parse().unwrap(), &"trailers".parse().unwrap())
        );
        assert!(head["grpc-timeout"].to_str().unwrap().ends_with('u'));
        assert_eq!(head.len(), 3, "{head:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_deny_it_is_not_asked() {
    let authorizer = Authorizer::start(yes());
    let proxy = start(&config(&at(&authorizer.address), "127.0.0.1:1"));
    let _ = set(&proxy, "reader", "x").expect(403);
    let _ = get(&proxy, "stranger").expect(403);
    let _ = http(&proxy, "stranger", "/svc/x", &[]).expect(403);
    let _ = http(&proxy, "owner", "/v1/other/get", &["--data-binary", "k", "-H", BYTES]).expect(403);
    // Nor of what does not exist, whose names callers make up.
    let _ = http(&proxy, "owner", "/v1/demo/made-up", &["--data-binary", "k", "-H", BYTES]).expect(501);
    assert!(authorizer.asked().is_empty());
    let _ = get(&proxy, "owner").expect(404);
    assert_eq!(authorizer.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_no_yes_is_a_no() {
    let authorizer = Authorizer::start(yes());
    let proxy = start(&config(&at(&authorizer.address), "127.0.0.1:1"));
    let _ = set(&proxy, "owner", "mine").expect(200);
    let error = CheckResponse {
        http_response: Some(HttpResponse::ErrorResponse(Default::default())),
        ..Default::default()
    };
    let unavailable = "503 AUTHZ_UNAVAILABLE";
    let denied = "403 ACCESS_DENIED";
    let taboo = |name: &'static str| yes_with(|it| it.headers.push(header(name, "root")));
    for (does, outcome, why) in [
        (no(0), denied, "not on a Friday"),
        (no(200), denied, "not on a Friday"),
        (no(401), "401 ACCESS_DENIED", "not on a Friday"),
        (no(429), "429 ACCESS_DENIED", "not on a Friday"),
        (no(500), denied, "not on a Friday"),
        (says(16, None), "401 ACCESS_DENIED", "its words"),
        (says(13, None), denied, "its words"),
        (says(5, Some(HttpResponse::OkResponse(Default::default()))), denied, "its words"),
        (Does::Says(Box::default()), unavailable, "its answer is empty"),
        (Does::Says(Box::new(error)), unavailable, "it says that it failed"),
        (taboo("x-prism-principal"), unavailable, "`x-prism-principal`, which is not its to change"),
        (taboo(":path"), unavailable, "`:path`, which is not its to change"),
        (taboo("host"), unavailable, "`host`, which is not its to change"),
        (Does::Fails(13), unavailable, "out of order"),
        (Does::Fails(7), unavailable, "out of order"),
        (Does::Fails(0), unavailable, "not exactly one message"),
        (Does::Http(200), unavailable, "it broke the protocol"),
        (Does::Http(503), unavailable, "503"),
        (Does::Http(302), unavailable, "302"),
        (Does::Forgets, unavailable, "without a grpc-status"),
        (Does::Foretells, unavailable, "without a grpc-status"),
        (Does::Resets, unavailable, "reset"),
        (Does::Babbles(Bytes::new()), unavailable, "not exactly one message"),
        (Does::Babbles(Bytes::from_static(b"yes")), unavailable, "not exactly one message"),
        (babble(0, 9, b"\x0a\x00"), unavailable, "not exactly one message"),
        (babble(1, 2, b"\x0a\x00"), unavailable, "compress"),
        (babble(0, 2, b"\x0a\x00\0\0\0\0\0"), unavailable, "not exactly one message"),
        (babble(0, 2, b"\xff\xff"), unavailable, "cannot be read"),
        (babble(0, 70_000, &[0; 70_000]), unavailable, "is above 65536 bytes"),
    ] {
        authorizer.set(does.clone());
        let answer = set(&proxy, "owner", "stolen");
        let body = answer.json();
        assert_eq!(format!("{} {}", answer.status, body["reason"].as_str().unwrap()), outcome, "{does:?}");
        let message = body["message"].as_str().unwrap();
        assert!(
            !answer.text().contains("Friday") && !answer.text().contains(&authorizer.address),
            "{message}"
        );
        logged(&proxy, why);
        if outcome == unavailable {
            assert_eq!(answer.header("retry-after"), Some("1"), "{does:?}");
        }
    }
    authorizer.set(yes());
    assert_eq!(get(&proxy, "owner").expect(200).text(), "mine");
    let count = |result: &str| {
        let label = format!("listener=\"edge\",result=\"{result}\"");
        proxy.admin().metric("prism_authz_external_total", &label)
    };
    assert!(count("failed") >= 20.0 && count("denied") >= 8.0 && count("allowed") >= 2.0);
    assert!(proxy.admin().metric("prism_authz_external_duration_seconds_count", "edge") >= 30.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_bodies_are_told_to_nobody() {
    let authorizer = Authorizer::start(yes());
    let folder = tempfile::tempdir().unwrap();
    let secret = "k7Qm2xZp9RtYvB4nL8sWc3Df";
    let hex = sha256(secret);
    let keys = folder.path().join("keys.yaml");
    std::fs::write(&keys, format!("keys: [{{ name: owner, sha256: {hex} }}]")).unwrap();
    let external = format!(
        "external: {{ address: '{}', timeout: 5s, headers: [x-tenant, x-api-key, x-prism-principal] }}",
        authorizer.address
    );
    let text = config(&external, "127.0.0.1:1");
    let text = text.replace(" auth,", &format!(" auth: {{ api_keys: {{ file: '{}' }} }},", keys.display()));
    let proxy = Proxy::start(&text);
    let (key, url) = (format!("x-api-key: {secret}"), proxy.url("/v1/demo/set?key=k"));
    let more = [
        "-H",
        "cookie: crumbs",
        "-H",
        "x-tenant: one",
        "-H",
        "x-unnamed: kept",
        "-H",
        "x-prism-principal: forged",
    ];
    let body = ["--data-binary", "payload-of-the-call", "-H", BYTES];
    let _ = curl::run(&[&[&*url, "-H", &key], &more[..], &body[..]].concat()).expect(200);
    let (request, _) = told(&authorizer.asked()[0]);
    assert_eq!(request.headers.into_iter().collect::<Vec<_>>(), [("x-tenant".to_owned(), "one".to_owned())]);
    let seen = String::from_utf8_lossy(&authorizer.seen()).into_owned();
    for hidden in [secret, "crumbs", "kept", "forged", "payload"] {
        assert!(!seen.contains(hidden), "{hidden}");
    }
    assert!(seen.contains("key:owner"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_sets_reaches_the_service_and_its_client() {
    let backend = Backend::start(Speaks::Http2);
    let authorizer = Authorizer::start(yes_with(|it| {
        it.headers = vec![header("x-tenant", "of alice"), header("authorization", "Bearer of the service")];
        it.headers_to_remove = vec!["x-debug".into(), "x-caller".into()];
        it.response_headers_to_add = vec![header("x-quota", "7")];
    }));
    let proxy = start(&config(&at(&authorizer.address), &backend.address));
    let more = ["-H", "x-tenant: of root", "-H", "x-debug: 1", "--http2-prior-knowledge"];
    let answer = http(&proxy, "owner", "/svc/x", &more).expect(200);
    assert_eq!(answer.header("x-quota"), Some("7"));
    let asked = answer.json();
    let values = |name: &str| -> Vec<String> {
        let headers = asked["headers"].as_array().unwrap();
        let named = headers.iter().filter(|header| header[0] == name);
        named.map(|header| header[1].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(values("x-tenant"), ["of alice"]);
    assert_eq!(values("authorization"), ["Bearer of the service"]);
    assert_eq!((values("x-debug").len(), values("x-caller").len()), (0, 0));
    assert_eq!(values("x-prism-principal"), ["key:owner"]);
    // The same of a plugin's answer, and by gRPC.
    assert_eq!(set(&proxy, "owner", "v").expect(200).header("x-quota"), Some("7"));
    let get = GetRequest { key: "k".into(), ..Default::default() }.encode_to_vec();
    let answer = grpc(&proxy, &format!("{KV}/Get"), &get).await;
    assert_eq!(
        (answer.code(), &answer.headers["x-quota"]),
        (Code::Ok, &"7".parse::<http::HeaderValue>().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_it_refuses_nothing() {
    let mut authorizer = Authorizer::start(no(403));
    let shadow = format!("shadow: true, {}", at(&authorizer.address));
    let proxy = start(&config(&shadow, "127.0.0.1:1"));
    let _ = set(&proxy, "owner", "mine").expect(200);
    assert_eq!(authorizer.asked().len(), 1);
    logged(&proxy, "authz would refuse it: the authorizer at");
    authorizer.stop();
    let _ = get(&proxy, "owner").expect(200);
    logged(&proxy, "Connection refused");
}
