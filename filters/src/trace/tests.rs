//! The filter from outside: what it logs and counts of every way a call can end.

use super::*;
use crate::{Protocol, Reason, Rejection, RequestStart, Terminal, run};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use prism_platform::SystemNet;
use serde_json::Value;
use std::{future::poll_fn, path::Path};

struct Scene {
    folder: tempfile::TempDir,
    platform: Platform,
    metrics: Arc<Metrics>,
    changes: crate::Changes,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            platform: Platform::simulated(Arc::new(SystemNet), 7),
            metrics: Arc::new(Metrics::new().unwrap()),
            changes: crate::Changes::default(),
        }
    }

    fn build(&self, settings: Value, previous: Option<&Trace>) -> Trace {
        let settings = serde_json::from_value(settings).unwrap();
        Trace::build(settings, &self.cx(), previous).unwrap()
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

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn to_file() -> Value {
    serde_json::json!({ "access_log": { "path": "access.log" } })
}

enum Answer {
    Grpc(&'static str),
    Refused(Reason),
    Never,
}

impl Terminal for Answer {
    fn call<'a>(&'a self, cx: &'a RequestContext, _: &'a mut Request<Body>) -> FilterFuture<'a> {
        cx.set_operation("get".into());
        Box::pin(async move {
            match self {
                Self::Grpc(status) => {
                    let trailers = HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        HeaderValue::from_static(status),
                    )]);
                    Ok(Response::new(Body::whole(
                        Bytes::from_static(b"12345").into(),
                        Some(Box::new(trailers)),
                    )))
                }
                Self::Refused(reason) => Err(Rejection::new(*reason, "no")),
                Self::Never => std::future::pending().await,
            }
        })
    }
}

fn context() -> RequestContext {
    RequestContext::new(RequestStart {
        peer: Some("192.0.2.1:5".parse().unwrap()),
        config_version: 3,
        ..RequestStart::new(Protocol::Grpc, "demo")
    })
}

fn request() -> Request<Body> {
    Request::post("/prism.data.v1.DataService/Execute").body(Body::empty()).unwrap()
}

async fn call(trace: Trace, answer: &Answer, read: bool) {
    let filters: [Arc<dyn Filter>; 1] = [Arc::new(trace)];
    let cx = context();
    let mut request = request();
    let called = run(&filters, answer, &cx, &mut request);
    // A call that never ends is dropped here, as it is when its client goes away.
    let result = tokio::time::timeout(std::time::Duration::from_millis(10), called).await;
    if let Ok(Ok(response)) = result
        && read
    {
        let mut body = response.into_body();
        while poll_fn(|cx| body.poll_next(cx)).await.is_some() {}
    }
}

#[tokio::test(start_paused = true)]
async fn every_way_to_end_is_one_line_and_one_count() {
    for (answer, read, code, reason, bytes) in [
        (Answer::Grpc("0"), true, "OK", Value::Null, 5),
        (Answer::Grpc("5"), true, "NOT_FOUND", Value::Null, 5),
        (Answer::Grpc("0"), false, "CANCELLED", Value::Null, 0),
        (Answer::Refused(Reason::UnknownOperation), false, "UNIMPLEMENTED", "UNKNOWN_OPERATION".into(), 0),
        (Answer::Never, false, "CANCELLED", Value::Null, 0),
    ] {
        let scene = Scene::new();
        call(scene.build(to_file(), None), &answer, read).await;
        let lines = scene.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert_eq!(
            (&line["code"], &line["reason"], &line["bytes_sent"]),
            (&code.into(), &reason, &bytes.into())
        );
        assert_eq!(line["namespace"], "demo");
        assert_eq!(line["config_version"], 3);
        assert_eq!(line["peer"], "192.0.2.1:5");
        assert_eq!(line["request_id"].as_str().unwrap().len(), 16);
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
        let text = scene.metrics.render(&[]).unwrap();
        let counted = format!(r#"prism_requests_total{{code="{code}",namespace="(none)"}} 1"#);
        assert!(text.contains(&counted), "{counted} is missing from\n{text}");
        assert!(text.contains(r#"prism_requests_in_flight{namespace="(none)"} 0"#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_elsewhere_keeps_the_log_open_and_off_is_off() {
    let scene = Scene::new();
    let first = scene.build(to_file(), None);
    let settings = serde_json::json!({ "request_id": "accept", "access_log": { "path": "access.log" } });
    let second = scene.build(settings, Some(&first));
    assert!(Arc::ptr_eq(first.tools.log.as_ref().unwrap(), second.tools.log.as_ref().unwrap()));
    assert!(
        scene.build(serde_json::json!({ "access_log": { "path": "off" } }), Some(&first)).tools.log.is_none()
    );
}

#[test]
fn a_log_that_cannot_be_opened_says_so() {
    let scene = Scene::new();
    let settings =
        serde_json::from_value(serde_json::json!({ "access_log": { "path": "no/such/folder" } })).unwrap();
    let error = Trace::build(settings, &scene.cx(), None).err().unwrap();
    assert!(error.to_string().contains("access_log.path"), "{error}");
    assert!(!Path::new("no").exists());
}

#[test]
fn a_full_log_drops_and_counts() {
    let scene = Scene::new();
    let settings: Settings = serde_json::from_value(
        serde_json::json!({ "access_log": { "path": "access.log", "buffer_bytes": 4096 } }),
    )
    .unwrap();
    let log = AccessLog::open(&settings.access_log, &scene.cx()).unwrap().unwrap();
    // One line far beyond the buffer is taken whole; while it waits its shard takes no other.
    for _ in 0..10_000 {
        log.append(|buffer| buffer.extend_from_slice(&[b'x'; 600]));
    }
    drop(log);
    let written = std::fs::metadata(scene.folder.path().join("access.log")).unwrap().len() / 600;
    assert_eq!(written + scene.metrics.access_log_dropped.get(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn text_lines_hold_what_json_lines_hold() {
    let scene = Scene::new();
    let settings = serde_json::json!({ "access_log": { "path": "access.log", "format": "text" } });
    call(scene.build(settings, None), &Answer::Grpc("0"), true).await;
    let text = std::fs::read_to_string(scene.folder.path().join("access.log")).unwrap();
    for part in ["namespace=\"demo\"", "code=OK", "bytes=5", "operation=\"get\"", "edge 192.0.2.1:5 POST"] {
        assert!(text.contains(part), "{part} is missing from {text}");
    }
}
