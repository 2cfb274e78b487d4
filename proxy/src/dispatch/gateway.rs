//! The HTTP gateway: `POST /v1/{namespace}/{operation}`, in JSON (see `json.rs`) or, with `application/octet-stream`,
//! raw: the body is the operation's raw parameters, each query parameter an entry of its metadata, and the answer's body its raw
//! result.

mod answer;

use super::{
    call::{Call, Upload},
    outcome::Subject,
    within::Terms,
};
use bytes::Bytes;
use bytestring::ByteString;
use http::{HeaderValue, Method, Request, Response, header};
use percent_encoding::percent_decode_str;
use prism_filters::{Body, Reason, Rejection, RequestContext, body::BodyError};
use prism_plugin_abi::Payload;
use prism_plugin_envelope::raw_request_head;
use prism_plugin_host::{BoxError, WireBody, WireSource};
use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

/// Most query parameters of a call: each becomes an entry of a map.
const MOST_PARAMETERS: usize = 64;

/// In what form a request's parameters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Raw bytes.
    Raw,
    /// JSON.
    Json,
}

/// What can be said before anything is looked up.
pub(super) fn check_request(request: &Request<Body>) -> Result<Form, Rejection> {
    if request.method() != Method::POST {
        return Err(Rejection::new(Reason::MethodNotAllowed, "an operation is called with POST")
            .with_header("allow", "POST"));
    }
    // Form and text types are what a web page may send anywhere without asking (the "simple" requests of the
    // Fetch standard): to take them would let any page post to a proxy on localhost.
    let content_type =
        request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/octet-stream") {
        return Ok(Form::Raw);
    }
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(Form::Json);
    }
    Err(Rejection::new(
        Reason::UnsupportedMediaType,
        "send the operation's parameters as JSON with content-type application/json, or raw bytes with \
         application/octet-stream",
    ))
}

pub(super) async fn serve(
    call: Call<'_>,
    operation: &ByteString,
    request: Request<Body>,
    stall_timeout: Duration,
    (terms, cx): (Terms<'_>, &RequestContext),
) -> Result<Response<Body>, Rejection> {
    let limit = call.namespace.max_message_bytes();
    let subject = Subject::of(&call);
    let metadata = query(request.uri().query().unwrap_or_default())?;
    let declared = declared_length(&request);
    let body = request.into_body().unless_stalled(stall_timeout);
    let (body, length) = match declared {
        Some(length) => (body, length),
        None => {
            let collected = collect(body, limit).await?;
            terms.check(cx)?;
            collected
        }
    };
    // The message is the payload and the few bytes around it; the limit is on the message.
    let head = (length <= limit)
        .then(|| raw_request_head(operation, &metadata, length).ok())
        .flatten()
        .filter(|head| head.len() + length <= limit + 5)
        .ok_or_else(|| too_large(length, limit))?;
    let upload = Framed { head: Some(head), body: Upload { body, gate: terms.gate(cx) }, remaining: length };
    let (reply, counted) = call.send(WireBody::Stream(Box::new(upload))).await?;
    answer::answer(reply, counted, subject).await
}

pub(super) fn too_large(length: usize, limit: usize) -> Rejection {
    Rejection::new(
        Reason::MessageTooLarge,
        format!(
            "a body of {length} bytes makes a message above the namespace's limits.max_message_bytes of {limit}"
        ),
    )
}

/// How long the body says that it is. HTTP/1.1 and HTTP/2 both hold a sender to its `content-length`.
fn declared_length(request: &Request<Body>) -> Option<usize> {
    let from_header = || request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    request.body().exact_len().or_else(from_header).and_then(|length| usize::try_from(length).ok())
}

/// Reads a body whose length nobody told.
async fn collect(mut body: Body, limit: usize) -> Result<(Body, usize), Rejection> {
    let mut pieces = Payload::new();
    let mut length = 0;
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        let Ok(data) = frame?.into_data() else { break };
        length += data.len();
        if length > limit {
            return Err(too_large(length, limit));
        }
        pieces.push(data);
    }
    Ok((Body::whole(pieces, None), length))
}

/// The query's parameters, percent-decoded; `+` is a space, as forms write it.
pub(super) fn query(query: &str) -> Result<Vec<(ByteString, ByteString)>, Rejection> {
    let malformed = |message: String| Rejection::new(Reason::MalformedQuery, message);
    let decode = |text: &str| -> Result<ByteString, Rejection> {
        let spaced = text.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8();
        decoded
            .map(|text| ByteString::from(&*text))
            .map_err(|_| malformed("the query is not UTF-8".to_owned()))
    };
    let mut metadata: Vec<(ByteString, ByteString)> = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if metadata.iter().any(|(other, _)| *other == name) {
            return Err(malformed(format!("query parameter `{name}` is repeated")));
        }
        if metadata.len() == MOST_PARAMETERS {
            return Err(malformed(format!("more than {MOST_PARAMETERS} query parameters")));
        }
        metadata.push((name, value));
    }
    Ok(metadata)
}

/// The message's head, then exactly as many bytes of the body as it announced.
struct Framed {
    head: Option<Bytes>,
    body: Upload,
    remaining: usize,
}

impl WireSource for Framed {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(head)));
        }
        let Self { body, remaining, .. } = self;
        let piece = ready!(body.poll_piece(cx));
        let mismatch = || {
            let rejection =
                Rejection::new(Reason::MalformedMessage, "the body's length is not what content-length said");
            Poll::Ready(Some(Err(Box::<BodyError>::new(rejection.into()) as BoxError)))
        };
        match piece {
            Some(Ok(piece)) if piece.len() > *remaining => mismatch(),
            Some(Ok(piece)) => {
                *remaining -= piece.len();
                Poll::Ready(Some(Ok(piece)))
            }
            None if *remaining > 0 => mismatch(),
            other => Poll::Ready(other),
        }
    }
}

#[cfg(test)]
mod tests;
