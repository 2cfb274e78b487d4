//! The filter from outside: that every way a call can end is one record, and what happens when there is no room.

use super::*;
use crate::{Credential, Method, Protocol, RequestStart, Terminal, metrics::Metrics, run};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use prism_platform::SystemNet;
use prism_plugin_abi::Payload;
use serde_json::Value;
use std::{future::poll_fn, os::unix::fs::PermissionsExt, path::Path, time::Duration};

struct Scene {
    folder: tempfile::TempDir,
    platform: Platform,
    metrics: Arc<Metrics>,
    changes: crate::Changes,
}

/// RFC 8032, section 7.1, test 1, as OpenSSL writes a private key.
const KEY: [u8; 48] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20, 0x9d,
    0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
    0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("audit.key");
        let text = STANDARD.encode(KEY);
        std::fs::write(&key, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"))
            .unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            folder,
            platform: Platform::simulated(Arc::new(SystemNet), 7),
            metrics: Arc::new(Metrics::new().unwrap()),
            changes: crate::Changes::default(),
        }
    }

    fn cx(&self) -> BuildContext<'_> {
        BuildContext {
            platform: &self.platform,
            metrics: &self.metrics,
            base_dir: self.folder.path(),
            listener: "edge",
            changes: &self.changes,
            services: &crate::NoServices,
        }
    }

    fn build(&self, more: &str) -> Result<Audit, BuildError> {
        let text = format!("{{\"dir\": \"audit\", \"key\": \"audit.key\"{more}}}");
        Audit::build(serde_json::from_str(&text).unwrap(), &self.cx(), None)
    }

    /// Everything in the log, once it is ended.
    fn records(&self) -> Vec<Value> {
        assert!(finish(Duration::from_secs(30)));
        let text = std::fs::read_to_string(self.folder.path().join("audit/00000001.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn calls(&self) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["kind"] == "call").collect()
    }
}

enum Answer {
    Grpc(&'static str),
    Endless,
    Refused(Reason),
    Never,
}

struct Pending;

impl futures_core::Stream for Pending {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}

impl Terminal for Answer {
    fn call<'a>(&'a self, cx: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
        cx.set_operation("get".into());
        let credential = Credential::new(Method::ApiKey, "batch").unwrap();
        cx.set_caller(crate::Caller::new(Arc::new(credential)));
        Box::pin(async move {
            match self {
                Self::Grpc(status) => {
                    let trailers = HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        HeaderValue::from_static(status),
                    )]);
                    let body =
                        Body::whole(Payload::from(Bytes::from_static(b"12345")), Some(Box::new(trailers)));
                    Ok(Response::new(body))
                }
                Self::Endless => Ok(Response::new(Body::new(http_body_util::StreamBody::new(Pending)))),
                Self::Refused(reason) => Err(Rejection::new(*reason, "no").with_detail("precisely")),
                Self::Never => std::future::pending().await,
            }
        })
    }
}

async fn call(
    audit: &Arc<dyn Filter>,
    answer: &Answer,
    read: bool,
) -> Option<Result<Response<Body>, Rejection>> {
    call_through(&[Arc::clone(audit)], answer, read).await
}

async fn call_through(
    filters: &[Arc<dyn Filter>],
    answer: &Answer,
    read: bool,
) -> Option<Result<Response<Body>, Rejection>> {
    let start = RequestStart {
        peer: Some("192.0.2.1:5".parse().unwrap()),
        config_version: 3,
        ..RequestStart::new(Protocol::Grpc, "demo")
    };
    let cx = RequestContext::new(start);
    cx.set_trace("id-1".into(), "".into());
    let mut request =
        Request::post("/prism.data.v1.DataService/Execute?token=s3cret").body(Body::empty()).unwrap();
    request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer s3cret"));
    let called = run(filters, answer, &cx, &mut request);
    let mut result = tokio::time::timeout(Duration::from_millis(50), called).await.ok()?;
    if let Ok(response) = &mut result
        && read
    {
        let body = response.body_mut();
        while poll_fn(|cx| body.poll_next(cx)).await.is_some() {}
    }
    Some(result)
}

#[tokio::test]
async fn every_way_to_end_is_one_record() {
    for (answer, read, code, reason, kinds) in [
        (Answer::Grpc("0"), true, "OK", Value::Null, 1),
        (Answer::Grpc("5"), true, "NOT_FOUND", Value::Null, 1),
        (Answer::Grpc("0"), false, "CANCELLED", Value::Null, 1),
        (Answer::Endless, false, "CANCELLED", Value::Null, 2),
        (Answer::Refused(Reason::AccessDenied), false, "PERMISSION_DENIED", "ACCESS_DENIED".into(), 1),
        (Answer::Never, false, "CANCELLED", Value::Null, 1),
    ] {
        for policy in ["", ", \"on_backpressure\": \"drop_and_count\""] {
            let scene = Scene::new();
            let audit: Arc<dyn Filter> = Arc::new(scene.build(policy).unwrap());
            drop(call(&audit, &answer, read).await);
            drop(audit);
            let records = scene.records();
            assert!(!format!("{records:?}").contains("s3cret"), "{records:?}");
            let kind = |kind: &str| records.iter().filter(|record| record["kind"] == kind).count();
            assert_eq!((kind("call"), kind("call") + kind("open")), (1, kinds), "{records:?}");
            let record = records.iter().find(|record| record["kind"] == "call").unwrap();
            assert_eq!((&record["code"], &record["reason"]), (&code.into(), &reason));
            assert_eq!((&record["request_id"], &record["listener"]), (&"id-1".into(), &"edge".into()));
            assert_eq!((&record["namespace"], &record["config_version"]), (&"demo".into(), &3.into()));
            assert_eq!(record["peer"], "192.0.2.1:5");
            assert_eq!(record["path"], "/prism.data.v1.DataService/Execute");
            if !matches!(answer, Answer::Never) {
                assert_eq!(
                    (&record["operation"], &record["principal"]),
                    (&"get".into(), &"key:batch".into())
                );
            }
            for open in records.iter().filter(|record| record["kind"] == "open") {
                assert!(open.get("code").is_none() && open["principal"] == "key:batch", "{open}");
            }
        }
    }
}

/// What the access log and the audit log say of one call, without what only one of them has.
async fn said(between: Option<Arc<dyn Filter>>, answer: &Answer, read: bool) -> (Value, Value) {
    let scene = Scene::new();
    let settings =
        serde_json::from_value(serde_json::json!({ "access_log": { "path": "access.log" } })).unwrap();
    let trace: Arc<dyn Filter> = Arc::new(crate::trace::Trace::build(settings, &scene.cx(), None).unwrap());
    let audit: Arc<dyn Filter> = Arc::new(scene.build("").unwrap());
    let filters: Vec<_> = [Some(trace), between, Some(audit)].into_iter().flatten().collect();
    drop(call_through(&filters, answer, read).await);
    drop(filters);
    let access = std::fs::read_to_string(scene.folder.path().join("access.log")).unwrap();
    let calls = scene.calls();
    assert_eq!((access.lines().count(), calls.len()), (1, 1), "{access} {calls:?}");
    let without = |mut line: Value, names: &[&str]| {
        for name in names {
            assert!(line.as_object_mut().unwrap().remove(*name).is_some(), "{name}: {line}");
        }
        line
    };
    let access = without(serde_json::from_str(&access).unwrap(), &["trace_id", "time", "duration_us"]);
    (access, without(calls[0].clone(), &["kind", "seq", "prev", "hash", "time", "duration_us"]))
}

#[tokio::test]
async fn whatever_comes_of_a_call_both_logs_say_the_same_of_it() {
    for (answer, read) in [
        (Answer::Grpc("0"), true),
        (Answer::Grpc("5"), true),
        (Answer::Grpc("0"), false),
        (Answer::Endless, false),
        (Answer::Refused(Reason::AccessDenied), false),
        (Answer::Never, false),
    ] {
        let (access, record) = said(None, &answer, read).await;
        assert_eq!(access, record);
        // Also where each watches on its own.
        let (access, record) = said(Some(Arc::new(Passing)), &answer, read).await;
        assert_eq!(access, record);
    }
}

struct Passing;

impl Filter for Passing {
    fn call<'a>(
        &'a self,
        cx: &'a RequestContext,
        request: &'a mut Request<Body>,
        next: Next<'a>,
    ) -> FilterFuture<'a> {
        next.call(cx, request)
    }
}

#[tokio::test]
async fn what_a_filter_in_between_makes_of_an_answer_is_not_what_was_done() {
    struct Turning;
    impl Filter for Turning {
        fn call<'a>(
            &'a self,
            cx: &'a RequestContext,
            request: &'a mut Request<Body>,
            next: Next<'a>,
        ) -> FilterFuture<'a> {
            Box::pin(async move {
                let mut answer = next.call(cx, request).await?;
                let body = answer.body_mut();
                while poll_fn(|cx| body.poll_next(cx)).await.is_some() {}
                Err(Rejection::new(Reason::Internal, "no"))
            })
        }
    }
    let (access, record) = said(Some(Arc::new(Turning)), &Answer::Grpc("0"), true).await;
    assert_eq!((&access["code"], &access["reason"]), (&"INTERNAL".into(), &"INTERNAL".into()));
    assert_eq!(
        (&record["code"], &record["reason"], &record["bytes_sent"]),
        (&"OK".into(), &Value::Null, &5.into())
    );
}

#[tokio::test]
async fn without_room_a_blocked_call_waits_and_is_refused_and_nothing_is_done_for_it() {
    let scene = Scene::new();
    let audit: Arc<dyn Filter> = Arc::new(scene.build(", \"queue\": 16, \"timeout\": \"20ms\"").unwrap());
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(call(&audit, &Answer::Endless, false).await.unwrap().unwrap());
    }
    struct Untouched;
    impl Terminal for Untouched {
        fn call<'a>(&'a self, _: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
            panic!("it was passed on");
        }
    }
    let cx = RequestContext::new(RequestStart::new(Protocol::Grpc, "demo"));
    let mut request = Request::new(Body::empty());
    let filters = [Arc::clone(&audit)];
    let refusal = run(&filters, &Untouched, &cx, &mut request).await.unwrap_err();
    assert_eq!((refusal.reason(), refusal.filter()), (Reason::AuditUnavailable, "audit"));
    assert!(!refusal.message().contains("queue") && refusal.detail().unwrap().contains("queue"));
    // One that ends makes room, also for one that waits.
    let waiting = call(&audit, &Answer::Grpc("0"), true);
    held.pop();
    assert!(waiting.await.unwrap().is_ok());
    drop(held);
    drop((audit, filters));
    assert_eq!(scene.calls().len(), 17);
    let lost: Vec<Value> = scene.records().into_iter().filter(|record| record["kind"] == "dropped").collect();
    let total = |key: &str| lost.iter().map(|record| record[key].as_u64().unwrap()).sum::<u64>();
    // The streams' first records found no room either: their ends are there.
    assert_eq!(total("refused"), 1, "{lost:?}");
    assert_eq!(total("records") + opens(&scene), 16, "{lost:?}");
}

fn opens(scene: &Scene) -> u64 {
    scene.records().iter().filter(|record| record["kind"] == "open").count() as u64
}

#[tokio::test]
async fn without_room_a_call_that_does_not_wait_is_served_and_counted() {
    let scene = Scene::new();
    let settings = ", \"queue\": 16, \"on_backpressure\": \"drop_and_count\"";
    let audit = scene.build(settings).unwrap();
    let log = Arc::clone(audit.log());
    let audit: Arc<dyn Filter> = Arc::new(audit);
    let held: Vec<_> = std::iter::from_fn(|| log.try_reserve()).collect();
    assert_eq!(held.len(), 16);
    for _ in 0..3 {
        assert!(call(&audit, &Answer::Grpc("0"), true).await.unwrap().is_ok());
    }
    drop(held);
    assert!(call(&audit, &Answer::Grpc("0"), true).await.unwrap().is_ok());
    drop((audit, log));
    assert_eq!(scene.calls().len(), 1);
    let lost: u64 = scene.records().iter().filter_map(|record| record["records"].as_u64()).sum();
    assert_eq!(lost, 3);
    let text = scene.metrics.render(&[]).unwrap();
    for line in [
        "prism_audit_dropped_total{log=\"audit\"} 3",
        "prism_audit_records_total{log=\"audit\"} 1",
        "prism_audit_failing{log=\"audit\"} 0",
    ] {
        assert!(text.contains(line), "{line} is missing from\n{text}");
    }
}

#[tokio::test]
async fn one_folder_is_one_log_and_other_settings_for_it_are_refused() {
    let scene = Scene::new();
    let one = scene.build("").unwrap();
    let two = scene.build(", \"on_backpressure\": \"drop_and_count\", \"timeout\": \"5s\"").unwrap();
    assert!(Arc::ptr_eq(one.log(), two.log()));
    let Err(error) = scene.build(", \"sync\": \"each\"") else { panic!("taken") };
    assert!(error.to_string().contains("open with other settings"), "{error}");
    assert_eq!(
        std::fs::metadata(scene.folder.path().join("audit")).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_with_what_to_do() {
    let scene = Scene::new();
    std::fs::set_permissions(scene.folder.path().join("audit.key"), std::fs::Permissions::from_mode(0o644))
        .unwrap();
    let Err(error) = scene.build("") else { panic!("taken") };
    assert!(error.to_string().contains("chmod 600"), "{error}");
    let bad = |text: &str| Audit::check(&serde_json::from_str(text).unwrap()).len();
    assert_eq!(bad(r#"{"dir": "", "key": ""}"#), 2);
    assert_eq!(bad(r#"{"dir": "a", "key": "b"}"#), 0);
    assert!(serde_json::from_str::<Settings>(r#"{"dir": "a"}"#).is_err());
    assert!(Path::new("audit").metadata().is_err());
}

#[tokio::test]
async fn a_change_is_a_record_without_too_much_of_it() {
    let scene = Scene::new();
    let audit = scene.build("").unwrap();
    let change = Change {
        who: "uid:0",
        action: "config.apply",
        outcome: ChangeOutcome::Refused,
        config_version: 7,
        config: Some(Hash::of(b"text")),
        details: (0..100).map(|number| format!("{number}{}", "x".repeat(1000))).collect(),
    };
    change.put(audit.log(), scene.platform.wall_clock()).await;
    drop(audit);
    let records = scene.records();
    let record = records.iter().find(|record| record["kind"] == "admin").unwrap();
    assert_eq!(
        (&record["who"], &record["action"], &record["outcome"]),
        (&"uid:0".into(), &"config.apply".into(), &"refused".into())
    );
    assert_eq!(record["config_sha256"], Hash::of(b"text").to_string());
    let details = record["details"].as_array().unwrap();
    assert_eq!((details.len(), details.last().unwrap()), (65, &"and 36 more".into()));
    assert!(details.iter().all(|detail| detail.as_str().unwrap().len() <= 256));
}
