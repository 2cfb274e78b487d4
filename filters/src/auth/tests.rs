use super::*;
use crate::{Protocol, RequestStart, Terminal, run};
use http::Response;
use serde_json::{Value, json};
use std::cell::RefCell;

/// Notes who called and what went on.
#[derive(Default)]
struct Behind(RefCell<Vec<(String, HeaderMap)>>);

impl Terminal for Behind {
    fn call<'a>(&'a self, cx: &'a RequestContext, request: &'a mut Request<Body>) -> FilterFuture<'a> {
        let caller = cx.caller().unwrap();
        let all: Vec<_> = caller.credentials().map(|one| one.principal().to_string()).collect();
        self.0.borrow_mut().push((all.join(" "), request.headers().clone()));
        Box::pin(ready(Ok(Response::new(Body::empty()))))
    }
}

const KEY: &str = "k7Qm2xZp9RtYvB4nL8sWc3Df";
const OTHER: &str = "aaaabbbbccccddddeeeeffff";

fn keys(folder: &tempfile::TempDir, file: &str, name: &str, key: &str) -> Value {
    use std::fmt::Write as _;
    let mut hex = String::new();
    for byte in ring::digest::digest(&ring::digest::SHA256, key.as_bytes()).as_ref() {
        write!(hex, "{byte:02x}").unwrap();
    }
    let path = folder.path().join(file);
    std::fs::write(&path, format!("keys: [{{ name: {name}, sha256: {hex} }}]")).unwrap();
    json!({ "file": path, "header": format!("x-{file}") })
}

fn built(settings: &Value) -> Arc<dyn Filter> {
    let cx = BuildContext {
        platform: &Platform::system(),
        metrics: &Arc::new(crate::metrics::Metrics::new().unwrap()),
        base_dir: std::path::Path::new("/"),
        listener: "edge",
        changes: &crate::Changes::default(),
        services: &crate::NoServices,
    };
    crate::registry::builtin().build("auth", settings, &cx, None).unwrap()
}

/// Whom it lets in as what, or the reason and its detail.
fn outcome(filter: &Arc<dyn Filter>, headers: &[(&'static str, &str)]) -> String {
    let behind = Behind::default();
    let mut request = Request::new(Body::empty());
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request.headers_mut().insert("x-else", "1".parse().unwrap());
    let cx = RequestContext::new(RequestStart::new(Protocol::Grpc, "demo"));
    let filters = [Arc::clone(filter)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(run(&filters, &behind, &cx, &mut request)) {
        Ok(_) => {
            let passed = behind.0.borrow();
            let (caller, headers) = &passed[0];
            assert!(headers.contains_key("x-else"));
            assert!(!headers.keys().any(|name| name.as_str().starts_with("x-key")), "{headers:?}");
            caller.clone()
        }
        Err(rejection) => {
            assert!(behind.0.borrow().is_empty());
            assert!(!rejection.message().contains("key:"), "{rejection}");
            format!("{} {}", rejection.reason(), rejection.detail().unwrap_or("-"))
        }
    }
}

#[test]
fn one_method_stands_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let filter = built(&json!({ "api_keys": keys(&folder, "key1", "one", KEY) }));
    assert_eq!(outcome(&filter, &[("x-key1", KEY)]), "key:one");
    assert_eq!(outcome(&filter, &[]), "MISSING_CREDENTIALS -");
    assert_eq!(outcome(&filter, &[("x-key1", "x")]), "INVALID_CREDENTIALS it has an API key that nobody has");
}

#[test]
fn under_any_one_that_is_not_good_refuses_whatever_else_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let methods = [
        json!({ "api_keys": keys(&folder, "key1", "one", KEY) }),
        json!({ "api_keys": keys(&folder, "key2", "two", OTHER) }),
    ];
    let filter = built(&json!({ "any": methods }));
    assert_eq!(outcome(&filter, &[("x-key1", KEY)]), "key:one");
    assert_eq!(outcome(&filter, &[("x-key2", OTHER)]), "key:two");
    assert_eq!(outcome(&filter, &[("x-key2", OTHER), ("x-key1", KEY)]), "key:one");
    for headers in [[("x-key1", KEY), ("x-key2", KEY)], [("x-key1", OTHER), ("x-key2", OTHER)]] {
        assert!(outcome(&filter, &headers).starts_with("INVALID_CREDENTIALS"), "{headers:?}");
    }
    assert_eq!(outcome(&filter, &[]), "MISSING_CREDENTIALS -");
}

#[test]
fn under_all_none_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let methods = [
        json!({ "api_keys": keys(&folder, "key1", "one", KEY) }),
        json!({ "api_keys": keys(&folder, "key2", "two", OTHER) }),
    ];
    for anonymous in [false, true] {
        let filter = built(&json!({ "all": methods, "anonymous": anonymous }));
        assert_eq!(outcome(&filter, &[("x-key1", KEY), ("x-key2", OTHER)]), "key:one key:two");
        for headers in [[("x-key1", KEY)], [("x-key2", OTHER)]] {
            let found = outcome(&filter, &headers);
            assert!(found.starts_with("MISSING_CREDENTIALS one of"), "{found}");
        }
        let found = outcome(&filter, &[("x-key1", KEY), ("x-key2", KEY)]);
        assert!(found.starts_with("INVALID_CREDENTIALS"), "{found}");
    }
}

#[test]
fn nobody_is_let_in_only_where_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let filter = built(&json!({ "api_keys": keys(&folder, "key1", "one", KEY), "anonymous": true }));
    assert_eq!(outcome(&filter, &[]), "anonymous");
    assert_eq!(outcome(&filter, &[("x-key1", KEY)]), "key:one");
    assert!(outcome(&filter, &[("x-key1", "")]).starts_with("INVALID_CREDENTIALS"));
}

#[test]
fn settings_say_how_methods_count_together() {
    let keys = || json!({ "file": "a.yaml" });
    let check = |settings: Value| {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let problems = settings.check();
        problems.iter().map(|problem| format!("{problem:?}")).collect::<Vec<_>>()
    };
    assert!(check(json!({ "api_keys": keys() })).is_empty());
    assert!(check(json!({ "any": [{ "api_keys": keys() }] })).is_empty());
    assert!(check(json!({ "all": [{ "api_keys": keys() }], "anonymous": true })).is_empty());
    for settings in [
        json!({}),
        json!({ "anonymous": true }),
        json!({ "any": [] }),
        json!({ "all": [] }),
        json!({ "any": [{ "api_keys": keys() }], "all": [{ "api_keys": keys() }] }),
        json!({ "any": [{ "api_keys": keys() }], "api_keys": keys() }),
        json!({ "api_keys": { "file": "a.yaml", "header": "authorization" } }),
    ] {
        assert!(!check(settings.clone()).is_empty(), "{settings}");
    }
}

#[test]
fn a_principal_is_one_that_some_method_gives() {
    let may_give = |settings: &Value, method: Is, name: &str| {
        let settings: Settings = serde_json::from_value(settings.clone()).unwrap();
        let credential = match method {
            Is::Anonymous => Credential::anonymous(),
            _ => Credential::new(method, name).unwrap(),
        };
        settings.may_give(&credential)
    };
    let all = [
        (Is::Spiffe, "spiffe://a/b"),
        (Is::Dns, "a.example"),
        (Is::CommonName, "a"),
        (Is::Jwt, "https://id.example:a"),
        (Is::OAuth2, "https://id.example:a"),
        (Is::ApiKey, "a"),
        (Is::Anonymous, ""),
    ];
    let jwt = |issuer: &str| json!({ "issuer": issuer, "audiences": ["a"], "jwks": { "file": "k.json" } });
    let issuer = "https://id.example";
    let oauth2 = json!({ "issuer": issuer, "audiences": ["a"], "introspection": { "url": "https://id.example/i", "client_id": "a", "client_secret": "b" } });
    for (settings, given) in [
        (json!({ "mtls": {} }), &[Is::Spiffe, Is::Dns][..]),
        (json!({ "mtls": { "common_name": true } }), &[Is::Spiffe, Is::Dns, Is::CommonName]),
        (json!({ "jwt": jwt(issuer) }), &[Is::Jwt]),
        (json!({ "jwt": jwt("https://id.exampl") }), &[]),
        (json!({ "jwt": jwt("https://id.example.org") }), &[]),
        (json!({ "jwt": jwt("https://id.example:a") }), &[]),
        (json!({ "oauth2": oauth2 }), &[Is::OAuth2]),
        (json!({ "api_keys": { "file": "a" } }), &[Is::ApiKey]),
        (json!({ "api_keys": { "file": "a" }, "anonymous": true }), &[Is::ApiKey, Is::Anonymous]),
        (json!({ "any": [{ "jwt": jwt(issuer) }, { "api_keys": { "file": "a" } }] }), &[Is::Jwt, Is::ApiKey]),
        (json!({ "all": [{ "mtls": {} }, { "jwt": jwt(issuer) }] }), &[Is::Spiffe, Is::Dns, Is::Jwt]),
    ] {
        for (method, name) in all {
            let found = may_give(&settings, method, name);
            assert_eq!(found, given.contains(&method), "{settings}: {method:?} {name}");
        }
    }
    assert!(may_give(&json!({ "jwt": jwt("an issuer") }), Is::Jwt, "an issuer:a"));
}

/// What a call without or with a bad credential is told in `WWW-Authenticate`.
fn challenge(filter: &Arc<dyn Filter>, headers: &[(&'static str, &str)]) -> Option<String> {
    let mut request = Request::new(Body::empty());
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let cx = RequestContext::new(RequestStart::new(Protocol::Http, "demo"));
    let filters = [Arc::clone(filter)];
    let behind = Behind::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rejection = runtime.block_on(run(&filters, &behind, &cx, &mut request)).unwrap_err();
    let answer = crate::respond(&cx, &rejection);
    assert_eq!(answer.status(), 401);
    let mut values = answer.headers().get_all(http::header::WWW_AUTHENTICATE).iter();
    let value = values.next().map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(values.next(), None);
    value
}

#[test]
fn a_refusal_names_the_scheme_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set.json");
    // RFC 7515 appendix A.3.1.
    let public = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    std::fs::write(&set, json!({ "keys": [public] }).to_string()).unwrap();
    let key = json!({ "api_keys": keys(&folder, "key1", "one", KEY) });
    let jwt = json!({ "jwt": { "issuer": "a", "audiences": ["b"], "jwks": { "file": set } } });
    let oauth2 = json!({ "oauth2": {
        "issuer": "a",
        "audiences": ["b"],
        "introspection": { "url": "http://127.0.0.1:1/i", "client_id": "a", "client_secret": "b" },
    } });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (plain, invalid) = (CHALLENGE, bearer::INVALID_TOKEN);
    let token = "Bearer a.b.c";
    for (settings, headers, told) in [
        (jwt.clone(), &[][..], Some(plain)),
        (jwt.clone(), &[("authorization", token)], Some(invalid)),
        // That is no token, so none is invalid.
        (jwt.clone(), &[("authorization", "Basic YTpi")], Some(plain)),
        (jwt.clone(), &[("authorization", token), ("authorization", token)], Some(plain)),
        (oauth2, &[], Some(plain)),
        (json!({ "any": [key, jwt] }), &[], Some(plain)),
        (json!({ "any": [key, jwt] }), &[("x-key1", OTHER)], Some(plain)),
        // The token is not what is refused.
        (json!({ "any": [key, jwt] }), &[("x-key1", OTHER), ("authorization", token)], Some(plain)),
        (json!({ "any": [key, jwt] }), &[("authorization", token)], Some(invalid)),
        (json!({ "all": [key, jwt] }), &[("x-key1", KEY)], Some(plain)),
        (key.clone(), &[], None),
        (key.clone(), &[("x-key1", OTHER)], None),
        (key.clone(), &[("authorization", token)], None),
        (json!({ "mtls": {} }), &[], None),
    ] {
        let entered = runtime.enter();
        let filter = built(&settings);
        drop(entered);
        assert_eq!(challenge(&filter, headers).as_deref(), told, "{settings} {headers:?}");
    }
}

#[tokio::test]
async fn whoever_is_asked_is_waited_for_until_the_callers_deadline() {
    // It takes the question, and never answers: asking by itself ends after seconds, with another reason.
    let issuer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/introspect", issuer.local_addr().unwrap());
    let filter = built(&json!({ "oauth2": {
        "issuer": "https://id.example",
        "audiences": ["orders"],
        "introspection": { "url": url, "client_id": "prism", "client_secret": "secret" },
    } }));
    let mut start = RequestStart::new(Protocol::Grpc, "demo");
    start.deadline = Some(start.at + std::time::Duration::from_millis(50));
    let cx = RequestContext::new(start);
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert("authorization", "Bearer opaque".parse().unwrap());
    let behind = Behind::default();
    let refused = run(&[filter], &behind, &cx, &mut request).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::DeadlineExceeded);
    assert!(behind.0.borrow().is_empty());
}
