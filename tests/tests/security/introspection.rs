//! Opaque tokens, whose worth somebody else says.

use super::{INVALID, config, is_let_in, is_refused, told};
use prism_tests::{
    Proxy,
    client::{http2, watch},
    issuer::{Answer, Answering, from_now},
};
use serde_json::{Value, json};
use std::time::Duration;

const NAME: &str = "https://id.example";

pub(crate) fn method(server: &Answering) -> String {
    format!(
        "oauth2: {{ issuer: '{NAME}', audiences: [orders], remember: 1s, introspection: {{ url: '{}', client_id: proxy, \
         client_secret: hunter2hunter2 }} }}",
        server.url()
    )
}

pub(crate) fn active(more: &Value) -> Value {
    let mut answer = json!({ "active": true, "sub": "alice", "aud": "orders", "exp": from_now(600) });
    for (name, value) in more.as_object().into_iter().flatten() {
        answer[name] = value.clone();
    }
    answer
}

fn start() -> (Answering, Proxy) {
    let server = Answering::new();
    let proxy = Proxy::start(&config(&format!("      - auth: {{ {} }}\n", method(&server))));
    (server, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_worth_what_its_issuer_says() {
    let (server, proxy) = start();
    server.set("good", &active(&Value::Null));
    is_let_in(&proxy, "good").await;
    let asked = server.asked();
    for (token, answer, why) in [
        ("inactive", json!({ "active": false }), "the token is not active, says its issuer"),
        ("expired", active(&json!({ "exp": from_now(-5) })), "the token has expired"),
        ("early", active(&json!({ "nbf": from_now(60) })), "the token is not valid yet"),
        ("other", active(&json!({ "iss": "https://evil.example" })), "the token is of another issuer"),
        ("payments", active(&json!({ "aud": ["payments"] })), "the token is for another audience"),
        ("nobodys", active(&json!({ "aud": null })), "the token is for another audience"),
        ("subjectless", active(&json!({ "sub": null })), "the answer has no `sub`"),
        ("typed", active(&json!({ "exp": "4102444800" })), "the answer's `exp` is no time"),
    ] {
        server.set(token, &answer);
        is_refused(&proxy, token, "Unauthenticated", INVALID).await;
        told(&proxy, why);
    }
    is_refused(&proxy, "never-issued", "Unauthenticated", INVALID).await;
    assert!(server.asked() > asked);
    assert!(!proxy.process.log().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_unasked() {
    let (server, proxy) = start();
    let unavailable = "503 AUTH_UNAVAILABLE";
    for (token, status, body) in [
        ("error", 500, ""),
        ("redirect", 302, ""),
        ("empty", 200, ""),
        ("nonsense", 200, "active"),
        ("list", 200, "[true]"),
        ("text", 200, r#"{"active":"true","sub":"alice","aud":"orders"}"#),
        ("twice", 200, r#"{"active":false,"active":true,"sub":"alice","aud":"orders"}"#),
        ("nothing", 200, "{}"),
    ] {
        server.set_answer(token, Answer { status, body: body.to_owned(), pause: Duration::ZERO });
        is_refused(&proxy, token, "Unavailable", unavailable).await;
    }
    server.set_answer(
        "slow",
        Answer { status: 200, body: active(&Value::Null).to_string(), pause: Duration::from_secs(5) },
    );
    is_refused(&proxy, "slow", "Unavailable", unavailable).await;
    told(&proxy, "introspection: no answer within 2s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_token_is_asked_for_once_in_a_while_and_ends_when_it_is_revoked() {
    let (server, proxy) = start();
    server.set("good", &active(&Value::Null));
    server.set("other", &active(&json!({ "sub": "bob" })));
    let connection = http2::connect(proxy.port()).await;
    let ending = watch::open(&connection, &[("authorization", "Bearer good")]).await;
    let _staying = watch::open(&connection, &[("authorization", "Bearer other")]).await;
    server.set("good", &json!({ "active": false }));
    assert_eq!(watch::ended(ending).await.unwrap(), "16");
    told(&proxy, "the credential of oauth2:https://id.example:alice is no longer good");
}
