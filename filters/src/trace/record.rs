//! One line of the access log and one call's metrics, from the request's head to its last byte.

use super::{Tools, line::Line};
use crate::{
    Body, Code, Protocol, Reason, Rejection, RequestContext,
    body::{BodyError, End, GRPC_STATUS, Observer},
    metrics::CallMetrics,
    reject::code_name,
    text::cut,
};
use bytestring::ByteString;
use http::{HeaderMap, Method, Request, Response, StatusCode, uri::PathAndQuery};
use prism_platform::time::Instant;
use std::{net::SocketAddr, sync::Arc};

/// The longest path that is logged; a longer one is cut.
const PATH_BYTES: usize = 512;

/// The longest detail of a refusal that is logged.
const DETAIL_BYTES: usize = 512;

/// What is known of a call so far. Dropped unfinished, it logs a cancelled call.
pub(super) struct Record {
    tools: Arc<Tools>,
    calls: Arc<CallMetrics>,
    started: Instant,
    protocol: Protocol,
    peer: Option<SocketAddr>,
    config_version: u64,
    method: Method,
    /// Not the whole URI, whose authority would be one more shared buffer to hold.
    path: Option<PathAndQuery>,
    request_id: ByteString,
    traceparent: ByteString,
    namespace: ByteString,
    operation: Option<ByteString>,
    plugin: Option<ByteString>,
    principal: Option<ByteString>,
    note: Option<ByteString>,
    status: Option<StatusCode>,
    /// From the headers of an answer that has no more than those.
    grpc_status: Option<Code>,
    sent_bytes: u64,
    finished: bool,
}

impl Record {
    pub(super) fn begin(cx: &RequestContext, request: &Request<Body>, tools: &Arc<Tools>) -> Self {
        let calls = Arc::clone(cx.metrics().unwrap_or_else(|| tools.metrics.no_namespace()));
        calls.begin();
        Self {
            tools: Arc::clone(tools),
            calls,
            started: cx.started(),
            protocol: cx.protocol(),
            peer: cx.peer(),
            config_version: cx.config_version(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            request_id: cx.request_id().clone(),
            traceparent: cx.traceparent().clone(),
            namespace: cx.namespace().clone(),
            operation: None,
            plugin: None,
            principal: None,
            note: None,
            status: None,
            grpc_status: None,
            sent_bytes: 0,
            finished: false,
        }
    }

    fn learn(&mut self, cx: &RequestContext) {
        self.operation = cx.known_operation().cloned();
        self.plugin = cx.plugin().cloned();
        self.principal = cx.principal().cloned();
        self.note = cx.note().cloned();
    }

    /// The head of the answer is known.
    pub(super) fn answered(&mut self, cx: &RequestContext, response: &Response<Body>) {
        self.learn(cx);
        self.status = Some(response.status());
        if response.body().is_end() {
            // Trailers-only: the headers are the trailers.
            self.grpc_status = grpc_status(response.headers());
        }
    }

    /// It was refused.
    pub(super) fn rejected(&mut self, cx: &RequestContext, rejection: &Rejection) {
        self.learn(cx);
        self.status = Some(rejection.http_status());
        self.refuse(rejection);
    }

    fn refuse(&mut self, rejection: &Rejection) {
        self.finish_as(rejection.code(), Some(rejection.reason()), rejection.detail());
    }

    fn finish(&mut self, code: Code) {
        self.finish_as(code, None, None);
    }

    fn finish_as(&mut self, code: Code, reason: Option<Reason>, detail: Option<&str>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(reason) = reason {
            self.tools.metrics.rejected(reason);
        }
        let elapsed = self.started.elapsed();
        self.calls.end(code, elapsed.as_secs_f64(), self.sent_bytes);
        let Some(log) = &self.tools.log else { return };
        let path = self.path.as_ref().map_or("", PathAndQuery::path);
        let line = Line {
            time: self.tools.platform.wall_clock(),
            request_id: &self.request_id,
            trace_id: self.traceparent.get(3..35).unwrap_or_default(),
            listener: &self.tools.listener,
            peer: self.peer,
            protocol: if self.protocol == Protocol::Grpc { "grpc" } else { "http" },
            method: self.method.as_str(),
            path: cut(path, PATH_BYTES),
            namespace: &self.namespace,
            operation: self.operation.as_deref(),
            plugin: self.plugin.as_deref(),
            principal: self.principal.as_deref(),
            code: code_name(code),
            http_status: self
                .status
                .map(|status| status.as_u16())
                .filter(|_| self.protocol == Protocol::Http),
            reason: reason.map(Reason::name),
            detail: detail.or(self.note.as_deref()).map(|detail| cut(detail, DETAIL_BYTES)),
            bytes_sent: self.sent_bytes,
            duration_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            config_version: self.config_version,
        };
        log.append(|buffer| line.write(log.format(), buffer));
    }
}

impl Observer for Record {
    fn on_data(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    fn on_end(&mut self, end: End<'_>) {
        match end {
            End::Complete { trailers } => {
                let code = match self.protocol {
                    Protocol::Grpc => {
                        trailers.and_then(grpc_status).or(self.grpc_status).unwrap_or(Code::Unknown)
                    }
                    Protocol::Http => http_code(self.status),
                };
                self.finish(code);
            }
            End::Failed(BodyError::Rejected(rejection)) => {
                self.refuse(rejection);
            }
            End::Failed(_) => self.finish(Code::Unavailable),
            End::Dropped => self.finish(Code::Cancelled),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // The call's future was dropped before it had an answer: the client went away.
        self.finish(Code::Cancelled);
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    headers.get(GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// The nearest gRPC code of an HTTP answer that was no refusal of ours.
fn http_code(status: Option<StatusCode>) -> Code {
    match status.map_or(500, |status| status.as_u16()) {
        100..=399 => Code::Ok,
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Unknown,
    }
}
