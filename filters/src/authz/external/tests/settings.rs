//! Settings.

use super::*;

#[test]
fn settings_that_do_nothing_or_too_much_are_refused() {
    let check = |settings: Value| {
        let settings: crate::authz::Settings =
            serde_json::from_value(json!({ "external": settings })).unwrap();
        Authz::check(&settings).into_iter().map(|problem| problem.message).collect::<Vec<_>>()
    };
    for good in [
        json!({ "address": "127.0.0.1:1" }),
        json!({ "address": "unix:./run/a.sock", "timeout": "10s", "headers": ["x-a"] }),
        json!({ "address": "authz.example:1", "tls": { "ca_cert": "ca.crt" } }),
        json!({ "address": "authz.example:1", "tls": { "enabled": false } }),
    ] {
        assert_eq!(check(good.clone()), Vec::<String>::new(), "{good}");
    }
    for (bad, why) in [
        (json!({ "address": "authz.example:1" }), "needs `tls`"),
        (json!({ "address": "authz.example:1", "tls": {} }), "needs a `ca_cert`"),
        (json!({ "address": "a.example:1", "tls": { "enabled": false, "ca_cert": "a" } }), "no meaning"),
        (json!({ "address": "a.example:1", "tls": { "ca_cert": "a", "client_key": "b" } }), "client_cert"),
        (json!({ "address": "unix:/a", "tls": { "ca_cert": "a" } }), "not secured by TLS"),
        (json!({ "address": "127.0.0.1:1", "timeout": "0s" }), "`timeout`"),
        (json!({ "address": "127.0.0.1:1", "timeout": "11s" }), "`timeout`"),
        (json!({ "address": "127.0.0.1:1", "headers": ["a b"] }), "no header"),
        (json!({ "address": "127.0.0.1:1", "headers": [":path"] }), "no header"),
        (json!({ "address": "127.0.0.1:1", "headers": ["Authorization"] }), "credential"),
        (json!({ "address": "127.0.0.1:1", "headers": ["cookie"] }), "credential"),
    ] {
        let found = check(bad.clone());
        assert!(found.iter().any(|message| message.contains(why)), "{bad}: {found:?}");
    }
    for unknown in [
        json!({ "external": {} }),
        json!({ "external": { "address": "127.0.0.1:1", "failure_mode_allow": true } }),
        json!({ "external": { "address": "http://127.0.0.1:1" } }),
    ] {
        assert!(serde_json::from_value::<crate::authz::Settings>(unknown.clone()).is_err(), "{unknown}");
    }
}
