//! Filters without a proxy around them: what one call costs in them, and nothing else.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use prism_config::{AccessRule, Permission};
use prism_filters::{
    Body, BuildContext, Caller, Credential, Filter, FilterFuture, Method, Protocol, Registry, RequestContext,
    RequestStart, Terminal,
    authz::{Guarded, Policy},
    body::MessageLimits,
    metrics::Metrics,
    registry, run,
};
use prism_platform::Platform;
use prism_plugin_abi::Kind;
use serde_json::{Value, json};
use std::{future::poll_fn, sync::Arc, time::Duration};
use tempfile::TempDir;

/// Room in an access log for every line of a run: a line that is dropped costs nothing, and would make the others
/// look cheap.
pub const LOG_BUFFER: &str = "256MiB";

/// What filters are built in.
pub struct Scene {
    platform: Platform,
    metrics: Arc<Metrics>,
    registry: Registry,
    folder: TempDir,
    guarded: Arc<dyn Guarded>,
}

/// A namespace in which the bench's caller may read.
struct Readable(Policy);

impl Guarded for Readable {
    fn policy(&self) -> &Policy {
        &self.0
    }

    fn kind(&self, _: &str) -> Option<Kind> {
        Some(Kind::Read)
    }
}

thread_local! {
    /// Who makes every call.
    static CALLER: Caller =
        Caller::new(Arc::new(Credential::new(Method::ApiKey, "bench").expect("a principal")));
}

impl Scene {
    /// # Panics
    /// When there is no folder to be had.
    #[must_use]
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            metrics: Arc::new(Metrics::new().expect("metrics")),
            registry: registry::builtin(),
            folder: tempfile::tempdir().expect("a folder"),
            guarded: Arc::new(Readable(readable())),
        }
    }

    /// A filter by its name.
    ///
    /// # Panics
    /// When it cannot be built with these settings.
    #[must_use]
    pub fn filter(&self, name: &str, settings: &Value) -> Arc<dyn Filter> {
        let cx = BuildContext {
            platform: &self.platform,
            metrics: &self.metrics,
            base_dir: self.folder.path(),
            listener: "edge",
            changes: &prism_filters::Changes::default(),
        };
        match self.registry.build(name, settings, &cx, None) {
            Ok(filter) => filter,
            Err(error) => panic!("{error}: give `{name}` settings in bench/src/filters.rs"),
        }
    }

    /// `trace`, with its log written to `path`.
    #[must_use]
    pub fn trace(&self, path: &str) -> Arc<dyn Filter> {
        self.filter("trace", &json!({ "access_log": { "path": path, "buffer_bytes": LOG_BUFFER } }))
    }

    /// All that come with prism-edge, by name. A new one is part of it as soon as it is registered.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, Arc<dyn Filter>)> {
        let build = |name| match name {
            "trace" => self.trace("/dev/null"),
            // With its defaults.
            _ => self.filter(name, &Value::Null),
        };
        self.registry.schemas().map(|schema| (schema.name, build(schema.name))).collect()
    }

    /// What the edge knows of a small unary call.
    #[must_use]
    pub fn start(&self) -> RequestStart {
        RequestStart {
            messages: Some(MessageLimits {
                max_message_bytes: 4 << 20,
                unary: true,
                gzip: false,
                stall_timeout: Duration::from_secs(30),
            }),
            metrics: Some(self.metrics.namespace("bench")),
            guarded: Some(Arc::clone(&self.guarded)),
            ..RequestStart::new(Protocol::Grpc, "bench")
        }
    }
}

fn readable() -> Policy {
    let rule = AccessRule {
        principal: "key:bench".to_owned(),
        permissions: [Permission::Read].into(),
        ..AccessRule::default()
    };
    Policy::new(&[rule].into_iter().collect()).expect("a rule")
}

/// The end of the chain: an answer of two bytes and trailers.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Whether the request's messages are checked and its operation is read first, as `plugin_dispatch` does.
    pub checks: bool,
}

impl Terminal for Answer {
    fn call<'a>(&'a self, cx: &'a RequestContext, request: &'a mut Request<Body>) -> FilterFuture<'a> {
        Box::pin(async move {
            if self.checks {
                cx.operation(request).await?;
                drain(std::mem::take(request.body_mut())).await;
            }
            Ok(Response::new(Body::succeeded(Bytes::from_static(b"ok").into())))
        })
    }
}

/// One call through a chain, to the last byte of its answer.
///
/// # Panics
/// When a filter refuses it.
pub async fn call(filters: &[Arc<dyn Filter>], end: Answer, start: RequestStart, message: &Bytes) {
    let mut request = Request::post("/prism.data.v1.DataService/Execute")
        .header(HeaderName::from_static("content-type"), HeaderValue::from_static("application/grpc"))
        .header(HeaderName::from_static("te"), HeaderValue::from_static("trailers"))
        .body(Body::whole(message.clone().into(), None))
        .expect("a request");
    let cx = RequestContext::new(start);
    CALLER.with(|caller| cx.set_caller(caller.clone()));
    let response = match run(filters, &end, &cx, &mut request).await {
        Ok(response) => response,
        Err(rejection) => panic!("refused: {rejection}"),
    };
    drain(response.into_body()).await;
}

async fn drain(mut body: Body) {
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        frame.expect("a body that does not break");
    }
}
