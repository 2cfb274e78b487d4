//! What an authorizer is asked, and what becomes of its answers.

mod answers;
mod passing;
mod settings;

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
    timeouts: Mutex<Vec<Duration>>,
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
        timeout: Duration,
        _: usize,
    ) -> AskFuture<'a> {
        assert_eq!(path, "/envoy.service.auth.v3.Authorization/Check");
        self.asked.lock().unwrap().push(CheckRequest::decode(message).unwrap());
        self.timeouts.lock().unwrap().push(timeout);
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
    /// How long its calls have.
    time: Option<Duration>,
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
            told: Arc::new(Told {
                does: Mutex::new(does),
                asked: Mutex::default(),
                timeouts: Mutex::default(),
            }),
            metrics: Arc::new(Metrics::new().unwrap()),
            guarded: Arc::new(Declared { policy, get: Mutex::new(Kind::Read) }),
            settings: json!({ "external": {
                "address": "127.0.0.1:1", "headers": ["X-Tenant", "x-other"], "claims": ["groups", "realm.roles", "none"],
            } }),
            time: None,
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
            deadline: self.time.map(|time| Instant::now() + time),
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
            .header("x_tenant", "three")
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
