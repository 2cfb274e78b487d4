//! Several methods on one listener.

use super::{
    INVALID, KEY, KeyFile, bearer, certificates, config, every_way, introspection, is_let_in, is_refused,
    tokens::Keys,
};
use prism_tests::{
    Pki, Proxy,
    issuer::{Answering, Issuer},
};
use prism_tls::ClientFiles;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_opens_the_door_and_a_forged_one_shuts_it() {
    let (tokens, server) = (Keys::new(), Answering::new());
    let keys = KeyFile::new(&[("batch", KEY, "")]);
    // The two issuers have names of their own: which of them is asked about a token is told by that.
    let oauth2 = introspection::method(&server).replace("https://id.example", "https://opaque.example");
    let filter = format!(
        "      - auth: {{ any: [ {{ {} }}, {{ {oauth2} }}, {{ api_keys: {{ file: '{}' }} }} ] }}\n",
        tokens.method(""),
        keys.path()
    );
    let proxy = Proxy::start(&config(&filter));
    server.set("opaque", &introspection::active(&Value::Null));
    let token = tokens.token("alice", 600);
    is_let_in(&proxy, &token).await;
    assert_eq!(server.asked(), 0, "nobody else is shown a token of the other issuer");
    is_let_in(&proxy, "opaque").await;
    let forged = Issuer::new("https://id.example", "one").token("alice", "orders", 600, &Value::Null);
    is_refused(&proxy, &forged, "Unauthenticated", INVALID).await;
    is_refused(&proxy, "forged", "Unauthenticated", INVALID).await;
    let (name, good) = bearer(&token);
    let (_, bad) = bearer(&forged);
    for (headers, wanted) in [
        (&[("x-api-key", KEY)][..], "Ok"),
        (&[("x-api-key", KEY), (name, &good)], "Ok"),
        (&[("x-api-key", KEY), (name, &bad)], "Unauthenticated"),
        (&[("x-api-key", "x"), (name, &good)], "Unauthenticated"),
    ] {
        for (way, outcome) in every_way(&proxy, headers).await {
            let wanted = match (way.as_str(), wanted) {
                ("json", "Unauthenticated") => INVALID,
                (_, wanted) => wanted,
            };
            assert_eq!(outcome, wanted, "{way} {headers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_asked_for_none_is_enough() {
    let (pki, tokens) = (Pki::new(), Keys::new());
    let auth = format!("      - auth: {{ all: [ {{ mtls: {{}} }}, {{ {} }} ] }}\n", tokens.method(""));
    // The rule is about the token; the certificate alone, or another's token, is not enough.
    let rules =
        "{ principal: 'jwt:https://id.example:alice', claims: { groups: staff }, permissions: [read] }";
    let proxy = certificates::start(&pki, &auth, "optional", rules);
    let files = certificates::client(&pki, "orders", &["orders.example"], &[], None);
    let nobody = ClientFiles { identity: None, ..files.clone() };
    let token = |subject: &str, groups: &str| {
        bearer(&tokens.issuer.token(subject, "orders", 600, &json!({ "groups": groups }))).1
    };
    let (alice, guest, bob) = (token("alice", "staff"), token("alice", "guests"), token("bob", "staff"));
    let header = |value| [("authorization", value)];
    for (files, headers, wanted) in [
        (&files, &header(alice.as_str())[..], "Ok"),
        (&files, &header(guest.as_str()), "PermissionDenied"),
        (&files, &header(bob.as_str()), "PermissionDenied"),
        (&files, &[], "Unauthenticated"),
        (&nobody, &header(alice.as_str()), "Unauthenticated"),
        (&nobody, &[], "Unauthenticated"),
        (&files, &header("Bearer x"), "Unauthenticated"),
    ] {
        let outcomes = certificates::outcomes(&proxy, files, headers).await;
        assert_eq!(outcomes[..2], [wanted, wanted], "{headers:?} {:?}", files.identity.is_some());
    }
}
