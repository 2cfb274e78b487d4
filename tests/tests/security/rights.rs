//! Rights that end: what was let in and is under way ends with them, and the rest goes on.

use super::{KEY, KeyFile, OTHER, bearer, config, guarded, told, watch};
use h2::RecvStream;
use prism_tests::{Proxy, client::http2, issuer::Issuer, wait};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Waits until the stream ends, and says how.
pub(crate) async fn ends(mut stream: RecvStream) -> String {
    wait::guard("the end of a watch", async {
        while let Some(piece) = stream.data().await {
            piece.unwrap();
        }
        let trailers = stream.trailers().await.unwrap().unwrap();
        trailers["grpc-status"].to_str().unwrap().to_owned()
    })
    .await
}

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
    let ending = watch(&connection, &[("x-api-key", KEY)]).await;
    let mut staying = watch(&connection, &[("x-api-key", OTHER)]).await;
    let _nobody = watch(&connection, &[]).await;
    keys.write(&[("shop", OTHER, ""), ("new", "AAAABBBBCCCCDDDDEEEEFFFF", "")]);
    assert_eq!(ends(ending).await, "16");
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
    let ending = watch(&connection, &[("x-api-key", KEY)]).await;
    let mut staying = watch(&connection, &[("x-api-key", OTHER)]).await;
    assert_eq!(ends(ending).await, "16");
    goes_on(&proxy, &mut staying, "a", OTHER).await;
    told(&proxy, "the credential of key:batch has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_was_asked_for_ends_when_somebody_is() {
    let keys = KeyFile::new(&[("batch", KEY, "")]);
    let proxy = Proxy::start(&config(""));
    let connection = http2::connect(proxy.port()).await;
    let ending = watch(&connection, &[]).await;
    proxy.hang_up(&config(&format!("      - auth: {{ api_keys: {{ file: '{}' }} }}\n", keys.path())));
    assert_eq!(ends(ending).await, "16");
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
        watch(&connection, &[(name, &value)]).await
    };
    let expiring = open(tokens.token("alice", 3)).await;
    let forbidden = open(tokens.token("bob", 600)).await;
    let unsigned = open(second.token("carol", "orders", 600, &Value::Null)).await;
    let mut staying = open(tokens.token("dan", 600)).await;
    proxy.hang_up(&rules("write"));
    assert_eq!(ends(forbidden).await, "7");
    tokens.write(&[&tokens.issuer]);
    assert_eq!(ends(unsigned).await, "16");
    assert_eq!(ends(expiring).await, "16");
    told(&proxy, "it was let in before: no rule allows the caller an operation of kind read");
    told(&proxy, "the credential of jwt:https://id.example:carol is no longer good");
    told(&proxy, "the credential of jwt:https://id.example:alice has ended");
    let still = tokio::time::timeout(Duration::from_millis(600), staying.data()).await;
    assert!(still.is_err(), "the others go on: {still:?}");
}
