//! Answers, each read for what it is worth; what is asked; and the filter with an authorizer that does as a test says.

use super::{answer::Edits, wire::*, *};
use crate::{
    AskFuture, Body, Caller, Credential, Filter, FilterFuture, FilterType, GrpcService, GrpcServices, Held,
    Method, Protocol, Reason, Rejection, RequestStart, ServicePlace, Terminal,
    authz::{Authz, Grant, Guarded, Policy, Wanted},
    metrics::Metrics,
    run,
};
use http::{HeaderMap, Request as HttpRequestHead, Response};
use serde_json::{Value, json};
use std::{any::Any, cell::RefCell, path::Path, rc::Rc, sync::Mutex, time::Duration};

fn status(code: i32) -> Option<Status> {
    Some(Status { code, message: "said so".into() })
}

fn set(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderField { key: name.into(), value: value.into(), raw_value: Vec::new() }),
        append: None,
        append_action: 0,
    }
}

fn ok(change: impl FnOnce(&mut OkResponse)) -> CheckResponse {
    let mut response = OkResponse::default();
    change(&mut response);
    CheckResponse { status: status(0), http_response: Some(HttpResponse::Ok(response)) }
}

fn denied(code: i32, http: i32) -> CheckResponse {
    let denied = DeniedResponse { status: Some(HttpStatus { code: http }), body: "out\nof quota".into() };
    CheckResponse { status: status(code), http_response: Some(HttpResponse::Denied(denied)) }
}

#[test]
fn what_does_not_say_yes_says_no() {
    let only = |code| CheckResponse { status: status(code), http_response: None };
    assert!(matches!(answer::read(only(0)), Answer::Allowed(_)));
    assert!(matches!(answer::read(ok(|_| {})), Answer::Allowed(_)));
    let without_status = CheckResponse { status: None, ..ok(|_| {}) };
    assert!(matches!(answer::read(without_status), Answer::Allowed(_)));

    for (answered, code) in [
        (only(7), Code::PermissionDenied),
        (only(16), Code::Unauthenticated),
        (only(8), Code::ResourceExhausted),
        (only(14), Code::PermissionDenied),
        (only(-1), Code::PermissionDenied),
        (only(99), Code::PermissionDenied),
        (denied(7, 403), Code::PermissionDenied),
        (denied(7, 401), Code::Unauthenticated),
        (denied(16, 403), Code::PermissionDenied),
        (denied(7, 429), Code::ResourceExhausted),
        // It contradicts itself.
        (denied(0, 200), Code::PermissionDenied),
        (denied(0, 0), Code::PermissionDenied),
        (CheckResponse { status: None, ..denied(0, 403) }, Code::PermissionDenied),
        (CheckResponse { status: status(7), ..ok(|_| {}) }, Code::PermissionDenied),
    ] {
        let shown = format!("{answered:?}");
        match answer::read(answered) {
            Answer::Denied(got, why) => {
                assert_eq!(got, code, "{shown}");
                assert!(!why.contains('\n'), "{why:?}");
            }
            other => panic!("{shown}: {other:?}"),
        }
    }

    let failed = HttpResponse::Error(DeniedResponse::default());
    for nonsense in [
        CheckResponse::default(),
        CheckResponse { status: status(0), http_response: Some(failed.clone()) },
        CheckResponse { status: status(13), http_response: Some(failed) },
    ] {
        assert!(matches!(answer::read(nonsense), Answer::Nonsense(_)));
    }
}

#[test]
fn what_an_authorizer_may_not_change_makes_nonsense_of_its_answer() {
    let taboo = [
        ":path",
        ":authority",
        ":method",
        "host",
        "Host",
        "x-prism-principal",
        "X-Prism-Namespace",
        "x_prism_principal",
        "content-length",
        "Content_Length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
        "grpc-timeout",
        "grpc-encoding",
        "content-type",
        "content-encoding",
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-request-id",
        "traceparent",
        "http2-settings",
        "",
        "a b",
        "a\nb",
        "é",
    ];
    for name in taboo {
        let changes: [CheckResponse; 3] = [
            ok(|it| it.headers.push(set(name, "x"))),
            ok(|it| it.headers_to_remove.push(name.to_owned())),
            ok(|it| it.response_headers_to_add.push(set(name, "x"))),
        ];
        for answered in changes {
            let read = answer::read(answered);
            assert!(matches!(&read, Answer::Nonsense(why) if !why.contains('\n')), "{name:?}: {read:?}");
        }
    }
    for answered in [
        ok(|it| it.headers.push(set("x-a", "a\r\nx-prism-principal: b"))),
        ok(|it| it.headers.push(set("x-a", "a\0"))),
        ok(|it| it.headers.push(HeaderValueOption { header: None, ..set("x-a", "a") })),
        ok(|it| it.headers.push(HeaderValueOption { append_action: 4, ..set("x-a", "a") })),
        ok(|it| it.headers.push(HeaderValueOption { append_action: -1, ..set("x-a", "a") })),
        ok(|it| it.headers = vec![set("x-a", "a"); 101]),
        ok(|it| it.query_parameters_to_set.push(Ignored {})),
        ok(|it| it.query_parameters_to_remove.push("a".into())),
    ] {
        let read = answer::read(answered);
        assert!(matches!(read, Answer::Nonsense(_)), "{read:?}");
    }
}

fn applied(options: Vec<HeaderValueOption>, removed: &[&str]) -> Vec<String> {
    let answered = ok(|it| {
        it.headers = options;
        it.headers_to_remove = removed.iter().map(ToString::to_string).collect();
    });
    let Answer::Allowed(changes) = answer::read(answered) else { panic!("no answer") };
    let mut headers = HeaderMap::new();
    for value in ["client", "client's other"] {
        headers.append("x-user", value.parse().unwrap());
    }
    let edits: Edits = changes.request;
    edits.apply(&mut headers);
    headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

#[test]
fn headers_are_set_added_and_removed_as_the_protocol_says() {
    let user = |append: Option<bool>, append_action| HeaderValueOption {
        append: append.map(|value| BoolValue { value }),
        append_action,
        ..set("X-User", "alice")
    };
    let before = ["x-user: client", "x-user: client's other"];
    let all = ["x-user: client", "x-user: client's other", "x-user: alice"];
    for (option, expected) in [
        (user(None, 0), &["x-user: alice"][..]),
        (user(None, 2), &["x-user: alice"]),
        (user(None, 3), &["x-user: alice"]),
        (user(Some(false), 1), &["x-user: alice"]),
        (user(Some(true), 2), &all),
        (user(None, 1), &before),
        (HeaderValueOption { append_action: 3, ..set("x-new", "a") }, &before),
    ] {
        assert_eq!(applied(vec![option], &[]), expected);
    }
    assert_eq!(applied(vec![set("x-new", "a")], &["x-user", "x-absent"]), ["x-new: a"]);
    let raw = HeaderField { key: "x-new".into(), value: String::new(), raw_value: b"raw".to_vec() };
    let raw = HeaderValueOption { header: Some(raw), ..set("x-new", "") };
    assert_eq!(applied(vec![raw], &["x-user"]), ["x-new: raw"]);
}

/// What the authorizer does.
#[derive(Clone, Debug)]
enum Does {
    Says(CheckResponse),
    Babbles(&'static [u8]),
    Fails,
}

/// An authorizer, and what it was asked.
struct Told {
    does: Mutex<Does>,
    asked: Mutex<Vec<CheckRequest>>,
}

struct World(Arc<Told>);

impl GrpcServices for World {
    fn open(&self, _: &ServicePlace) -> Result<Arc<dyn GrpcService>, BuildError> {
        Ok(Arc::<Told>::clone(&self.0))
    }
}

impl GrpcService for Told {
    fn ask<'a>(
        &'a self,
        _: &'a dyn Any,
        path: &'static str,
        message: bytes::Bytes,
        _: Duration,
        _: usize,
    ) -> AskFuture<'a> {
        assert_eq!(path, "/envoy.service.auth.v3.Authorization/Check");
        self.asked.lock().unwrap().push(CheckRequest::decode(message).unwrap());
        let does = self.does.lock().unwrap().clone();
        Box::pin(std::future::ready(match does {
            Does::Says(answer) => Ok(answer.encode_to_vec().into()),
            Does::Babbles(bytes) => Ok(bytes.into()),
            Does::Fails => Err(crate::AskError("no answer within 200 ms".into())),
        }))
    }
}

/// A namespace whose plugin declares `get` as what it is told, `odd` as nothing in particular, and no more.
struct Declared {
    policy: Policy,
    get: Mutex<Kind>,
}

impl Guarded for Declared {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn kind(&self, operation: &str) -> Option<Kind> {
        match operation {
            "get" => Some(*self.get.lock().unwrap()),
            "odd" => Some(Kind::Unspecified),
            _ => None,
        }
    }
}

/// The end of the chain, which notes what arrives there.
#[derive(Default)]
struct Reached(RefCell<Option<(Option<Grant>, HeaderMap)>>);

impl Terminal for Reached {
    fn call<'a>(&'a self, cx: &'a RequestContext, request: &'a mut http::Request<Body>) -> FilterFuture<'a> {
        *self.0.borrow_mut() = Some((cx.grant(), request.headers().clone()));
        Box::pin(async { Ok(Response::new(Body::empty())) })
    }
}

struct Scene {
    told: Arc<Told>,
    metrics: Arc<Metrics>,
    guarded: Arc<Declared>,
    settings: Value,
}

struct Passed {
    outcome: Result<Response<Body>, Rejection>,
    reached: Option<(Option<Grant>, HeaderMap)>,
    cx: RequestContext,
}

impl Scene {
    fn new(does: Does) -> Self {
        let rules = json!([
            { "principal": "jwt:**", "permissions": ["read"] },
            { "principal": "key:named", "operations": { "allow": ["odd", "made-up"] } },
        ]);
        let policy = Policy::new(&serde_json::from_value(rules).unwrap()).unwrap();
        Self {
            told: Arc::new(Told { does: Mutex::new(does), asked: Mutex::default() }),
            metrics: Arc::new(Metrics::new().unwrap()),
            guarded: Arc::new(Declared { policy, get: Mutex::new(Kind::Read) }),
            settings: json!({ "external": {
                "address": "127.0.0.1:1", "headers": ["X-Tenant", "x-other"], "claims": ["groups", "realm.roles", "none"],
            } }),
        }
    }

    fn filter(&self, previous: Option<&Authz>) -> Authz {
        let cx = BuildContext {
            platform: &Platform::system(),
            metrics: &self.metrics,
            base_dir: Path::new("/etc/prism"),
            listener: "edge",
            changes: &crate::Changes::default(),
            services: &World(Arc::clone(&self.told)),
        };
        Authz::build(serde_json::from_value(self.settings.clone()).unwrap(), &cx, previous).unwrap()
    }

    async fn pass(&self, wanted: Wanted, caller: Credential, operation: &str) -> Passed {
        let worker: Rc<dyn Any> = Rc::new(());
        let guarded: Arc<dyn Guarded> = Arc::<Declared>::clone(&self.guarded);
        let cx = RequestContext::new(RequestStart {
            wanted,
            guarded: Some(guarded),
            worker: Some(worker),
            peer: Some("192.0.2.7:4321".parse().unwrap()),
            ..RequestStart::new(Protocol::Grpc, "demo")
        });
        cx.set_caller(Caller::new(Arc::new(caller)));
        cx.set_trace("id-1".into(), "".into());
        if !operation.is_empty() {
            cx.set_operation(operation.to_owned().into());
        }
        let mut request = HttpRequestHead::post("http://edge.example/v1/demo/get?a=b")
            .header("x-tenant", "one")
            .header("x-tenant", "two")
            .header("authorization", "Bearer secret")
            .header("x-unnamed", "kept")
            .body(Body::empty())
            .unwrap();
        let end = Reached::default();
        let filter: Arc<dyn Filter> = Arc::new(self.filter(None));
        let outcome = run(&[filter], &end, &cx, &mut request).await;
        let reached = end.0.take();
        Passed { outcome, reached, cx }
    }

    fn asked(&self) -> Vec<CheckRequest> {
        std::mem::take(&mut self.told.asked.lock().unwrap())
    }

    fn counted(&self) -> [u64; 3] {
        let counts = self.metrics.authz_external("edge");
        [counts.allowed.get(), counts.denied.get(), counts.failed.get()]
    }
}

fn alice() -> Credential {
    let claims = json!({ "groups": ["staff"], "realm": { "roles": "a" }, "secret": 7, "email": "x" });
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    Credential::new(Method::Jwt, "https://id.example:alice").unwrap().with_claims(claims)
}

fn named() -> Credential {
    Credential::new(Method::ApiKey, "named").unwrap()
}

fn yes() -> Does {
    Does::Says(CheckResponse { status: status(0), http_response: None })
}

fn no() -> Does {
    Does::Says(denied(7, 403))
}

#[tokio::test]
async fn it_is_told_what_is_named_and_no_more() {
    let scene = Scene::new(yes());
    scene.pass(Wanted::Operation, alice(), "get").await.outcome.unwrap();
    let asked = scene.asked().pop().unwrap();
    let shown = format!("{asked:?}");
    for secret in ["secret", "kept", "email", "none"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    let attributes = asked.attributes.unwrap();
    let principal = "jwt:https://id.example:alice";
    let mut extensions: Vec<_> =
        attributes.context_extensions.iter().map(|(name, value)| (&**name, &**value)).collect();
    extensions.sort_unstable();
    assert_eq!(
        extensions,
        [
            ("kind", "read"),
            ("listener", "edge"),
            ("namespace", "demo"),
            ("operation", "get"),
            ("principal", principal)
        ]
    );
    let source = attributes.source.unwrap();
    assert_eq!(source.principal, principal);
    let at = source.address.unwrap().socket_address.unwrap();
    assert_eq!((&*at.address, at.port_value), ("192.0.2.7", Some(4321)));
    let request = attributes.request.unwrap();
    assert!(request.time.unwrap().seconds > 1_700_000_000);
    let http = request.http.unwrap();
    assert_eq!(
        (&*http.id, &*http.method, &*http.path, &*http.host, &*http.scheme, http.size),
        ("id-1", "POST", "/v1/demo/get?a=b", "edge.example", "http", -1)
    );
    assert_eq!(http.headers.into_iter().collect::<Vec<_>>(), [("x-tenant".to_owned(), "one,two".to_owned())]);
    let claims = &attributes.metadata_context.unwrap().filter_metadata["prism.caller"].fields;
    assert_eq!(claims.keys().collect::<std::collections::BTreeSet<_>>().len(), 2, "{claims:?}");
    let kind = |name: &str| format!("{:?}", claims[name].kind);
    assert!(kind("groups").contains("staff") && kind("realm.roles").contains('a'));
}

#[tokio::test]
async fn both_have_to_allow_it_and_what_is_granted_is_what_was_asked_about() {
    let scene = Scene::new(yes());
    for (wanted, caller, operation, kind, grant) in [
        (Wanted::Operation, alice as fn() -> Credential, "get", "read", Grant::Kind(Some(Kind::Read))),
        // A rule that names it would let it be anything; the authorizer was asked about one kind.
        (Wanted::Operation, named, "odd", "unspecified", Grant::Kind(Some(Kind::Unspecified))),
        (Wanted::Description, alice, "", "describe", Grant::Description),
        (Wanted::Forward(Some(policy())), alice, "", "forward", Grant::AsWanted),
    ] {
        let passed = scene.pass(wanted, caller(), operation).await;
        passed.outcome.unwrap();
        assert_eq!(passed.reached.unwrap().0, Some(grant));
        assert!(passed.cx.approval().is_some());
        let extensions = scene.asked().pop().unwrap().attributes.unwrap().context_extensions;
        assert_eq!((&*extensions["kind"], &*extensions["operation"]), (kind, operation));
    }
    // What nobody declares is not done, and a made-up name is told to nobody.
    for caller in [alice, named] {
        let passed = scene.pass(Wanted::Operation, caller(), "made-up").await;
        passed.outcome.unwrap();
        assert_eq!(passed.reached.unwrap().0, Some(Grant::Kind(None)));
    }
    // What the rules deny is not asked about, nor what concerns nobody.
    let refused = scene.pass(Wanted::Operation, alice(), "odd").await.outcome.unwrap_err();
    assert_eq!(refused.reason(), Reason::AccessDenied);
    scene.pass(Wanted::Listener, alice(), "").await.outcome.unwrap();
    scene.pass(Wanted::Nothing, alice(), "").await.outcome.unwrap();
    assert!(scene.asked().is_empty());
    assert_eq!(scene.counted(), [4, 0, 0]);
}

fn policy() -> Arc<Policy> {
    let rules = serde_json::from_value(json!([{ "principal": "jwt:**" }])).unwrap();
    Arc::new(Policy::new(&rules).unwrap())
}

#[tokio::test]
async fn whatever_is_no_yes_is_a_no_and_reaches_nothing() {
    for (does, reason, code, why) in [
        (no(), Reason::AccessDenied, Code::PermissionDenied, "denies the call: out of quota"),
        (Does::Says(denied(16, 401)), Reason::AccessDenied, Code::Unauthenticated, "denies"),
        (Does::Fails, Reason::AuthzUnavailable, Code::Unavailable, "no answer within"),
        (Does::Babbles(b"\xff\xff"), Reason::AuthzUnavailable, Code::Unavailable, "cannot be read"),
        (Does::Babbles(b""), Reason::AuthzUnavailable, Code::Unavailable, "empty"),
        (
            Does::Says(ok(|it| it.headers.push(set("x-prism-principal", "root")))),
            Reason::AuthzUnavailable,
            Code::Unavailable,
            "x-prism-principal",
        ),
    ] {
        for wanted in [Wanted::Operation, Wanted::Description, Wanted::Forward(Some(policy()))] {
            let scene = Scene::new(does.clone());
            let operation = if matches!(wanted, Wanted::Operation) { "get" } else { "" };
            let passed = scene.pass(wanted, alice(), operation).await;
            let rejection = passed.outcome.unwrap_err();
            assert_eq!((rejection.reason(), rejection.code()), (reason, code), "{does:?}");
            assert!(rejection.detail().unwrap().contains(why), "{rejection:?}");
            // Not a word of it is for the caller.
            assert!(!rejection.message().contains("quota") && !rejection.message().contains("127.0.0.1"));
            assert!(
                passed.reached.is_none() && passed.cx.grant().is_none() && passed.cx.approval().is_none()
            );
            assert_eq!(scene.counted().iter().sum::<u64>(), 1);
        }
    }
}

#[tokio::test]
async fn what_it_sets_goes_on_and_comes_back() {
    let does = Does::Says(ok(|it| {
        it.headers.push(set("x-tenant", "three"));
        it.headers_to_remove.push("x-unnamed".into());
        it.response_headers_to_add.push(set("x-quota", "7"));
    }));
    let passed = Scene::new(does).pass(Wanted::Operation, alice(), "get").await;
    assert_eq!(passed.outcome.unwrap().headers()["x-quota"], "7");
    let headers = passed.reached.unwrap().1;
    assert_eq!(headers.get_all("x-tenant").iter().collect::<Vec<_>>(), ["three"]);
    assert!(!headers.contains_key("x-unnamed"));
}

#[tokio::test]
async fn in_shadow_it_is_asked_and_nothing_is_other_than_without_it() {
    let changes = Does::Says(ok(|it| it.headers.push(set("x-tenant", "three"))));
    for (does, note) in [(changes, None), (no(), Some("denies the call")), (Does::Fails, Some("no answer"))] {
        let mut scene = Scene::new(does);
        scene.settings["shadow"] = true.into();
        let passed = scene.pass(Wanted::Operation, alice(), "get").await;
        passed.outcome.unwrap();
        let (grant, headers) = passed.reached.unwrap();
        assert_eq!(grant, Some(Grant::Watched));
        assert_eq!(headers.get_all("x-tenant").iter().count(), 2);
        let noted = passed.cx.note().map(ToString::to_string);
        assert_eq!(noted.is_some(), note.is_some());
        assert!(note.is_none_or(|note| noted.unwrap().contains(note)));
        assert_eq!(scene.asked().len(), 1);
        assert_eq!(scene.metrics.authz_shadow_denied("edge").get(), u64::from(note.is_some()));
    }
}

#[tokio::test]
async fn what_is_under_way_ends_when_another_authorizer_has_to_be_asked_or_another_kind_would_be() {
    let mut scene = Scene::new(yes());
    let cx = scene.pass(Wanted::Operation, alice(), "get").await.cx;
    let first = scene.filter(None);
    // The same settings make another authorizer only when they are not carried over.
    let approved = Held {
        is_answering: true,
        approval: Some(first.external.as_ref().unwrap().approval(Some(Kind::Read))),
        ..Held::from(&cx)
    };
    first.recheck(&approved).unwrap();
    assert!(first.recheck(&Held { approval: None, ..approved }).is_err());

    scene.settings["shadow"] = true.into();
    let watching = scene.filter(Some(&first));
    watching.recheck(&Held { approval: None, ..approved }).unwrap();
    scene.settings["shadow"] = false.into();
    scene.filter(Some(&watching)).recheck(&approved).unwrap();

    *scene.guarded.get.lock().unwrap() = Kind::Write;
    assert!(first.recheck(&approved).is_err(), "it was not asked about a write");
    *scene.guarded.get.lock().unwrap() = Kind::Read;
    first.recheck(&approved).unwrap();

    scene.settings["external"]["address"] = "127.0.0.1:2".into();
    let other = scene.filter(Some(&first));
    let ended = other.recheck(&approved).unwrap_err();
    assert_eq!(ended.reason(), Reason::Reloaded);
    // One that is still awaited is not lost.
    other.recheck(&Held { is_answering: false, ..approved }).unwrap();
    scene.settings = json!({});
    scene.filter(Some(&other)).recheck(&approved).unwrap();
}

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
