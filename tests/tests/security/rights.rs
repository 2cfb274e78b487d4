//! Rights that end: what was let in and is under way ends with them, and the rest goes on.

use super::{KEY, KeyFile, OTHER, bearer, config, guarded, told};
use h2::RecvStream;
use prism_tests::{
    Proxy,
    client::{http2, watch},
    issuer::Issuer,
    wait,
};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// It gets an event for a key that is set now.
async fn goes_on(proxy: &Proxy, stream: &mut RecvStream, key: &str, credential: &str) {
    let url = proxy.url(&format!("/v1/demo/set?key={key}"));
    let header = format!("x-api-key: {credential}");
    let arguments =
        [&url, "-H", &header, "-H", "content-type: application/octet-stream", "--data-binary", "v"];
    let _ = prism_tests::client::curl::run(&arguments).expect(200);
    let event = wait::guard("an event", stream.data()).await.unwrap().unwrap();
    assert!(!event.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_key_and_the_others_go_on() {
    let keys = KeyFile::new(&[("batch", KEY, ""), ("shop", OTHER, "")]);
    let proxy = Proxy::start(&config(&format!(
        "      - auth: {{ api_keys: {{ file: '{}' }}, anonymous: true }}\n",
        keys.path()
    )));
    let connection = http2::connect(proxy.port()).await;
    let ending = watch::open(&connection, &[("x-api-key", KEY)]).await;
    let mut staying = watch::open(&connection, &[("x-api-key", OTHER)]).await;
    let _nobody = watch::open(&connection, &[]).await;
    keys.write(&[("shop", OTHER, ""), ("new", "AAAABBBBCCCCDDDDEEEEFFFF", "")]);
    assert_eq!(watch::ended(ending).await.unwrap(), "16");
    goes_on(&proxy, &mut staying, "a", OTHER).await;
    told(&proxy, "the credential of key:batch is no longer good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_its_credential_does() {
    let soon = SystemTime::now() + Duration::from_secs(3);
    let ends_at = format!(", expires: '{}'", humantime::format_rfc3339_seconds(soon));
    let keys = KeyFile::new(&[("batch", KEY, &ends_at), ("shop", OTHER, "")]);
    let filter = format!("      - auth: {{ api_keys: {{ file: '{}' }} }}\n", keys.path());
    let proxy = Proxy::start(&config(&filter));
    let connection = http2::connect(proxy.port()).await;
    let ending = watch::open(&connection, &[("x-api-key", KEY)]).await;
    let mut staying = watch::open(&connection, &[("x-api-key", OTHER)]).await;
    assert_eq!(watch::ended(ending).await.unwrap(), "16");
    goes_on(&proxy, &mut staying, "a", OTHER).await;
    told(&proxy, "the credential of key:batch has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_was_asked_for_ends_when_somebody_is() {
    let keys = KeyFile::new(&[("batch", KEY, "")]);
    let proxy = Proxy::start(&config(""));
    let connection = http2::connect(proxy.port()).await;
    let ending = watch::open(&connection, &[]).await;
    proxy.hang_up(&config(&format!("      - auth: {{ api_keys: {{ file: '{}' }} }}\n", keys.path())));
    assert_eq!(watch::ended(ending).await.unwrap(), "16");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_token_its_key_and_its_permission() {
    let tokens = super::tokens::Keys::new();
    let second = Issuer::new("https://id.example", "two");
    tokens.write(&[&tokens.issuer, &second]);
    let rule = |who: &str, what: &str| {
        format!("{{ principal: 'jwt:https://id.example:{who}', permissions: [{what}] }}")
    };
    let rules = |bob: &str| {
        let rules =
            [rule("alice", "read"), rule("bob", bob), rule("carol", "read"), rule("dan", "read")].join(", ");
        guarded(&tokens.filter(", leeway: 1ms"), &rules)
    };
    let proxy = Proxy::start(&rules("read"));
    let connection = http2::connect(proxy.port()).await;
    let open = async |token: String| {
        let (name, value) = bearer(&token);
        watch::open(&connection, &[(name, &value)]).await
    };
    let expiring = open(tokens.token("alice", 3)).await;
    let forbidden = open(tokens.token("bob", 600)).await;
    let unsigned = open(second.token("carol", "orders", 600, &Value::Null)).await;
    let mut staying = open(tokens.token("dan", 600)).await;
    proxy.hang_up(&rules("write"));
    assert_eq!(watch::ended(forbidden).await.unwrap(), "7");
    tokens.write(&[&tokens.issuer]);
    assert_eq!(watch::ended(unsigned).await.unwrap(), "16");
    assert_eq!(watch::ended(expiring).await.unwrap(), "16");
    told(&proxy, "it was let in before: no rule allows the caller an operation of kind read");
    told(&proxy, "the credential of jwt:https://id.example:carol is no longer good");
    told(&proxy, "the credential of jwt:https://id.example:alice has ended");
    let still = tokio::time::timeout(Duration::from_millis(600), staying.data()).await;
    assert!(still.is_err(), "the others go on: {still:?}");
}

/// A call may name its operation long after it was let in: what counts is whether it may be made when it begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_holds_its_body_back_gains_nothing_by_it() {
    let keys = KeyFile::new(&[("batch", KEY, ""), ("shop", OTHER, "")]);
    let rules = |batch: &str| {
        let filter = format!("      - auth: {{ api_keys: {{ file: '{}' }} }}\n", keys.path());
        let rule = |who: &str, what: &str| format!("{{ principal: 'key:{who}', permissions: [{what}] }}");
        guarded(&filter, &format!("{}, {}", rule("batch", batch), rule("shop", "read")))
    };
    let proxy = Proxy::start(&rules("read"));
    let connection = http2::connect(proxy.port()).await;
    let open = async |key: &str| {
        let head = http2::head(super::EXECUTE, &[("x-prism-namespace", "demo"), ("x-api-key", key)]);
        connection.send.clone().ready().await.unwrap().send_request(head, false).unwrap()
    };
    let (batch, mut batch_body) = open(KEY).await;
    let (shop, mut shop_body) = open(OTHER).await;
    proxy.hang_up(&rules("write"));
    wait::until("the change", || (proxy.admin().version() == 2).then_some(()));
    keys.write(&[("batch", KEY, "")]);
    wait::until("the key is gone", || {
        (super::curl_get(&proxy, &[&format!("x-api-key: {OTHER}")]).status == 401).then_some(())
    });
    for (response, body, code) in [(batch, &mut batch_body, "7"), (shop, &mut shop_body, "16")] {
        // It may have been ended already.
        let _ = body.send_data(prism_tests::wire::framed(&super::execute_get()), true);
        let answer = wait::guard("an answer", response).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_namespace_ends_with_the_right_to_know_it() {
    let keys = KeyFile::new(&[("batch", KEY, "")]);
    let filter = format!("      - auth: {{ api_keys: {{ file: '{}' }} }}\n", keys.path());
    let proxy = Proxy::start(&guarded(&filter, "{ principal: 'key:batch', permissions: [read] }"));
    let connection = http2::connect(proxy.port()).await;
    let headers = [("x-prism-namespace", "demo"), ("x-api-key", KEY)];
    let head = http2::head("/grpc.health.v1.Health/Watch", &headers);
    let mut send = connection.send.clone().ready().await.unwrap();
    let (health, mut stream) = send.send_request(head, false).unwrap();
    stream.send_data(prism_tests::wire::framed(b""), true).unwrap();
    let head = http2::head("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &headers);
    let (reflection, mut asking) = send.ready().await.unwrap().send_request(head, false).unwrap();
    // `ServerReflectionRequest { list_services: "" }`
    asking.send_data(prism_tests::wire::framed(&[0x3a, 0]), false).unwrap();
    let (health, reflection) = (health.await.unwrap().into_body(), reflection.await.unwrap().into_body());
    keys.write(&[("other", OTHER, "")]);
    assert_eq!(watch::ended(health).await.unwrap(), "16");
    assert_eq!(watch::ended(reflection).await.unwrap(), "16");
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_with_colons_are_written_as_they_are() {
    let tokens = super::tokens::Keys::new();
    let rules = "{ principal: 'jwt:https://id.example:*', permissions: [read, write] }, \
                 { principal: 'jwt:https://id.example:system:serviceaccount:ns:evil', operations: { deny: [get] } }";
    let proxy = Proxy::start(&guarded(&tokens.filter(""), rules));
    super::is_let_in(&proxy, &tokens.token("system:serviceaccount:ns:good", 600)).await;
    let evil = tokens.token("system:serviceaccount:ns:evil", 600);
    super::is_refused(&proxy, &evil, "PermissionDenied", "403 ACCESS_DENIED").await;
}
