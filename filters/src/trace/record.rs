//! One line of the access log and one call's metrics, from the request's head to its last byte.

use super::{AccessLog, Format};
use crate::{
    Body, Code, Protocol, Reason, Rejection, RequestContext,
    body::{BodyError, End, Observer},
    metrics::{CallMetrics, Metrics},
    reject::code_name,
};
use bytestring::ByteString;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use prism_platform::{Platform, time::Instant};
use serde::Serialize;
use std::{io::Write, net::SocketAddr, sync::Arc};

/// The longest path that is logged; a longer one is cut.
const PATH_BYTES: usize = 512;

/// What is known of a call so far. Dropped unfinished, it logs a cancelled call.
pub(super) struct Record {
    log: Option<Arc<AccessLog>>,
    metrics: Arc<Metrics>,
    calls: Arc<CallMetrics>,
    platform: Platform,
    started: Instant,
    protocol: Protocol,
    peer: Option<SocketAddr>,
    listener: Arc<str>,
    config_version: u64,
    method: Method,
    uri: Uri,
    request_id: ByteString,
    traceparent: ByteString,
    namespace: ByteString,
    operation: Option<ByteString>,
    plugin: Option<ByteString>,
    principal: Option<ByteString>,
    status: Option<StatusCode>,
    /// From the response headers, until trailers say more.
    grpc_status: Option<Code>,
    sent_bytes: u64,
    finished: bool,
}

impl Record {
    pub(super) fn begin(
        cx: &RequestContext,
        request: &Request<Body>,
        metrics: &Arc<Metrics>,
        log: Option<&Arc<AccessLog>>,
        platform: &Platform,
    ) -> Self {
        let calls = Arc::clone(cx.metrics().unwrap_or_else(|| metrics.no_namespace()));
        calls.begin();
        let (request_id, traceparent) = cx.ids();
        Self {
            log: log.cloned(),
            metrics: Arc::clone(metrics),
            calls,
            platform: platform.clone(),
            started: cx.started(),
            protocol: cx.protocol(),
            peer: cx.peer(),
            listener: Arc::clone(cx.listener()),
            config_version: cx.config_version(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            request_id,
            traceparent,
            namespace: cx.namespace().clone(),
            operation: None,
            plugin: None,
            principal: None,
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
    }

    /// The head of the answer is known.
    pub(super) fn answered(&mut self, cx: &RequestContext, response: &Response<Body>) {
        self.learn(cx);
        self.status = Some(response.status());
        self.grpc_status = grpc_status(response.headers());
    }

    /// It was refused.
    pub(super) fn rejected(&mut self, cx: &RequestContext, rejection: &Rejection) {
        self.learn(cx);
        self.status = Some(rejection.http_status());
        self.finish(rejection.code(), Some(rejection.reason()));
    }

    fn finish(&mut self, code: Code, reason: Option<Reason>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(reason) = reason {
            self.metrics.rejected(reason);
        }
        let elapsed = self.started.elapsed();
        self.calls.end(code, elapsed.as_secs_f64(), self.sent_bytes);
        let Some(log) = self.log.take() else { return };
        let path = self.uri.path();
        let line = Line {
            time: humantime::format_rfc3339_millis(self.platform.wall_clock()).to_string(),
            request_id: &self.request_id,
            trace_id: self.traceparent.get(3..35).unwrap_or_default(),
            listener: &self.listener,
            peer: self.peer,
            protocol: if self.protocol == Protocol::Grpc { "grpc" } else { "http" },
            method: self.method.as_str(),
            path: path.get(..path.len().min(PATH_BYTES)).unwrap_or_default(),
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
                self.finish(code, None);
            }
            End::Failed(BodyError::Rejected(rejection)) => {
                self.finish(rejection.code(), Some(rejection.reason()));
            }
            End::Failed(_) => self.finish(Code::Unavailable, None),
            End::Dropped => self.finish(Code::Cancelled, None),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // The call's future was dropped before it had an answer: the client went away.
        self.finish(Code::Cancelled, None);
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
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

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    trace_id: &'a str,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    protocol: &'a str,
    method: &'a str,
    path: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    bytes_sent: u64,
    duration_us: u64,
    config_version: u64,
}

impl Line<'_> {
    fn write(&self, format: Format, buffer: &mut Vec<u8>) {
        // Neither can fail: the fields are strings and numbers, and a Vec takes every byte.
        let _ = match format {
            Format::Json => serde_json::to_writer(&mut *buffer, self).map_err(std::io::Error::other),
            Format::Text => self.write_text(buffer),
        };
        buffer.push(b'\n');
    }

    fn write_text(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
        write!(
            out,
            "{} {} {} {} {:?} namespace={:?} operation={:?} code={} reason={} bytes={} us={} id={}",
            self.time,
            self.listener,
            self.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
            self.method,
            self.path,
            dash(Some(self.namespace)),
            dash(self.operation),
            self.code,
            dash(self.reason),
            self.bytes_sent,
            self.duration_us,
            self.request_id,
        )
    }
}
