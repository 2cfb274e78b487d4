//! What rules mean, one by one.

use super::*;

#[test]
fn no_permission_includes_another_and_no_kind_needs_admin() {
    let policy = policy(&json!([
        { "principal": "key:r", "permissions": ["read"] },
        { "principal": "key:w", "permissions": ["write"] },
        { "principal": "key:a", "permissions": ["admin"] },
    ]));
    for (who, allowed) in [
        ("r", [true, false, false, false]),
        ("w", [false, true, false, false]),
        ("a", [false, false, true, true]),
        ("x", [false, false, false, false]),
    ] {
        let kinds = [Kind::Read, Kind::Write, Kind::Admin, Kind::Unspecified];
        assert_eq!(kinds.map(|kind| policy.decide(&key(who), "op", kind).is_allowed()), allowed, "{who}");
    }
}

#[test]
fn what_is_denied_is_denied_whatever_other_rules_and_credentials_allow() {
    let policy = policy(&json!([
        { "principal": "**", "permissions": ["read", "write"], "operations": { "allow": ["drop"] } },
        { "principal": "key:*", "operations": { "deny": ["drop"] } },
        { "principal": "jwt:i:*", "claims": { "trainee": true }, "operations": { "deny": ["set"] } },
    ]));
    let trainee = |value: Value| caller(Method::Jwt, "i:a", json!({ "trainee": value }));
    assert_eq!(policy.decide(&key("k"), "drop", Kind::Admin), Decision::Denied(1));
    assert_eq!(policy.decide(&key("k"), "set", Kind::Write), Decision::ByKind(0));
    assert_eq!(policy.decide(&trainee(json!(true)), "set", Kind::Write), Decision::Denied(2));
    assert_eq!(policy.decide(&trainee(json!("true")), "set", Kind::Write), Decision::ByKind(0));
    assert_eq!(policy.decide(&trainee(json!(true)), "drop", Kind::Admin), Decision::ByName(0));
    let second = Arc::clone(key("k").credentials().next().unwrap());
    let both = trainee(json!(false)).with([second]);
    assert_eq!(policy.decide(&both, "drop", Kind::Admin), Decision::Denied(1));
}

#[test]
fn a_rule_is_met_by_one_credential_and_not_by_two_together() {
    let policy =
        policy(&json!([{ "principal": "key:k", "claims": { "groups": "staff" }, "permissions": ["read"] }]));
    let claimed = caller(Method::Jwt, "i:a", json!({ "groups": "staff" }));
    let second = Arc::clone(key("k").credentials().next().unwrap());
    assert_eq!(policy.decide(&claimed.with([second]), "get", Kind::Read), Decision::NotAllowed);
    let one = caller(Method::ApiKey, "k", json!({ "groups": "staff" }));
    assert_eq!(policy.decide(&one, "get", Kind::Read), Decision::ByKind(0));
}

#[test]
fn nobody_is_meant_by_a_pattern_who_has_no_credential() {
    let anonymous = Caller::new(Arc::new(Credential::anonymous()));
    let all = policy(
        &json!([{ "principal": "**", "permissions": ["read"] }, { "principal": "*", "permissions": ["read"] }]),
    );
    assert_eq!(all.decide(&anonymous, "get", Kind::Read), Decision::NotAllowed);
    let named = policy(&json!([{ "principal": "anonymous", "permissions": ["read"] }]));
    assert_eq!(named.decide(&anonymous, "get", Kind::Read), Decision::ByKind(0));
    assert_eq!(named.decide(&key("anonymous"), "get", Kind::Read), Decision::NotAllowed);
}

#[test]
fn of_several_rules_the_first_that_allows_is_named() {
    let policy = policy(&json!([
        { "principal": "**", "permissions": ["write"] },
        { "principal": "key:*", "permissions": ["read"] },
        { "principal": "key:k", "permissions": ["read"] },
        { "principal": "key:k", "operations": { "allow": ["get"] } },
    ]));
    assert_eq!(policy.decide(&key("k"), "get", Kind::Read), Decision::ByKind(1));
    assert_eq!(policy.decide(&key("k"), "get", Kind::Admin), Decision::ByName(3));
    assert_eq!(policy.decide(&key("k"), "GET", Kind::Admin), Decision::NotAllowed);
}

/// What a method proves is what the configuration takes for a principal.
#[test]
fn every_method_s_principals_can_be_written_in_a_rule() {
    for (method, name) in [
        (Method::Spiffe, "spiffe://a.example/x"),
        (Method::Dns, "a.example"),
        (Method::CommonName, "orders of é"),
        (Method::Jwt, "https://id.example:alice"),
        (Method::OAuth2, "https://id.example:100%"),
        (Method::ApiKey, "batch"),
    ] {
        let who = caller(method, name, json!({}));
        let policy = policy(&json!([{ "principal": &**who.principal(), "permissions": ["read"] }]));
        assert_eq!(policy.decide(&who, "get", Kind::Read), Decision::ByKind(0), "{}", who.principal());
    }
}

#[test]
fn many_rules_are_found_by_what_they_begin_with() {
    let written: Vec<Value> = (0..2_000)
        .map(|n| match n % 3 {
            0 => json!({ "principal": format!("key:k{n}"), "permissions": ["read"] }),
            1 => json!({ "principal": format!("spiffe://d{n}/*"), "permissions": ["read"] }),
            _ => json!({ "principal": format!("jwt:i:u{n}**"), "permissions": ["read"] }),
        })
        .collect();
    let policy = policy(&Value::Array(written));
    for n in (0..2_000).step_by(7) {
        let who = match n % 3 {
            0 => key(&format!("k{n}")),
            1 => caller(Method::Spiffe, &format!("spiffe://d{n}/x"), json!({})),
            _ => caller(Method::Jwt, &format!("i:u{n}"), json!({})),
        };
        // `u1` begins as `u10` does: the first rule that is about both is named.
        assert!(
            policy.decide(&who, "get", Kind::Read).rule().is_some_and(|rule| rule <= n),
            "{}",
            who.principal()
        );
        assert!(
            !policy
                .decide(&caller(Method::Spiffe, &format!("spiffe://e{n}/x"), json!({})), "get", Kind::Read)
                .is_allowed()
        );
    }
}
