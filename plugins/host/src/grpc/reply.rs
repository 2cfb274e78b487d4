//! A plugin's answer on its way to the client.

use crate::{
    channel::{ForwardError, ReplyBody, WireReply},
    status::GRPC_STATUS,
    upstream::{Admitted, GATHER, Receive, Reply, Upload},
};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use prism_plugin_abi::Payload;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

/// What happened to a call that h2 reports as broken.
pub(crate) fn broken(error: &h2::Error) -> ForwardError {
    match error.reason() {
        Some(reason) if error.is_library() => {
            ForwardError::Protocol(format!("it sent what HTTP/2 does not allow ({reason:?})"))
        }
        Some(reason) if error.is_go_away() => {
            ForwardError::Unavailable(format!("it closed the connection ({reason:?})"))
        }
        Some(reason) => ForwardError::Unavailable(format!("it reset the call ({reason:?})")),
        None => ForwardError::Unavailable(format!("the connection broke: {error}")),
    }
}

/// The plugin says that it has not begun with the call (RFC 9113 section 8.7).
pub(crate) fn not_begun(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Makes a reply of response headers and what follows them.
pub(crate) fn reply(
    response: Response<RecvStream>,
    upload: Option<Upload<SendStream<Bytes>>>,
    admitted: Admitted,
    taken: &Arc<AtomicU64>,
    cx: &mut Context<'_>,
) -> Result<WireReply, ForwardError> {
    let (mut head, receive) = response.into_parts();
    check(head.status, &head.headers)?;
    strip(&mut head.headers);
    if receive.is_end_stream() {
        // Trailers-only: the headers are the trailers. Dropping the upload tells the plugin to want no more.
        let body = ReplyBody::Whole { messages: Payload::new(), trailers: None };
        return match head.headers.contains_key(GRPC_STATUS) {
            true => Ok(WireReply { headers: Some(Box::new(head.headers)), body }),
            false => Err(no_status()),
        };
    }
    let taken = Arc::clone(taken);
    let mut reply = GrpcReply { receive, gathered: Payload::new(), unreleased: 0, taken };
    let body = match reply.gather(cx)? {
        Some(trailers) if is_plain_ok(&trailers) => ReplyBody::Succeeded(reply.gathered),
        Some(trailers) => ReplyBody::Whole { messages: reply.gathered, trailers: Some(Box::new(trailers)) },
        None => ReplyBody::Stream(Box::new(Reply::new(reply, upload, admitted))),
    };
    let headers = (!is_usual(&head.headers)).then(|| Box::new(head.headers));
    Ok(WireReply { headers, body })
}

/// `grpc-status: 0` and no more.
fn is_plain_ok(trailers: &HeaderMap) -> bool {
    trailers.len() == 1 && trailers.get(GRPC_STATUS).is_some_and(|status| status == "0")
}

/// The content type that every answer has, and no more.
fn is_usual(headers: &HeaderMap) -> bool {
    headers.len() == 1 && headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/grpc")
}

pub(crate) fn check(status: StatusCode, headers: &HeaderMap) -> Result<(), ForwardError> {
    if status != StatusCode::OK {
        return Err(ForwardError::Protocol(format!("it answered HTTP status {status}")));
    }
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    // gRPC over HTTP/2, "Content-Type": application/grpc [("+proto" / "+json" / {custom})]
    let suffix = content_type.strip_prefix(b"application/grpc");
    if !matches!(suffix, Some([] | [b'+' | b';', ..])) {
        let content_type = String::from_utf8_lossy(&content_type[..content_type.len().min(100)]);
        return Err(ForwardError::Protocol(format!("it answered content type `{content_type}`")));
    }
    match headers.get("grpc-encoding") {
        Some(encoding) if encoding != "identity" => Err(ForwardError::Protocol(
            "it answered with a compressed message, which was not negotiated".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Takes out what belongs to the hop or is the proxy's to say. Connection-specific headers h2 refuses itself
/// (RFC 9113 section 8.2.2); `te` it lets through.
fn strip(headers: &mut HeaderMap) {
    let ours = |name: &HeaderName| name == "te" || name.as_str().starts_with("x-prism-");
    while let Some(name) = headers.keys().find(|name| ours(name)).cloned() {
        headers.remove(name);
    }
}

fn no_status() -> ForwardError {
    ForwardError::Protocol("its answer ended without a grpc-status".to_owned())
}

struct GrpcReply {
    receive: RecvStream,
    /// What came together with the headers.
    gathered: Payload,
    /// Bytes handed out for which the plugin has not got new window yet.
    unreleased: usize,
    /// What readers have taken of all answers of the connection.
    taken: Arc<AtomicU64>,
}

impl GrpcReply {
    /// Takes what is here; all of it, when the trailers are here too.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Option<HeaderMap>, ForwardError> {
        while self.gathered.len() < GATHER {
            match self.receive.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => self.gathered.push(piece),
                Poll::Ready(Some(Err(error))) => return Err(broken(&error)),
                Poll::Ready(None) => match self.receive.poll_trailers(cx) {
                    Poll::Ready(Ok(trailers)) => return checked(trailers).map(Some),
                    Poll::Ready(Err(error)) => return Err(broken(&error)),
                    Poll::Pending => break,
                },
                Poll::Pending => break,
            }
        }
        Ok(None)
    }
}

impl Receive for GrpcReply {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<Bytes>, ForwardError>> {
        if let Some(piece) = self.gathered.pop() {
            self.unreleased += piece.len();
            return Poll::Ready(Ok(Frame::data(piece)));
        }
        // The consumer is back, so what it got has left the proxy.
        let consumed = std::mem::take(&mut self.unreleased);
        if consumed > 0 {
            if self.receive.flow_control().release_capacity(consumed).is_err() {
                return Poll::Ready(Err(ForwardError::Protocol(
                    "its flow control does not add up".to_owned(),
                )));
            }
            self.taken.fetch_add(consumed as u64, Ordering::Relaxed);
        }
        loop {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.unreleased = piece.len();
                    return Poll::Ready(Ok(Frame::data(piece)));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => {
                    let trailers = ready!(self.receive.poll_trailers(cx)).map_err(|error| broken(&error))?;
                    return Poll::Ready(checked(trailers).map(Frame::trailers));
                }
            }
        }
    }
}

fn checked(trailers: Option<HeaderMap>) -> Result<HeaderMap, ForwardError> {
    let mut trailers =
        trailers.filter(|trailers| trailers.contains_key(GRPC_STATUS)).ok_or_else(no_status)?;
    strip(&mut trailers);
    Ok(trailers)
}
