//! What an authorizer has approved, and what comes of it when another one has to be asked.

use super::{
    EXECUTE, KV, at,
    authorizer::{Authorizer, no, yes},
    config, get, set, start,
};
use bytes::Bytes;
use h2::RecvStream;
use http::Request;
use prism_proto::{
    kv::v1::SetRequest,
    plugin::{ExecuteRequest, execute_request},
};
use prism_tests::{
    Proxy,
    client::{grpc::any, http2, watch},
    load::Load,
    wait,
    wire::framed,
};
use prost::Message;
use tonic::Code;

async fn watch(proxy: &Proxy) -> RecvStream {
    let connection = http2::connect(proxy.port()).await;
    let stream = watch::open(&connection, &[("x-caller", "owner")]).await;
    // Its connection is driven for as long as the test runs.
    std::mem::forget(connection);
    stream
}

async fn goes_on(proxy: &Proxy, stream: &mut RecvStream) {
    let _ = set(proxy, "owner", "v").expect(200);
    let event = wait::guard("an event", stream.data()).await.unwrap().unwrap();
    assert!(!event.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_another_authorizer_has_to_be_asked() {
    let (one, other) = (Authorizer::start(yes()), Authorizer::start(yes()));
    let with = |external: &str| config(external, "127.0.0.1:1");
    let proxy = start(&with(&at(&one.address)));
    let mut staying = watch(&proxy).await;
    // What it would say now does not matter: it is asked when a call begins.
    one.set(no(403));
    let _ = get(&proxy, "owner").expect(403);
    one.set(yes());
    goes_on(&proxy, &mut staying).await;
    // Nor does a change elsewhere, nor its being only listened to.
    proxy.hang_up(&with(&format!("shadow: true, {}", at(&one.address))));
    goes_on(&proxy, &mut staying).await;
    proxy.hang_up(&with(&at(&one.address)));
    goes_on(&proxy, &mut staying).await;

    proxy.hang_up(&with(&at(&other.address)));
    assert_eq!(watch::ended(staying).await.unwrap(), "14");
    let again = watch(&proxy).await;
    let asked = other.asked();
    assert_eq!(asked[0].attributes.as_ref().unwrap().context_extensions["operation"], "watch");

    // Without any, nobody loses anything; when there is one again, what began without it does.
    proxy.hang_up(&with(""));
    let without = watch(&proxy).await;
    proxy.hang_up(&with(&at(&one.address)));
    assert_eq!(watch::ended(without).await.unwrap(), "14");
    drop(again);
}

/// A call whose body's end its client holds back: what it is about may be known by then, or not.
struct HeldBack {
    response: h2::client::ResponseFuture,
    stream: h2::SendStream<Bytes>,
    rest: Bytes,
}

impl HeldBack {
    async fn begin(connection: &http2::Connection, head: Request<()>, body: Bytes, sent: usize) -> Self {
        let mut send = connection.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(head, false).unwrap();
        stream.send_data(body.slice(..sent), false).unwrap();
        Self { response, stream, rest: body.slice(sent..) }
    }

    async fn end(mut self) -> http2::Answer {
        self.stream.send_data(self.rest, true).unwrap();
        wait::guard("an answer", http2::collect(self.response)).await.unwrap()
    }
}

/// What came of it, and what was said about that.
fn outcome(answer: &http2::Answer) -> (String, String) {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    match answer.headers["content-type"] == "application/grpc" {
        true => (format!("{:?}", answer.code()), answer.grpc().message().to_owned()),
        false => (answer.status.as_u16().to_string(), body),
    }
}

/// Calls of every way in, of whose bodies a little has been sent.
async fn held_back(connection: &http2::Connection) -> Vec<(&'static str, HeldBack)> {
    let set = SetRequest { key: "k".into(), value: Bytes::from_static(b"stolen"), ..Default::default() };
    let executed = ExecuteRequest {
        operation: "set".into(),
        params: Some(execute_request::Params::TypedParams(any(&set))),
        ..Default::default()
    };
    let executed = framed(&executed.encode_to_vec());
    let typed = framed(&set.encode_to_vec());
    let grpc = |path: &str| http2::head(path, &[("x-caller", "owner"), ("x-prism-namespace", "demo")]);
    let post = |path: &str, kind: &str, length: &str| {
        let head = Request::post(format!("http://edge{path}"));
        let head = head.header("content-type", kind).header("x-caller", "owner");
        let head = if length.is_empty() { head } else { head.header("content-length", length) };
        head.body(()).unwrap()
    };
    let (raw, json) = ("application/octet-stream", "application/json");
    let set = "/v1/demo/set?key=k";
    let stolen = || Bytes::from_static(b"stolen");
    let text = Bytes::from_static(br#"{"key":"k","value":"c3RvbGVu"}"#);
    let last = executed.len() - 1;
    let mut all = Vec::new();
    for (way, head, body, sent) in [
        ("operation not known", grpc(EXECUTE), executed.clone(), 3),
        ("operation known", grpc(EXECUTE), executed.clone(), last),
        ("only its end", grpc(EXECUTE), executed.clone(), last + 1),
        ("typed", grpc(&format!("{KV}/Set")), typed.clone(), typed.len() - 1),
        ("bytes", post(set, raw, ""), stolen(), 3),
        ("bytes of a length", post(set, raw, "6"), stolen(), 3),
        ("JSON", post("/v1/demo/set", json, ""), text, 3),
    ] {
        all.push((way, HeldBack::begin(connection, head, body, sent).await));
    }
    all
}

/// Has the configuration run before it returns.
fn apply(proxy: &Proxy, template: &str) {
    let _ = proxy.admin().over_socket("PUT", "/config", &proxy.fill(template)).expect(200);
}

/// Whoever knows that an authorizer will have to be asked gets nothing past it by beginning early.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_holds_back_until_there_is_an_authorizer_is_not_done() {
    let authorizer = Authorizer::start(no(403));
    let proxy = start(&config("", "127.0.0.1:1"));
    let _ = set(&proxy, "owner", "mine").expect(200);
    let connection = http2::connect(proxy.port()).await;
    let held = held_back(&connection).await;
    // They have arrived when what was sent after them is answered.
    let head = http2::head(
        "/prism.kv.v1.KeyValueService/Get",
        &[("x-caller", "owner"), ("x-prism-namespace", "demo")],
    );
    assert_eq!(connection.call(head, framed(b"\x0a\x01k")).await.unwrap().code(), Code::Ok);
    apply(&proxy, &config(&at(&authorizer.address), "127.0.0.1:1"));
    for (way, call) in held {
        let (outcome, said) = outcome(&call.end().await);
        assert!(["503", "Unavailable"].contains(&&*outcome), "{way}: {outcome} {said}");
        assert!(said.contains("has to be asked anew"), "{way}: {said}");
    }
    apply(&proxy, &config("", "127.0.0.1:1"));
    assert_eq!(get(&proxy, "owner").expect(200).text(), "mine");

    // What an authorizer has approved is not lost, nor is anything when nobody has to be asked any more.
    let other = Authorizer::start(yes());
    apply(&proxy, &config(&at(&other.address), "127.0.0.1:1"));
    let held = held_back(&connection).await;
    // But for one, whose operation nobody knows yet.
    wait::until("they were asked about", || {
        (proxy.admin().metric("prism_authz_external_total", "allowed") >= 6.0).then_some(())
    });
    apply(&proxy, &config("", "127.0.0.1:1"));
    for (way, call) in held {
        let (outcome, said) = outcome(&call.end().await);
        assert!(["200", "Ok"].contains(&&*outcome), "{way}: {outcome} {said}");
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn an_authorizer_is_replaced_under_load_without_a_failure() {
    let authorizers = [Authorizer::start(yes()), Authorizer::start(yes())];
    let open = |external: &str| {
        config(external, "127.0.0.1:1").replace("key:owner', permissions", "anonymous', permissions")
    };
    let proxy = start(&open(&at(&authorizers[0].address)));
    let load = Load::start(proxy.port(), "demo", 8);
    for turn in 1..=20 {
        proxy.hang_up(&open(&at(&authorizers[turn % 2].address)));
        let before = load.answered();
        wait::until_async("calls go on", || async { (load.answered() > before + 20).then_some(()) }).await;
    }
    let outcome = load.stop().await;
    assert_eq!(outcome.lost(), Vec::<&str>::new());
    println!("{} calls through 20 changes of the authorizer, none failed", outcome.answered);
    assert!(authorizers.iter().all(|authorizer| !authorizer.asked().is_empty()));
}
