//! JSON web tokens.

use super::{EXECUTE, INVALID, bearer, config, curl_get, execute_get, guarded, is_let_in, is_refused, told};
use prism_tests::{
    Proxy,
    backend::{Backend, Speaks},
    client::{curl, http2},
    issuer::{Answer, Answering, Issuer, from_now},
    wait, wire,
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tempfile::TempDir;

const NAME: &str = "https://id.example";

/// An issuer, and its keys in a file.
pub(crate) struct Keys {
    pub(crate) issuer: Issuer,
    folder: TempDir,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let keys = Self { issuer: Issuer::new(NAME, "one"), folder: tempfile::tempdir().unwrap() };
        keys.write(&[&keys.issuer]);
        keys
    }

    pub(crate) fn path(&self) -> String {
        self.folder.path().join("keys.json").display().to_string()
    }

    pub(crate) fn write(&self, issuers: &[&Issuer]) {
        let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.key()).collect();
        write(Path::new(&self.path()), &json!({ "keys": keys }).to_string());
    }

    /// The settings of the method.
    pub(crate) fn method(&self, more: &str) -> String {
        format!("jwt: {{ issuer: '{NAME}', audiences: [orders], jwks: {{ file: '{}' }}{more} }}", self.path())
    }

    pub(crate) fn filter(&self, more: &str) -> String {
        format!("      - auth: {{ {} }}\n", self.method(more))
    }

    pub(crate) fn token(&self, subject: &str, seconds: i64) -> String {
        self.issuer.token(subject, "orders", seconds, &Value::Null)
    }
}

fn write(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(next, path).unwrap();
}

/// A file that makes no sense changes nothing, and is seen in the metrics.
#[test]
fn metrics_say_how_fresh_an_issuers_keys_are() {
    let keys = Keys::new();
    let proxy = Proxy::start(&config(&keys.filter("")));
    let of = |name: &str| proxy.admin().metric(name, &format!("{{issuer=\"{NAME}\",listener=\"edge\"}}"));
    assert_eq!((of("prism_jwks_keys"), of("prism_jwks_failures_total")), (1.0, 0.0));
    assert!(proxy.admin().get("/metrics").text().contains("prism_jwks_age_seconds{"));
    write(Path::new(&keys.path()), "nothing");
    wait::until("it should be counted", || (of("prism_jwks_failures_total") == 1.0).then_some(()));
    wait::until("the keys should grow old", || (of("prism_jwks_age_seconds") > 1.0).then_some(()));
    // What makes no sense is counted once.
    assert_eq!((of("prism_jwks_keys"), of("prism_jwks_failures_total")), (1.0, 1.0));
    keys.write(&[&keys.issuer, &Issuer::new(NAME, "two")]);
    wait::until("the new keys should be in use", || (of("prism_jwks_keys") == 2.0).then_some(()));
    assert!(of("prism_jwks_age_seconds") < 30.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_every_way_in_and_nothing_near_it_does() {
    let keys = Keys::new();
    let proxy = Proxy::start(&config(&keys.filter("")));
    let good = keys.token("alice", 600);
    is_let_in(&proxy, &good).await;
    let issuer = &keys.issuer;
    let header = json!({ "alg": "ES256", "kid": "one" });
    let claims = json!({ "iss": NAME, "sub": "alice", "aud": "orders", "exp": from_now(600) });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.signed(&header, &claims)
    };
    let headed = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        issuer.signed(&header, &claims)
    };
    let stranger = Issuer::new(NAME, "one");
    let cut = &good[..good.len() - 2];
    let parts: Vec<&str> = good.split('.').collect();
    for (token, why) in [
        (keys.token("alice", -60), "the token has expired"),
        (with("nbf", json!(from_now(300))), "the token is not valid yet"),
        (with("iss", json!("https://evil.example")), "the token is of another issuer"),
        (with("iss", json!([NAME, "https://evil.example"])), "the token's `iss` is of the wrong JSON type"),
        (with("aud", json!("payments")), "the token is for another audience"),
        (with("aud", Value::Null), "the token's `aud` is of the wrong JSON type"),
        (with("exp", json!(from_now(600).to_string())), "the token's `exp` is of the wrong JSON type"),
        (with("exp", json!(-1)), "the token's `exp` is out of range"),
        (with("sub", json!("")), "the token's `sub` is out of range"),
        (headed("alg", json!("none")), "the token is not signed (`alg: none`)"),
        (headed("alg", json!("HS256")), "the token is signed with a shared secret (HMAC)"),
        (headed("alg", json!("RS256")), "the token's algorithm is not its key's"),
        (headed("kid", json!("two")), "the token's key is not in the issuer's key set"),
        (headed("kid", json!("../../../etc/passwd")), "the token's key is not in the issuer's key set"),
        (headed("kid", json!("k".repeat(300))), "the token's `kid` is not a text of 1 to 256 bytes"),
        (headed("crit", json!(["exp"])), "the token's header has `crit`, and no extension is understood"),
        (headed("b64", json!(false)), "the token's header has `b64`"),
        (headed("jwk", stranger.key()), "the token brings its own key (`jwk`)"),
        (headed("jku", json!("https://evil.example/keys")), "the token brings its own key (`jku`)"),
        (stranger.token("alice", "orders", 600, &Value::Null), "the token's signature is wrong"),
        (cut.to_owned(), "the token's signature has not the length of its algorithm"),
        (format!("{}.{}.", parts[0], parts[1]), "the token has no signature"),
        (format!("{}.{}", parts[0], parts[1]), "the token has not three parts"),
        (format!("{good}.a.b"), "the token is encrypted"),
        (format!("{good}="), "the token's signature is not base64url without padding"),
        ("a".repeat(9000), "the token is above 8192 bytes"),
    ] {
        is_refused(&proxy, &token, "Unauthenticated", INVALID).await;
        told(&proxy, why);
    }
    for values in
        [&["Basic YWxpY2U6cHc="][..], &[&format!("Bearer {good}"), "Bearer x"], &[&format!("Token {good}")]]
    {
        let headers: Vec<String> = values.iter().map(|value| format!("authorization: {value}")).collect();
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        assert_eq!(curl_get(&proxy, &headers).expect(401).json()["reason"], "INVALID_CREDENTIALS");
    }
    // What stands in a URL stands in logs, and is no credential.
    let url = proxy.url(&format!("/v1/demo/get?access_token={good}"));
    let in_url = curl::run(&[&url, "--json", r#"{"key":"k"}"#]).expect(401);
    assert_eq!(in_url.json()["reason"], "MISSING_CREDENTIALS");
    let log = proxy.process.log();
    assert!(log.contains(r#""principal":"jwt:https://id.example:alice""#));
    for part in &parts {
        assert!(!log.contains(part), "the log holds a part of a token");
    }
}

/// RFC 9110 section 11.6.1, RFC 6750 section 3.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_how_to_authenticate_and_nothing_of_the_token() {
    let keys = Keys::new();
    let proxy = Proxy::start(&config(&keys.filter("")));
    let challenge = |headers: &[&str]| {
        curl_get(&proxy, headers).expect(401).header("www-authenticate").map(str::to_owned)
    };
    let bare = Some(r#"Bearer realm="prism-edge""#.to_owned());
    let invalid = Some(r#"Bearer realm="prism-edge", error="invalid_token""#.to_owned());
    assert_eq!(challenge(&[]), bare);
    assert_eq!(challenge(&["authorization: Basic YWxpY2U6cHc="]), bare);
    for token in
        [keys.token("alice", -60), Issuer::new(NAME, "one").token("alice", "orders", 600, &Value::Null)]
    {
        assert_eq!(challenge(&[&format!("authorization: Bearer {token}")]), invalid);
    }
    // gRPC's answer has it too; one that lets in or is about a right has none.
    let connection = http2::connect(proxy.port()).await;
    let call = |headers: Vec<(&'static str, String)>| {
        let connection = &connection;
        async move {
            let mut all = vec![("x-prism-namespace", "demo")];
            all.extend(headers.iter().map(|(name, value)| (*name, &**value)));
            connection.call(http2::head(EXECUTE, &all), wire::framed(&execute_get())).await.unwrap()
        }
    };
    let refused = call(vec![]).await;
    assert_eq!(refused.headers.get("www-authenticate").map(|value| value.to_str().unwrap()), bare.as_deref());
    let served = call(vec![bearer(&keys.token("alice", 600))]).await;
    assert_eq!(served.headers.get("www-authenticate"), None);
    let guarded =
        Proxy::start(&guarded(&keys.filter(""), "{ principal: 'key:nobody', permissions: [read] }"));
    let denied =
        curl_get(&guarded, &[&format!("authorization: Bearer {}", keys.token("alice", 600))]).expect(403);
    assert_eq!(denied.header("www-authenticate"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_what_rules_go_by() {
    let keys = Keys::new();
    let rules = format!("{{ principal: 'jwt:{NAME}:*', claims: {{ groups: staff }}, permissions: [read] }}");
    let proxy = Proxy::start(&guarded(&keys.filter(""), &rules));
    let token = |groups: Value| keys.issuer.token("alice", "orders", 600, &json!({ "groups": groups }));
    is_let_in(&proxy, &token(json!(["guests", "staff"]))).await;
    is_let_in(&proxy, &token(json!("staff"))).await;
    for groups in [json!(["guests"]), json!([]), json!(["staffer"]), json!({ "staff": true }), Value::Null] {
        is_refused(&proxy, &token(groups), "PermissionDenied", "403 ACCESS_DENIED").await;
    }
    // What they may read they may not write.
    let (name, value) = bearer(&token(json!("staff")));
    let set = proxy.url("/v1/demo/set");
    let header = format!("{name}: {value}");
    let refused = curl::run(&[&set, "--json", r#"{"key":"k"}"#, "-H", &header]).expect(403);
    assert_eq!(refused.json()["reason"], "ACCESS_DENIED");
    // A namespace that is not there is refused in the same words.
    let nowhere = curl::run(&[&proxy.url("/v1/nowhere/get"), "--json", r#"{"key":"k"}"#, "-H", &header]);
    let (one, other) = (refused.json(), nowhere.expect(403).json());
    assert_eq!((&one["message"], &one["reason"]), (&other["message"], &other["reason"]));
    told(&proxy, "there is no such namespace");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_goes_no_further() {
    let keys = Keys::new();
    let backend = Backend::start(Speaks::Http2);
    let config = config(&keys.filter("")).replace(
        "namespaces:",
        &format!(
            "    routes: [ {{ match: {{}}, forward: true, targets: [ {{ address: '{}' }} ] }} ]\nnamespaces:",
            backend.address
        ),
    );
    let proxy = Proxy::start(&config);
    let header = format!("authorization: Bearer {}", keys.token("alice", 600));
    let asked = curl::run(&[&proxy.url("/"), "-H", &header]).expect(200).json();
    let headers = asked["headers"].as_array().unwrap();
    let value = |name: &str| headers.iter().find(|header| header[0] == name).map(|header| header[1].clone());
    assert_eq!(value("authorization"), None);
    assert_eq!(value("x-prism-principal"), Some(json!("jwt:https://id.example:alice")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_from_a_url_may_be_away_and_may_change() {
    let issuers = [Issuer::new(NAME, "one"), Issuer::new(NAME, "two")];
    let served = Answering::new();
    served.set_answer("", Answer { status: 500, body: String::new(), pause: Duration::ZERO });
    let filter = format!(
        "      - auth: {{ jwt: {{ issuer: '{NAME}', audiences: [orders], jwks: {{ url: '{}' }} }} }}\n",
        served.url()
    );
    let proxy = Proxy::start(&config(&filter));
    let token = |issuer: &Issuer| issuer.token("alice", "orders", 600, &Value::Null);
    is_refused(&proxy, &token(&issuers[0]), "Unavailable", "503 AUTH_UNAVAILABLE").await;
    let publish = |issuers: &[&Issuer]| {
        let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.key()).collect();
        served.set("", &json!({ "keys": keys }));
    };
    publish(&[&issuers[0]]);
    let header = |issuer: &Issuer| format!("authorization: Bearer {}", token(issuer));
    let status = |issuer: &Issuer| curl_get(&proxy, &[&header(issuer)]).status;
    wait::until("the keys are there", || (status(&issuers[0]) == 200).then_some(()));
    // A new key is fetched when the first token with it comes, and known keys need nobody.
    publish(&[&issuers[0], &issuers[1]]);
    let before = served.asked();
    is_let_in(&proxy, &token(&issuers[1])).await;
    assert_eq!(served.asked(), before + 1);
    for answer in [
        Answer { status: 500, body: String::new(), pause: Duration::ZERO },
        Answer { status: 302, body: String::new(), pause: Duration::ZERO },
        Answer { status: 200, body: "{".repeat(1 << 20), pause: Duration::ZERO },
        Answer { status: 200, body: String::new(), pause: Duration::from_secs(20) },
    ] {
        served.set_answer("", answer);
        let before = served.asked();
        for number in 0..20 {
            let stranger = Issuer::new(NAME, &format!("unknown-{number}"));
            assert_eq!(status(&stranger), 401);
        }
        assert!(served.asked() <= before + 1, "{} questions", served.asked() - before);
        is_let_in(&proxy, &token(&issuers[0])).await;
        is_let_in(&proxy, &token(&issuers[1])).await;
    }
}
