//! A plugin's answer on its way to the client.

use crate::{
    channel::{ForwardError, ReplyBody, WireReply},
    http2::{Answered, Readers, Received, Trailers},
    status::GRPC_STATUS,
    upstream::{Admitted, Reply},
};
use http::{HeaderMap, HeaderName, StatusCode, header::CONTENT_TYPE};
use prism_plugin_abi::Payload;
use std::{sync::Arc, task::Context};

/// Makes a reply of response headers and what follows them.
pub(crate) fn reply(
    answered: Answered,
    admitted: Admitted,
    readers: &Arc<Readers>,
    cx: &mut Context<'_>,
) -> Result<WireReply, ForwardError> {
    let Answered { response, upload } = answered;
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
    let mut received = Received::<WithStatus>::new(receive, readers);
    let body = match received.gather(cx)? {
        Some(Some(trailers)) if is_plain_ok(&trailers) => ReplyBody::Succeeded(received.into_gathered()),
        Some(trailers) => {
            ReplyBody::Whole { messages: received.into_gathered(), trailers: trailers.map(Box::new) }
        }
        None => ReplyBody::Stream(Box::new(Reply::new(received, upload, admitted))),
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

/// A gRPC call ends with its status.
struct WithStatus;

impl Trailers for WithStatus {
    fn checked(trailers: Option<HeaderMap>) -> Result<Option<HeaderMap>, ForwardError> {
        let mut trailers =
            trailers.filter(|trailers| trailers.contains_key(GRPC_STATUS)).ok_or_else(no_status)?;
        strip(&mut trailers);
        Ok(Some(trailers))
    }
}
