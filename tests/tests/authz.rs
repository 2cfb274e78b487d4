//! Who may do what, through the whole proxy: `authz` behind an `auth` that believes what it is told.

use bytes::Bytes;
use prism_proto::{
    kv::v1::{GetRequest, SetRequest},
    plugin::{ExecuteRequest, StreamRequest, execute_request::Params},
};
use prism_tests::{
    Proxy, Start,
    client::{
        curl::{self, Answer},
        grpc::{any, reason},
        http2, raw,
    },
    wait,
    wire::{field, framed},
};
use prost::Message;
use serde_json::Value;
use std::fs;
use tonic::Code;

const BYTES: &str = "content-type: application/octet-stream";
const JSON: &str = "content-type: application/json";
const EXECUTE: &str = "/prism.data.v1.DataService/Execute";
const STREAM: &str = "/prism.data.v1.DataService/ExecuteStream";

/// What a caller without the right is told, whatever it tried.
const DENIED: &str = "the caller may not do that, or there is no such thing here";

const RULES: &str = "
      - { principal: 'key:reader', permissions: [read] }
      - { principal: 'key:owner', permissions: [read, write] }
      - { principal: 'key:clerk', claims: { groups: staff }, operations: { allow: [set] } }
      - { principal: 'key:*', claims: { trainee: true }, operations: { deny: [set, delete] } }
";

/// The proxy with these filters between `auth` and its end, these rules for `demo`, and this behind its name.
fn config(filters: &str, rules: &str, more: &str) -> String {
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters: [ {{ trace: {{ access_log: {{ path: access.log }} }} }}, auth, {filters}, plugin_dispatch ]
    routes:
      - match: {{}}
      - match: {{ path_prefix: /open/ }}
        forward: true
        targets: [{{ address: '127.0.0.1:1' }}]
        access: [{{ principal: 'key:reader' }}]
      - match: {{ path_prefix: /shut/ }}
        forward: true
        targets: [{{ address: '127.0.0.1:1' }}]
namespaces:
  - name: bare
    backend: memory
  - name: demo
    backend: memory
    {more}
    access:{rules}
"
    )
}

fn start() -> Proxy {
    Start::new(&config("authz", RULES, "")).program("edge-that-believes").run()
}

fn http(proxy: &Proxy, caller: &str, path: &str, arguments: &[&str]) -> Answer {
    let (caller, url) = (format!("x-caller: {caller}"), proxy.url(path));
    curl::run(&[&["--path-as-is", "-H", &caller, &url], arguments].concat())
}

fn set(proxy: &Proxy, caller: &str, value: &str) -> Answer {
    http(proxy, caller, "/v1/demo/set?key=k", &["--data-binary", value, "-H", BYTES])
}

fn get(proxy: &Proxy, caller: &str) -> Answer {
    http(proxy, caller, "/v1/demo/get", &["--data-binary", "k", "-H", BYTES])
}

/// Refused as everything is that is not allowed.
fn denied(answer: Answer) {
    let body = answer.expect(403).json();
    assert_eq!(
        (&body["code"], &body["reason"]),
        (&Value::from("PERMISSION_DENIED"), &Value::from("ACCESS_DENIED"))
    );
    assert_eq!(body["message"], DENIED);
}

async fn grpc(proxy: &Proxy, caller: &str, namespace: &str, path: &str, message: &[u8]) -> http2::Answer {
    let connection = http2::connect(proxy.port()).await;
    let head = http2::head(path, &[("x-caller", caller), ("x-prism-namespace", namespace)]);
    connection.call(head, framed(message)).await.unwrap()
}

fn denied_grpc(answer: &http2::Answer) {
    let status = answer.grpc();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, DENIED), "{status:?}");
    assert_eq!(reason(&status).as_deref(), Some("ACCESS_DENIED"));
}

fn execute(operation: &str, params: Params) -> Vec<u8> {
    ExecuteRequest { operation: operation.into(), params: Some(params), ..Default::default() }.encode_to_vec()
}

fn set_request() -> SetRequest {
    SetRequest { key: "k".into(), value: Bytes::from_static(b"stolen"), ..Default::default() }
}

/// The last line of the access log that has this, once it is there.
fn logged(proxy: &Proxy, what: impl Fn(&Value) -> bool) -> Value {
    let file = proxy.folder().join("access.log");
    wait::until("the line should be in the access log", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| what(line))
            .last()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_asks_the_same_rules() {
    let proxy = start();
    let _ = set(&proxy, "owner", "mine").expect(200);
    assert_eq!(get(&proxy, "reader").expect(200).text(), "mine");
    assert_eq!(get(&proxy, "owner").expect(200).text(), "mine");

    denied(set(&proxy, "reader", "stolen"));
    denied(http(
        &proxy,
        "reader",
        "/v1/demo/set",
        &["-d", "{\"key\":\"k\",\"value\":\"c3RvbGVu\"}", "-H", JSON],
    ));
    let raw = Params::RawParams(Bytes::from_static(b"stolen"));
    denied_grpc(&grpc(&proxy, "reader", "demo", EXECUTE, &execute("set", raw)).await);
    let typed = Params::TypedParams(any(&set_request()));
    denied_grpc(&grpc(&proxy, "reader", "demo", EXECUTE, &execute("set", typed)).await);
    let path = "/prism.kv.v1.KeyValueService/Set";
    denied_grpc(&grpc(&proxy, "reader", "demo", path, &set_request().encode_to_vec()).await);
    let stream = StreamRequest { operation: "set".into(), ..Default::default() };
    denied_grpc(&grpc(&proxy, "reader", "demo", STREAM, &stream.encode_to_vec()).await);

    let read = GetRequest { key: "k".into(), ..Default::default() };
    let path = "/prism.kv.v1.KeyValueService/Get";
    assert_eq!(grpc(&proxy, "reader", "demo", path, &read.encode_to_vec()).await.code(), Code::Ok);
    let typed = execute("get", Params::TypedParams(any(&read)));
    assert_eq!(grpc(&proxy, "reader", "demo", EXECUTE, &typed).await.code(), Code::Ok);
    assert_eq!(get(&proxy, "reader").expect(200).text(), "mine");
    let line = logged(&proxy, |line| line["operation"] == "set" && line["protocol"] == "grpc");
    assert_eq!(line["detail"], "no rule allows the caller an operation of kind write");
    assert_eq!((&line["reason"], &line["principal"]), (&"ACCESS_DENIED".into(), &"key:reader".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_by_claim_and_by_name_and_what_is_denied() {
    let proxy = start();
    for (caller, may) in [
        ("owner", true),
        ("clerk {\"groups\":[\"staff\",\"x\"]}", true),
        ("clerk {\"groups\":\"staff\"}", true),
        ("clerk {\"groups\":\"Staff\"}", false),
        ("clerk {\"groups\":[]}", false),
        ("clerk", false),
        // The claim is another credential's.
        ("clerk;other {\"groups\":\"staff\"}", false),
        ("owner {\"trainee\":true}", false),
        ("owner {\"trainee\":\"true\"}", true),
        ("owner {\"trainee\":1}", true),
        ("owner;other {\"trainee\":true}", false),
        ("stranger", false),
        ("OWNER", false),
        ("owner2", false),
        ("owne", false),
    ] {
        let answer = set(&proxy, caller, "v");
        match may {
            true => drop(answer.expect(200)),
            false => denied(answer),
        }
    }
    // Nobody at all is anonymous here, and no pattern stands for that.
    let url = proxy.url("/v1/demo/set?key=k");
    denied(curl::run(&["--data-binary", "v", "-H", BYTES, &url]));
    denied(get(&proxy, "clerk {\"groups\":\"staff\"}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_forbidden_look_alike() {
    let proxy = start();
    let shown = |answer: &Answer| {
        let mut body = answer.json();
        body["request_id"] = Value::Null;
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| !["date", "x-request-id", "content-length"].contains(&name.as_str()));
        (answer.status, headers, body)
    };
    for (path, arguments) in [
        ("get", &["--data-binary", "k", "-H", BYTES][..]),
        ("nonsense", &["--data-binary", "k", "-H", BYTES]),
        ("set", &["-d", "{}", "-H", JSON]),
        ("", &[]),
        ("openapi.json", &[]),
    ] {
        let answers = ["demo", "bare", "missing"].map(|namespace| {
            let path = format!("/v1/{namespace}/{path}");
            http(&proxy, "stranger", path.trim_end_matches('/'), arguments)
        });
        answers.iter().for_each(|answer| denied(answer.clone()));
        assert_eq!(shown(&answers[0]), shown(&answers[1]), "{path}");
        assert_eq!(shown(&answers[0]), shown(&answers[2]), "{path}");
    }
    for (namespace, detail) in [
        ("demo", "no rule of the namespace's `access` permits the caller anything"),
        ("bare", "the namespace has no `access` rules"),
        ("missing", "there is no such namespace"),
    ] {
        let line = logged(&proxy, |line| line["namespace"] == namespace && line["detail"].is_string());
        assert_eq!(line["detail"], detail);
    }
    let read = GetRequest { key: "k".into(), ..Default::default() }.encode_to_vec();
    for path in [EXECUTE, STREAM, "/prism.kv.v1.KeyValueService/Get", "/acme.v1.Nothing/Get"] {
        for namespace in ["demo", "bare", "missing"] {
            denied_grpc(&grpc(&proxy, "stranger", namespace, path, &read).await);
        }
    }
    // Who may do something there is told what there is and is not.
    let nonsense = http(&proxy, "reader", "/v1/demo/nonsense", &["--data-binary", "k", "-H", BYTES]);
    assert_eq!(nonsense.expect(501).json()["reason"], "UNKNOWN_OPERATION");
    let answer = grpc(&proxy, "reader", "demo", "/acme.v1.Nothing/Get", &read).await;
    assert_eq!(answer.code(), Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptions_health_and_reflection_are_for_those_who_may_do_something_there() {
    let proxy = start();
    let _ = http(&proxy, "reader", "/v1/demo", &[]).expect(200);
    let _ = http(&proxy, "reader", "/v1/demo/openapi.json", &[]).expect(200);
    denied(http(&proxy, "reader", "/v1/bare", &[]));
    denied(http(&proxy, "clerk", "/v1/demo", &[]));
    let list = field(7, b"");
    for (path, message) in [
        ("/grpc.health.v1.Health/Check", Vec::new()),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", list),
    ] {
        assert_eq!(grpc(&proxy, "reader", "demo", path, &message).await.code(), Code::Ok, "{path}");
        for (caller, namespace) in [("stranger", "demo"), ("reader", "bare"), ("reader", "missing")] {
            denied_grpc(&grpc(&proxy, caller, namespace, path, &message).await);
        }
        // The listener's own are the same for everybody whom `auth` lets in.
        let connection = http2::connect(proxy.port()).await;
        let head = http2::head(path, &[("x-caller", "stranger")]);
        assert_eq!(connection.call(head, framed(&message)).await.unwrap().code(), Code::Ok, "{path}");
    }
}

#[test]
fn a_forward_route_asks_its_own_rules() {
    let proxy = start();
    // Nobody listens there: whoever gets so far is told that.
    assert_eq!(http(&proxy, "reader", "/open/x", &[]).expect(503).json()["reason"], "UPSTREAM_UNAVAILABLE");
    for (caller, path) in [("owner", "/open/x"), ("reader", "/shut/x"), ("owner", "/shut/x")] {
        denied(http(&proxy, caller, path, &[]));
    }
    let line = logged(&proxy, |line| line["path"] == "/shut/x");
    assert_eq!(line["detail"], "the route has no `access` rules");
}

/// What a listener serves itself is not forwarded by a route that takes just everything, so it runs through that route's
/// filters; and where these ask nobody, nothing is told of a namespace that has rules.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_on_which_nobody_asks_leads_to_no_namespace_with_rules() {
    let open = "      - { match: {}, forward: true, targets: [{ address: '127.0.0.1:1' }], filters: { auth: false, authz: false } }";
    let text = config("authz", RULES, "").replace("      - match: {}\n", &format!("{open}\n"));
    assert!(text.contains(open));
    let proxy = Start::new(&text).program("edge-that-believes").run();
    let list = field(7, b"");
    for (path, message) in [
        ("/grpc.health.v1.Health/Check", &[][..]),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &list),
    ] {
        denied_grpc(&grpc(&proxy, "owner", "demo", path, message).await);
        assert_eq!(grpc(&proxy, "owner", "bare", path, message).await.code(), Code::Ok, "{path}");
    }
    let line = logged(&proxy, |line| line["code"] == "PERMISSION_DENIED");
    assert_eq!(line["detail"], "there are `access` rules, and no `authz` asked for them");
}

/// Whatever is written, what is authorized is what runs: a reader never writes.
#[tokio::test(flavor = "multi_thread")]
async fn tricks_with_paths_headers_and_encodings_write_nothing() {
    let proxy = start();
    let _ = set(&proxy, "owner", "mine").expect(200);
    for path in [
        "/v1/demo/set?key=k",
        "/v1/demo/set/?key=k",
        "/v1/demo//set?key=k",
        "//v1/demo/set?key=k",
        "/v1//demo/set?key=k",
        "/v1/demo/get/../set?key=k",
        "/v1/demo/./set?key=k",
        "/v1/demo/get%2f..%2fset?key=k",
        "/v1/demo/%73et?key=k",
        "/v1/dem%6f/set?key=k",
        "/v1/demo/set%00get?key=k",
        "/v1/demo/set;get?key=k",
        "/v1/demo/get#/set?key=k",
        "/v1/demo/SET?key=k",
        "/v1/Demo/set?key=k",
        "/V1/demo/set?key=k",
        "/v1/demo/get/set?key=k",
        "/v1/demo/set?key=k&operation=get",
        "/v1/demo/set\\get?key=k",
    ] {
        let answer = http(&proxy, "reader", path, &["--data-binary", "stolen", "-H", BYTES]);
        // What stands behind `#` never leaves the client: it is the `get` of another key.
        assert!(answer.status >= 400, "{path}: {} {}", answer.status, answer.text());
    }
    for headers in [
        &["x-prism-operation: get"][..],
        &["x-prism-principal: key:owner"],
        &["x-prism-namespace: bare"],
        &["x-prism-namespace: demo", "x-prism-namespace: bare"],
        &["x-http-method-override: GET"],
        &["x-original-url: /v1/demo/get", "x-rewrite-url: /v1/demo/get"],
        &["content-encoding: gzip"],
    ] {
        let arguments: Vec<&str> = headers.iter().flat_map(|header| ["-H", header]).collect();
        let arguments = [&["--data-binary", "stolen", "-H", BYTES], &arguments[..]].concat();
        let answer = http(&proxy, "reader", "/v1/demo/set?key=k", &arguments);
        assert!(answer.status >= 400, "{headers:?}: {}", answer.status);
    }
    let stolen = field(3, b"stolen");
    let (get, set) = (field(1, b"get"), field(1, b"set"));
    for message in [
        [&get[..], &set, &stolen].concat(),
        [&set[..], &get, &stolen].concat(),
        [&get[..], &stolen, &set].concat(),
        [&field(1, b"")[..], &set, &stolen].concat(),
        [&field(1, b"set\0get")[..], &stolen].concat(),
        [&field(1, b"get\0set")[..], &stolen].concat(),
        [&field(1, b" set")[..], &stolen].concat(),
        [&field(1, b"Set")[..], &stolen].concat(),
        [&field(9, &vec![0; 70 << 10])[..], &set, &stolen].concat(),
        stolen.clone(),
    ] {
        for path in [EXECUTE, STREAM] {
            let answer = grpc(&proxy, "reader", "demo", path, &message).await;
            assert_ne!(answer.code(), Code::Ok, "{path} {message:?}");
        }
    }
    // HTTP/1.1 by hand: a target in absolute form, a second request hidden in the first's body.
    for head in [
        "POST http://127.0.0.1/v1/demo/set?key=k HTTP/1.1\r\nhost: x\r\n",
        "POST /v1/demo/set?key=k HTTP/1.1\r\nhost: x\r\nx-caller: owner, reader\r\n",
    ] {
        let mut socket = raw::connect(proxy.port());
        let rest =
            format!("x-caller: reader\r\n{BYTES}\r\nconnection: close\r\ncontent-length: 6\r\n\r\nstolen");
        raw::send(&mut socket, format!("{head}{rest}").as_bytes());
        let answer = raw::until_closed(&mut socket);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(get_text(&proxy), "mine");
}

fn get_text(proxy: &Proxy) -> String {
    get(proxy, "reader").expect(200).text()
}

#[test]
fn what_was_granted_is_not_done_by_an_instance_that_means_something_else() {
    let held = |kinds: &str| config("authz, { hold: { gone: gate } }", RULES, kinds);
    let proxy = Start::new(&held("")).program("edge-that-believes").run();
    let gate = proxy.folder().join("gate");
    for (kinds, status) in
        [("operations: { get: admin }", 503), ("operations: { get: admin, exists: admin }", 200)]
    {
        fs::write(&gate, "").unwrap();
        let _ = fs::remove_file(gate.with_extension("seen"));
        // The second time nothing is changed of what the call is about, but the instance is another all the same.
        let caller = if status == 200 { "by-name" } else { "reader" };
        let url = proxy.url("/v1/demo/get");
        let named = format!("x-caller: {caller}");
        let call =
            std::thread::spawn(move || curl::run(&["--data-binary", "k", "-H", BYTES, "-H", &named, &url]));
        wait::until("the call should be held", || gate.with_extension("seen").exists().then_some(()));
        let rules =
            format!("{RULES}      - {{ principal: 'key:by-name', operations: {{ allow: [get] }} }}\n");
        let version = proxy.admin().version();
        let next = proxy.fill(&config("authz, { hold: { gone: gate } }", &rules, kinds));
        let _ = proxy.admin().over_socket("PUT", "/config", &next).expect(200);
        assert!(proxy.admin().version() > version);
        fs::remove_file(&gate).unwrap();
        let answer = call.join().unwrap();
        match status {
            503 => assert_eq!(answer.expect(503).json()["reason"], "RELOADED"),
            // The key is not there; but that is an answer.
            _ => assert_eq!(answer.expect(404).json()["reason"], "OPERATION_FAILED"),
        }
    }
}

#[test]
fn rules_hold_from_the_next_call_on_and_are_shown_as_they_are() {
    let proxy = start();
    denied(set(&proxy, "newcomer", "v"));
    let rules = format!("{RULES}      - {{ principal: 'key:newcomer', permissions: [write] }}\n");
    let put = |text: &str| proxy.admin().over_socket("PUT", "/config", &proxy.fill(text));
    let _ = put(&config("authz", &rules, "")).expect(200);
    let _ = set(&proxy, "newcomer", "v").expect(200);
    denied(get(&proxy, "newcomer"));
    let shown = proxy.admin().config();
    assert_eq!(shown["config"]["namespaces"][1]["access"][2]["claims"]["groups"], "staff");
    assert_eq!(shown["config"]["namespaces"][1]["access"][4]["principal"], "key:newcomer");
    // Rules that nobody would ask for are no configuration.
    let refused = put(&config("authz", &rules, "").replace("auth, authz,", "auth,"));
    assert!(refused.status >= 400 && refused.text().contains("there is no `authz`"), "{}", refused.text());
    let _ = put(&config("authz", RULES, "")).expect(200);
    denied(set(&proxy, "newcomer", "v"));
}

#[test]
fn in_the_shadow_nothing_is_refused_and_everything_is_told() {
    let proxy =
        Start::new(&config("{ authz: { shadow: true } }", RULES, "")).program("edge-that-believes").run();
    let _ = set(&proxy, "reader", "v").expect(200);
    let line = logged(&proxy, |line| line["operation"] == "set");
    assert_eq!(line["code"], "OK");
    assert_eq!(line["detail"], "authz would refuse it: no rule allows the caller an operation of kind write");
    let _ = set(&proxy, "owner", "v").expect(200);
    let line = logged(&proxy, |line| line["principal"] == "key:owner");
    assert!(line.get("detail").is_none(), "{line}");
    assert!((proxy.admin().metric("prism_authz_shadow_denied_total", "listener=\"edge\"") - 1.0).abs() < 0.5);
    let missing = http(&proxy, "reader", "/v1/missing/get", &["--data-binary", "k", "-H", BYTES]);
    assert_eq!(missing.expect(404).json()["reason"], "UNKNOWN_NAMESPACE");
}
