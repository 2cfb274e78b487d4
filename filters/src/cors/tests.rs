//! The filter as the stack uses it, and what it refuses to be.

use super::*;
use crate::{Protocol, RequestStart, Terminal, arrive, registry, respond, run};
use prism_platform::Platform;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

const APP: &str = "https://app.example.com";

/// The end of the chain: whatever reaches it is answered, by a server with an opinion of its own.
struct Reached;

impl Terminal for Reached {
    fn call<'a>(&'a self, _: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
        Box::pin(async {
            let response = Response::builder().header("x-reached", "yes").header("vary", "accept");
            let response = response
                .header("access-control-allow-origin", "https://somebody.else")
                .header("access-control-allow-credentials", "true")
                .header("access-control-expose-headers", "set-cookie");
            Ok(response.body(Body::empty()).unwrap())
        })
    }
}

struct Refuses;

impl Terminal for Refuses {
    fn call<'a>(&'a self, _: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
        Box::pin(async { Err(Rejection::new(Reason::UnknownNamespace, "there is none")) })
    }
}

fn filter(settings: &Value) -> Arc<dyn Filter> {
    let cx = BuildContext {
        platform: &Platform::system(),
        metrics: &Arc::new(crate::metrics::Metrics::new().unwrap()),
        base_dir: Path::new("."),
        listener: "edge",
        changes: &crate::Changes::default(),
        services: &crate::NoServices,
    };
    registry::builtin().build("cors", settings, &cx, None).unwrap()
}

async fn call(
    settings: &Value,
    terminal: &dyn Terminal,
    method: &str,
    headers: &[(&str, &str)],
) -> Response<Body> {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let chain = [filter(settings)];
    let decorators = arrive(&chain, &mut request);
    let cx = RequestContext::new(RequestStart::new(Protocol::Http, "demo"));
    let mut response = match run(&chain, terminal, &cx, &mut request).await {
        Ok(response) => response,
        Err(rejection) => respond(&cx, &rejection),
    };
    decorators.apply(&mut response);
    response
}

fn one() -> Value {
    json!({ "allow_origins": [APP] })
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    let values: Vec<&str> =
        response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

fn preflight(origin: &str) -> [(&str, &str); 3] {
    [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-grpc-web"),
    ]
}

#[tokio::test]
async fn a_preflight_is_answered_here() {
    let settings = json!({ "allow_origins": [APP], "allow_headers": ["x-team"], "max_age": "1h" });
    let response = call(&settings, &Reached, "OPTIONS", &preflight(APP)).await;
    assert_eq!(response.status(), 204);
    assert_eq!(header(&response, "x-reached"), None);
    assert_eq!(header(&response, ALLOW_ORIGIN).as_deref(), Some(APP));
    assert_eq!(header(&response, "access-control-allow-methods").as_deref(), Some("GET, POST"));
    assert_eq!(
        header(&response, "access-control-allow-headers").as_deref(),
        Some(
            "authorization, content-type, grpc-timeout, traceparent, tracestate, x-grpc-web, x-prism-namespace, \
             x-user-agent, x-team"
        )
    );
    assert_eq!(header(&response, "access-control-max-age").as_deref(), Some("3600"));
    assert_eq!(header(&response, "access-control-allow-credentials"), None);
    assert_eq!(header(&response, "vary").as_deref(), Some("origin"));
}

#[tokio::test]
async fn a_preflight_from_elsewhere_is_refused_and_goes_no_further() {
    let nobody = json!({});
    for (settings, origin) in [
        (&one(), "https://evil.com"),
        (&one(), "https://app.example.com.evil.com"),
        (&one(), "http://app.example.com"),
        (&one(), "null"),
        (&one(), ""),
        (&nobody, APP),
        (&Value::Null, APP),
    ] {
        let response = call(settings, &Reached, "OPTIONS", &preflight(origin)).await;
        assert_eq!(response.status(), 403, "{origin}");
        assert_eq!(header(&response, "x-reached"), None);
        for name in response.headers().keys() {
            assert!(!name.as_str().starts_with("access-control-"), "{origin}: {name}");
        }
        assert_eq!(header(&response, "vary").as_deref(), Some("origin"));
    }
    let twice = [("origin", APP), ("origin", APP), ("access-control-request-method", "POST")];
    assert_eq!(call(&one(), &Reached, "OPTIONS", &twice).await.status(), 403);
}

#[tokio::test]
async fn what_is_no_preflight_goes_on() {
    for (method, headers) in [
        ("OPTIONS", &[][..]),
        ("OPTIONS", &[("origin", APP)]),
        ("OPTIONS", &[("access-control-request-method", "POST")]),
        ("GET", &preflight(APP)),
        ("POST", &preflight("https://evil.com")),
        ("POST", &[("origin", "https://evil.com")]),
        ("POST", &[]),
    ] {
        let response = call(&one(), &Reached, method, headers).await;
        assert_eq!(header(&response, "x-reached").as_deref(), Some("yes"), "{method} {headers:?}");
    }
}

#[tokio::test]
async fn every_answer_says_who_may_read_it_and_refusals_do_too() {
    let terminals: [(&dyn Terminal, u16, &str); 2] =
        [(&Reached, 200, "accept, origin"), (&Refuses, 404, "origin")];
    for (terminal, status, vary) in terminals {
        let response = call(&one(), terminal, "POST", &[("origin", APP)]).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, ALLOW_ORIGIN).as_deref(), Some(APP));
        assert_eq!(
            header(&response, "access-control-expose-headers").as_deref(),
            Some("grpc-status, grpc-message, grpc-status-details-bin, retry-after, x-request-id")
        );
        assert_eq!(header(&response, "access-control-allow-credentials"), None);
        assert_eq!(header(&response, "vary").as_deref(), Some(vary));

        for headers in [&[][..], &[("origin", "https://evil.com")], &[("origin", "null")]] {
            let response = call(&one(), terminal, "POST", headers).await;
            assert_eq!(response.status(), status);
            for name in response.headers().keys() {
                assert!(!name.as_str().starts_with("access-control-"), "{headers:?}: {name}");
            }
            assert_eq!(header(&response, "vary").as_deref(), Some(vary), "{headers:?}");
        }
    }
}

/// Stands in front of everything and refuses everything.
struct Deny;

impl Filter for Deny {
    fn call<'a>(&'a self, _: &'a RequestContext, _: &'a mut Request<Body>, _: Next<'a>) -> FilterFuture<'a> {
        Box::pin(async { Err(Rejection::new(Reason::RefusedByFilter, "not today").by("deny")) })
    }
}

#[tokio::test]
async fn what_is_refused_in_front_of_it_is_read_by_pages_too() {
    for (content_type, becomes) in [
        ("application/grpc-web", "application/grpc-web+proto"),
        ("application/grpc-web-text", "application/grpc-web-text+proto"),
    ] {
        let chain: [Arc<dyn Filter>; 3] =
            [Arc::new(Deny), filter(&one()), Arc::new(crate::grpc_web::GrpcWeb)];
        let request = Request::post("/a.B/C").header("origin", APP).header("content-type", content_type);
        let mut request = request.body(Body::empty()).unwrap();
        let decorators = arrive(&chain, &mut request);
        assert_eq!(request.headers()["content-type"], "application/grpc", "for whoever stands in front");
        let cx = RequestContext::new(RequestStart::new(Protocol::Grpc, "demo"));
        let rejection = run(&chain, &Reached, &cx, &mut request).await.unwrap_err();
        let mut response = respond(&cx, &rejection);
        decorators.apply(&mut response);
        assert_eq!(header(&response, "content-type").as_deref(), Some(becomes));
        assert_eq!(header(&response, "grpc-status").as_deref(), Some("7"));
        assert_eq!(header(&response, ALLOW_ORIGIN).as_deref(), Some(APP));
    }
}

#[tokio::test]
async fn everybody_may_read_what_everybody_may_and_caches_are_told_nothing() {
    let settings = json!({ "allow_origins": ["*"], "expose_headers": ["x-cost"] });
    for origin in [APP, "null", "https://evil.com"] {
        let response = call(&settings, &Refuses, "POST", &[("origin", origin)]).await;
        assert_eq!(header(&response, ALLOW_ORIGIN).as_deref(), Some("*"));
        assert_eq!(header(&response, "vary"), None);
        assert!(header(&response, "access-control-expose-headers").unwrap().ends_with(", x-cost"));
    }
}

#[tokio::test]
async fn credentials_are_for_origins_that_are_named() {
    let settings = json!({ "allow_origins": [APP, "https://*.example.org"], "allow_credentials": true });
    for (origin, allowed) in [
        (APP, true),
        ("https://a.example.org", true),
        ("https://example.org", false),
        ("https://evil.com", false),
    ] {
        let response = call(&settings, &Reached, "POST", &[("origin", origin)]).await;
        let expected = allowed.then(|| origin.to_owned());
        assert_eq!(header(&response, ALLOW_ORIGIN), expected);
        assert_eq!(header(&response, "access-control-allow-credentials").is_some(), allowed, "{origin}");
    }
}

#[test]
fn settings_that_are_unsafe_or_mean_nothing_are_refused() {
    let registry = registry::builtin();
    let cors = registry.schemas().find(|schema| schema.name == "cors").unwrap();
    for (settings, key, item) in [
        (json!({ "allow_origins": [APP, "*"], "allow_credentials": true }), "allow_origins", 1),
        (json!({ "allow_origins": ["null"] }), "allow_origins", 0),
        (json!({ "allow_origins": [APP, "https://app.example.com/"] }), "allow_origins", 1),
        (json!({ "allow_origins": ["https://*.com"] }), "allow_origins", 0),
        (json!({ "allow_methods": ["*"] }), "allow_methods", 0),
        (json!({ "allow_methods": ["GET", "PO ST"] }), "allow_methods", 1),
        (json!({ "allow_headers": ["*"] }), "allow_headers", 0),
        (json!({ "allow_headers": ["x-a", "x b"] }), "allow_headers", 1),
        (json!({ "allow_headers": ["x-a, x-b"] }), "allow_headers", 0),
        (json!({ "allow_headers": [""] }), "allow_headers", 0),
        (json!({ "expose_headers": ["x\r\ny"] }), "expose_headers", 0),
        (json!({ "expose_headers": ["*"] }), "expose_headers", 0),
    ] {
        let problems = (cors.check)(&settings);
        assert_eq!(problems.len(), 1, "{settings}: {problems:?}");
        assert_eq!((problems[0].key, problems[0].item), (key, Some(item)), "{settings}");
        assert!(!problems[0].message.is_empty());
    }
    for settings in
        [Value::Null, json!({}), one(), json!({ "allow_origins": ["*"] }), json!({ "max_age": "1d" })]
    {
        assert_eq!((cors.check)(&settings), []);
        let _ = filter(&settings);
    }
}
