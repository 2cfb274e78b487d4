//! What becomes of a call, from the request's head to the last byte of its answer: what the access log, the metrics and the
//! audit log are told of, once each, however it ends.

mod line;
mod watch;

pub(crate) use line::{Json, Line};
pub(crate) use watch::{Shared, Watch};

use crate::{
    Body, Code, Protocol, Reason, Rejection, RequestContext, audit,
    body::{BodyError, End, GRPC_STATUS, Observer},
    clock::Moment,
    reject::code_name,
    text::cut,
    trace,
};
use bytestring::ByteString;
use http::{HeaderMap, Method, Request, Response, StatusCode, uri::PathAndQuery};
use prism_platform::{Platform, time::Instant};
use std::{net::SocketAddr, time::Duration};

/// The longest path that is logged; a longer one is cut.
const PATH_BYTES: usize = 512;

/// The longest detail of a refusal that is logged.
const DETAIL_BYTES: usize = 512;

/// The longest name that is logged. Names that exist are shorter; a stranger may ask for any.
const NAME_BYTES: usize = 256;

/// What is known of a call so far.
pub(crate) struct Call {
    started: Instant,
    protocol: Protocol,
    peer: Option<SocketAddr>,
    config_version: u64,
    method: Method,
    /// Not the whole URI, whose authority would be one more shared buffer to hold.
    path: Option<PathAndQuery>,
    request_id: ByteString,
    namespace: ByteString,
    operation: Option<ByteString>,
    plugin: Option<ByteString>,
    principal: Option<ByteString>,
    /// What a filter that lets it pass tells the operator.
    note: Option<ByteString>,
    status: Option<StatusCode>,
    /// From the headers of an answer that has no more than those.
    grpc_status: Option<Code>,
    sent_bytes: u64,
    /// A moment in it at which both clocks were read, if they were.
    moment: Option<Moment>,
}

/// How a call ended.
pub(crate) struct Outcome<'a> {
    pub(crate) code: Code,
    /// Of a refusal: why.
    pub(crate) reason: Option<Reason>,
    /// Of a refusal: what only the operator is told.
    detail: Option<&'a str>,
    pub(crate) elapsed: Duration,
}

/// A call that is watched. Dropped unfinished, it was cancelled.
pub(crate) struct Watched {
    call: Call,
    reports: Reports,
    finished: bool,
}

/// Who wants to know how it ended. One of them at least.
#[derive(Default)]
pub(crate) struct Reports {
    pub(crate) trace: Option<trace::Record>,
    pub(crate) audit: Option<audit::Record>,
}

impl Call {
    fn begin(cx: &RequestContext, request: &Request<Body>) -> Self {
        Self {
            started: cx.started(),
            protocol: cx.protocol(),
            peer: cx.peer(),
            config_version: cx.config_version(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            request_id: cx.request_id().clone(),
            namespace: cx.namespace().clone(),
            operation: None,
            plugin: None,
            principal: None,
            note: None,
            status: None,
            grpc_status: None,
            sent_bytes: 0,
            moment: None,
        }
    }

    /// The bytes of its answer so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// What a log says of it: never a payload, a header or a query.
    pub(crate) fn line<'a>(
        &'a self,
        listener: &'a str,
        platform: &Platform,
        outcome: &'a Outcome<'_>,
    ) -> Line<'a> {
        let now = self.started + outcome.elapsed;
        let time = self.moment.map_or_else(|| platform.wall_clock(), |moment| moment.wall_at(now, platform));
        let name = |name: &'a Option<ByteString>| name.as_deref().map(|name| cut(name, NAME_BYTES));
        Line {
            time,
            request_id: &self.request_id,
            listener,
            peer: self.peer,
            protocol: if self.protocol == Protocol::Grpc { "grpc" } else { "http" },
            method: cut(self.method.as_str(), NAME_BYTES),
            path: cut(self.path.as_ref().map_or("", PathAndQuery::path), PATH_BYTES),
            namespace: cut(&self.namespace, NAME_BYTES),
            operation: name(&self.operation),
            plugin: name(&self.plugin),
            principal: self.principal.as_deref(),
            code: Some(code_name(outcome.code)),
            http_status: self
                .status
                .map(|status| status.as_u16())
                .filter(|_| self.protocol == Protocol::Http),
            reason: outcome.reason.map(Reason::name),
            detail: outcome.detail.or(self.note.as_deref()).map(|detail| cut(detail, DETAIL_BYTES)),
            bytes_sent: self.sent_bytes,
            duration_us: u64::try_from(outcome.elapsed.as_micros()).unwrap_or(u64::MAX),
            config_version: self.config_version,
        }
    }
}

impl Watched {
    /// Begins to watch the call that is here.
    pub(crate) fn begin(cx: &RequestContext, request: &Request<Body>, reports: Reports) -> Box<Self> {
        Box::new(Self { call: Call::begin(cx, request), reports, finished: false })
    }

    /// One more wants to know, who sees of the call what is seen here.
    pub(crate) fn join(&mut self, record: audit::Record) {
        self.reports.audit = Some(record);
    }

    /// What came of the call: watches its answer from here on, if there is one.
    pub(crate) fn outcome(
        mut self: Box<Self>,
        cx: &RequestContext,
        outcome: Result<Response<Body>, Rejection>,
    ) -> Result<Response<Body>, Rejection> {
        match outcome {
            Ok(mut response) => {
                self.answered(cx, &response);
                let body = std::mem::take(response.body_mut());
                *response.body_mut() = body.observed(self);
                Ok(response)
            }
            Err(rejection) => {
                self.rejected(cx, &rejection);
                Err(rejection)
            }
        }
    }

    fn learn(&mut self, cx: &RequestContext) {
        self.call.operation = cx.known_operation().cloned();
        self.call.plugin = cx.plugin().cloned();
        self.call.principal = cx.principal().cloned();
        self.call.note = cx.note().cloned();
        self.call.moment = cx.clock().last();
    }

    /// The head of the answer is known.
    fn answered(&mut self, cx: &RequestContext, response: &Response<Body>) {
        self.learn(cx);
        self.call.status = Some(response.status());
        if response.body().is_end() {
            // Trailers-only: the headers are the trailers.
            self.call.grpc_status = grpc_status(response.headers());
        } else if let Some(audit) = &self.reports.audit
            && response.body().exact_len().is_none()
        {
            // It is under way: an outcome that is none yet.
            let elapsed = self.call.started.elapsed();
            audit.opened(&self.call, &Outcome { code: Code::Ok, reason: None, detail: None, elapsed });
        }
    }

    /// It was refused.
    fn rejected(&mut self, cx: &RequestContext, rejection: &Rejection) {
        self.learn(cx);
        self.call.status = Some(rejection.http_status());
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
        let elapsed = self.call.started.elapsed();
        self.reports.over(&self.call, &Outcome { code, reason, detail, elapsed });
    }
}

impl Reports {
    /// It is over. Called exactly once.
    fn over(&mut self, call: &Call, outcome: &Outcome<'_>) {
        let trace = self.trace.as_mut();
        match &mut self.audit {
            // What both say is put together once, and copied.
            Some(audit) => audit.over(call, outcome, |json| {
                if let Some(trace) = trace {
                    trace.over(call, outcome, Some(json));
                }
            }),
            None => {
                if let Some(trace) = trace {
                    trace.over(call, outcome, None);
                }
            }
        }
    }
}

impl Observer for Watched {
    fn on_data(&mut self, bytes: usize) {
        self.call.sent_bytes += bytes as u64;
    }

    fn on_end(&mut self, end: End<'_>) {
        match end {
            End::Complete { trailers } => {
                let code = match self.call.protocol {
                    Protocol::Grpc => {
                        trailers.and_then(grpc_status).or(self.call.grpc_status).unwrap_or(Code::Unknown)
                    }
                    Protocol::Http => http_code(self.call.status),
                };
                self.finish(code);
            }
            End::Failed(BodyError::Rejected(rejection) | BodyError::Told(rejection)) => {
                self.refuse(rejection);
            }
            End::Failed(_) => self.finish(Code::Unavailable),
            End::Dropped => self.finish(Code::Cancelled),
        }
    }
}

impl Drop for Watched {
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
