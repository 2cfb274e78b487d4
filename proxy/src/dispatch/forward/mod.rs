//! Forward routes: a request goes to another service as it came, and its answer back.
//!
//! What belongs to one hop stays on it, what only the proxy may say is said by the proxy, and a path has one way to be
//! written: the way that the route was chosen by.

mod answer;
mod head;
mod path;

use super::{broke_off, call::wire};
use crate::{edge::Limits, head::is_grpc, snapshot::Forward};
use http::{Method, Request, Response};
use prism_filters::{Body, Protocol, Reason, Rejection, RequestContext};
use prism_plugin_host::{ForwardError, WireBody, WorkerLocal};

/// What a request passes through on its way to a service.
pub(super) struct Passage<'a> {
    pub(super) worker: &'a WorkerLocal,
    pub(super) route: &'a Forward,
    pub(super) limits: &'a Limits,
    /// The client's connection is encrypted.
    pub(super) secured: bool,
}

/// Forwards a request and answers with what comes back. Dropping the future, or the answer, cancels it at the service.
///
/// # Errors
/// The request may not be forwarded, or no service answers it.
pub(super) async fn pass(
    cx: &RequestContext,
    to: &Passage<'_>,
    request: &mut Request<Body>,
) -> Result<Response<Body>, Rejection> {
    if let Some(plugin) = to.route.plugin() {
        cx.set_plugin(plugin.clone());
    }
    // RFC 9110 section 9.3.8: "A client MUST NOT generate fields in a TRACE request containing sensitive data", which
    // those that the proxy adds may be; and a CONNECT is no request for a service (section 9.3.6).
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        let message = "CONNECT and TRACE are not forwarded";
        return Err(Rejection::new(Reason::MethodNotAllowed, message));
    }
    // Its outcome would be in trailers, which clients of HTTP/1.1 do not get here: a failure would look like success.
    if cx.protocol() == Protocol::Http && is_grpc(request.headers()) {
        let message = "gRPC is spoken over HTTP/2, and by web pages as gRPC-Web";
        return Err(Rejection::new(Reason::UnsupportedMediaType, message));
    }
    let body = body(cx, std::mem::take(request.body_mut()), to.limits);
    let outgoing = head::Head::new(cx, to, request)?;
    let reply = to.route.cluster().send(to.worker, &outgoing, body).await.map_err(refusal)?;
    Ok(answer::answer(reply))
}

/// The request's body, which may not stand still where something of it has to come.
fn body(cx: &RequestContext, body: Body, limits: &Limits) -> WireBody {
    if body.is_end() {
        return WireBody::Whole(prism_plugin_abi::Payload::new());
    }
    let body = match cx.protocol() {
        // Silence between two messages is none.
        Protocol::Grpc => body.unless_a_message_stalls(limits.stall_timeout),
        Protocol::Http => body.unless_stalled(limits.stall_timeout),
    };
    // The service has begun with it when it has the head.
    wire(body, || None)
}

/// Why a request could not be forwarded. The service's address, and what is wrong with it, are the operator's to know and
/// in the log.
fn refusal(error: ForwardError) -> Rejection {
    match error {
        ForwardError::Source(error) => broke_off(error),
        ForwardError::Refused(error) => {
            let reason = match error.code {
                prism_plugin_abi::Code::DeadlineExceeded => Reason::DeadlineExceeded,
                prism_plugin_abi::Code::Unimplemented => Reason::WrongMethod,
                _ => Reason::MalformedHeaders,
            };
            Rejection::new(reason, error.message)
        }
        ForwardError::Overloaded(why) => Rejection::new(
            Reason::UpstreamOverloaded,
            "too many requests wait for the service behind this route",
        )
        .with_detail(why)
        .with_retry(super::outcome::RETRY),
        ForwardError::Protocol(why) => {
            tracing::debug!(why, "a service broke the protocol");
            Rejection::new(
                Reason::UpstreamProtocol,
                "the service behind this route answered what is no valid HTTP",
            )
            .with_detail(why)
        }
        error => {
            tracing::debug!(%error, "a request could not be forwarded");
            Rejection::new(
                Reason::UpstreamUnavailable,
                "the service behind this route cannot be reached, or broke off",
            )
            .with_detail(match error {
                ForwardError::Unavailable(why) => why,
                other => other.to_string(),
            })
        }
    }
}
