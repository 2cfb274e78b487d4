//! The filter as the stack uses it, and the policy against a model of it.

mod model;
mod rules;

use super::*;
use crate::{Credential, Method, Protocol, Reason, RequestStart, Terminal, metrics::Metrics, registry, run};
use prism_config::AccessRules;
use prism_platform::Platform;
use serde_json::{Value, json};
use std::{cell::Cell, collections::BTreeMap, path::Path, sync::Arc};

/// Rules as they are written.
fn rules(written: &Value) -> AccessRules {
    serde_json::from_value(written.clone()).unwrap()
}

fn policy(written: &Value) -> Policy {
    Policy::new(&rules(written)).unwrap()
}

fn caller(method: Method, name: &str, claims: Value) -> Caller {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    Caller::new(Arc::new(Credential::new(method, name).unwrap().with_claims(claims)))
}

fn key(name: &str) -> Caller {
    caller(Method::ApiKey, name, json!({}))
}

/// A namespace whose plugin declares operations as a test has them.
struct Declared {
    policy: Policy,
    kinds: BTreeMap<&'static str, Kind>,
}

impl Guarded for Declared {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn kind(&self, operation: &str) -> Option<Kind> {
        self.kinds.get(operation).copied()
    }
}

/// The end of the chain: it notes what was granted.
#[derive(Default)]
struct Reached(Cell<Option<Grant>>);

impl Terminal for Reached {
    fn call<'a>(&'a self, cx: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
        self.0.set(cx.grant());
        Box::pin(async { Ok(http::Response::new(Body::empty())) })
    }
}

/// What became of a request.
#[derive(Debug)]
struct Outcome {
    /// With what it reached the end of the chain, or why it did not.
    passed: Result<Grant, Rejection>,
    note: Option<String>,
    counted: u64,
}

/// A request that wants something of a namespace with these rules, or of none.
async fn ask(
    wanted: Wanted,
    written: Option<&Value>,
    who: Option<Caller>,
    operation: &str,
    shadow: bool,
) -> Outcome {
    let metrics = Arc::new(Metrics::new().unwrap());
    let build = BuildContext {
        platform: &Platform::system(),
        metrics: &metrics,
        base_dir: Path::new("."),
        listener: "edge",
        changes: &crate::Changes::default(),
        services: &crate::NoServices,
    };
    let filter = registry::builtin().build("authz", &json!({ "shadow": shadow }), &build, None).unwrap();
    let kinds = BTreeMap::from([
        ("get", Kind::Read),
        ("set", Kind::Write),
        ("flush", Kind::Admin),
        ("odd", Kind::Unspecified),
    ]);
    let guarded =
        written.map(|written| Arc::new(Declared { policy: policy(written), kinds }) as Arc<dyn Guarded>);
    let cx =
        RequestContext::new(RequestStart { wanted, guarded, ..RequestStart::new(Protocol::Grpc, "demo") });
    if let Some(who) = who {
        cx.set_caller(who);
    }
    if !operation.is_empty() {
        cx.set_operation(operation.to_owned().into());
    }
    let end = Reached::default();
    let mut request = Request::post("/").body(Body::empty()).unwrap();
    let chain = [filter];
    let passed = run(&chain, &end, &cx, &mut request).await.map(|_| end.0.get().unwrap());
    Outcome {
        passed,
        note: cx.note().map(ToString::to_string),
        counted: metrics.authz_shadow_denied("edge").get(),
    }
}

fn written() -> Value {
    json!([
        { "principal": "key:reader", "permissions": ["read"] },
        { "principal": "key:owner", "permissions": ["read", "write", "admin"], "operations": { "deny": ["set"] } },
        { "principal": "key:named", "operations": { "allow": ["odd", "flush"] } },
        { "principal": "key:barred", "operations": { "deny": ["get"] } },
    ])
}

#[tokio::test]
async fn what_a_rule_allows_passes_as_what_was_decided_with() {
    for (who, operation, grant) in [
        ("reader", "get", Grant::Kind(Some(Kind::Read))),
        ("owner", "get", Grant::Kind(Some(Kind::Read))),
        ("owner", "flush", Grant::Kind(Some(Kind::Admin))),
        ("owner", "odd", Grant::Kind(Some(Kind::Unspecified))),
        ("named", "odd", Grant::AsWanted),
        ("named", "flush", Grant::AsWanted),
        // That there is no such operation is for the end of the chain to say, to whoever may know what there is.
        ("reader", "nonsense", Grant::Kind(None)),
        ("owner", "nonsense", Grant::Kind(None)),
    ] {
        let outcome = ask(Wanted::Operation, Some(&written()), Some(key(who)), operation, false).await;
        assert_eq!(outcome.passed.unwrap(), grant, "{who} {operation}");
    }
    for wanted in [Wanted::Description, Wanted::Nothing, Wanted::Listener] {
        let outcome = ask(wanted.clone(), Some(&written()), Some(key("reader")), "", false).await;
        assert_eq!(outcome.passed.unwrap(), Grant::Description, "{wanted:?}");
    }
    assert!(!Grant::Description.covers(Kind::Read) && !Grant::Kind(None).covers(Kind::Read));
    assert!(!Grant::Kind(Some(Kind::Write)).covers(Kind::Read));
}

#[tokio::test]
async fn everything_else_is_refused_in_the_same_words() {
    let rules = written();
    let forward = |written: Option<&Value>| Wanted::Forward(written.map(|it| Arc::new(policy(it))));
    let owner = json!([{ "principal": "key:owner" }]);
    for (wanted, rules, who, operation, detail) in [
        (Wanted::Operation, Some(&rules), Some(key("reader")), "set", "of kind write"),
        (Wanted::Operation, Some(&rules), Some(key("reader")), "flush", "of kind admin"),
        (Wanted::Operation, Some(&rules), Some(key("reader")), "odd", "whose kind nobody says"),
        (Wanted::Operation, Some(&rules), Some(key("owner")), "set", "access[1]"),
        (Wanted::Operation, Some(&rules), Some(key("named")), "get", "of kind read"),
        (Wanted::Operation, Some(&rules), Some(key("barred")), "get", "permits the caller anything"),
        (Wanted::Operation, Some(&rules), Some(key("barred")), "", "permits the caller anything"),
        (Wanted::Operation, Some(&rules), Some(key("stranger")), "get", "permits the caller anything"),
        (
            Wanted::Operation,
            Some(&rules),
            Some(Caller::new(Arc::new(Credential::anonymous()))),
            "get",
            "permits",
        ),
        (Wanted::Operation, Some(&rules), None, "get", "no `auth`"),
        (Wanted::Operation, None, Some(key("reader")), "get", "no such namespace"),
        (Wanted::Operation, None, None, "get", "no `auth`"),
        (Wanted::Description, Some(&rules), Some(key("stranger")), "", "permits the caller anything"),
        (Wanted::Description, Some(&rules), Some(key("barred")), "", "permits the caller anything"),
        (Wanted::Description, None, Some(key("reader")), "", "no such namespace"),
        (Wanted::Description, Some(&rules), None, "", "no `auth`"),
        (forward(None), Some(&rules), Some(key("owner")), "", "no `access` rules"),
        (forward(Some(&owner)), None, Some(key("reader")), "", "about the caller"),
        (forward(Some(&owner)), None, None, "", "no `auth`"),
        (forward(Some(&json!([]))), None, Some(key("owner")), "", "about the caller"),
    ] {
        let outcome = ask(wanted.clone(), rules, who.clone(), operation, false).await;
        let rejection = outcome.passed.unwrap_err();
        assert_eq!(rejection.reason(), Reason::AccessDenied, "{wanted:?} {operation}");
        assert_eq!(rejection.message(), denied().message());
        assert!(
            rejection.detail().unwrap().contains(detail),
            "{wanted:?} {operation}: {:?}",
            rejection.detail()
        );
        assert_eq!((outcome.note, outcome.counted), (None, 0));

        let shadowed = ask(wanted.clone(), rules, who, operation, true).await;
        assert_eq!(shadowed.passed.unwrap(), Grant::Watched, "{wanted:?} {operation}");
        let note = shadowed.note.unwrap();
        assert!(note.starts_with("authz would refuse it: ") && note.contains(detail), "{note}");
        assert_eq!(shadowed.counted, 1);
    }
}

#[tokio::test]
async fn a_forward_route_takes_whom_its_rules_are_about() {
    let rules = json!([{ "principal": "jwt:i:*", "claims": { "groups": "staff" } }]);
    let wanted = Wanted::Forward(Some(Arc::new(policy(&rules))));
    let staff = caller(Method::Jwt, "i:a", json!({ "groups": ["staff"] }));
    assert_eq!(ask(wanted.clone(), None, Some(staff), "", false).await.passed.unwrap(), Grant::AsWanted);
    for stranger in
        [caller(Method::Jwt, "i:a", json!({})), caller(Method::Dns, "a", json!({ "groups": "staff" }))]
    {
        assert!(ask(wanted.clone(), None, Some(stranger), "", false).await.passed.is_err());
    }
}

#[tokio::test]
async fn in_the_shadow_what_is_allowed_leaves_no_note() {
    let outcome = ask(Wanted::Operation, Some(&written()), Some(key("reader")), "get", true).await;
    assert_eq!(outcome.passed.unwrap(), Grant::Watched);
    assert_eq!((outcome.note, outcome.counted), (None, 0));
}

/// Who may do nothing here is refused at once, as where nothing is: no byte of the body was read, which here would fail.
#[tokio::test]
async fn a_body_is_read_only_for_those_whom_it_decides_about() {
    for (who, reads) in [("stranger", false), ("reader", true)] {
        let outcome = ask(Wanted::Operation, Some(&written()), Some(key(who)), "", false).await;
        let reason = outcome.passed.unwrap_err().reason();
        assert_eq!(reason, if reads { Reason::NoRoute } else { Reason::AccessDenied }, "{who}");
    }
}
