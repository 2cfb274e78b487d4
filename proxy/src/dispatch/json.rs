//! Operations in JSON: `POST /v1/{namespace}/{operation}` with `application/json`, by protobuf's JSON mapping and the
//! plugin's own descriptors. The call itself is a typed one; only its two ends are translated.

mod decode;
mod describe;
mod encode;
mod openapi;
mod schema;
mod stream;

pub(super) use decode::decode;
pub(super) use describe::describe;
pub(super) use encode::encode;
pub(super) use stream::{Form, stream};

use super::{
    call::Call,
    gateway,
    outcome::{self, Subject},
    refusal, typed,
    within::Terms,
};
use bytes::{Buf, Bytes};
use bytestring::ByteString;
use http::{HeaderValue, Request, Response, header};
use prism_filters::{Body, Code, Reason, Rejection, RequestContext, body::Inflate};
use prism_plugin_abi::Payload;
use prism_plugin_envelope::typed_request;
use prism_plugin_host::{ForwardError, Types, WireBody};
use std::{future::poll_fn, time::Duration};

/// JSON is longer than what it says: bytes are base64 (four thirds), and names are written out. What is longer than this
/// makes a message that is above the limit too, or is mostly white space.
fn longest_text(limit: usize) -> usize {
    limit.saturating_mul(2).saturating_add(64 << 10)
}

/// Makes a call of a request in JSON. Its answer is a typed one.
pub(super) async fn call(
    call: Call<'_>,
    operation: &ByteString,
    types: &Types,
    request: Request<Body>,
    stall_timeout: Duration,
    (terms, cx): (Terms<'_>, &RequestContext),
) -> Result<Response<Body>, Rejection> {
    let limit = call.namespace.max_message_bytes();
    let metadata = gateway::query(request.uri().query().unwrap_or_default())?;
    let text = text(request, limit, stall_timeout).await?;
    terms.check(cx)?;
    let message = decode(&text, &types.params)?;
    drop(text);
    if message.len() > limit {
        return Err(gateway::too_large(message.len(), limit));
    }
    let params_url = prism_proto::type_url(types.params.full_name());
    let body = typed_request(operation, &metadata, &params_url, message)
        .map_err(|error| Rejection::new(Reason::MessageTooLarge, error.to_string()))?;
    let result_url = prism_proto::type_url(types.result.full_name());
    typed::answer(call, result_url.into(), WireBody::Whole(body)).await
}

/// The request's text, inflated where it is compressed.
async fn text(request: Request<Body>, limit: usize, stall_timeout: Duration) -> Result<Bytes, Rejection> {
    let longest = longest_text(limit);
    let coding = request.headers().get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let mut inflate = match coding {
        None | Some(b"identity") => None,
        Some(b"gzip") => Some(Inflate::new(longest)),
        Some(_) => {
            return Err(Rejection::new(
                Reason::UnsupportedMediaType,
                "a body compressed in this way is not taken: send it with content-encoding gzip or identity",
            )
            .with_header("accept-encoding", "gzip"));
        }
    };
    let mut body = request.into_body().unless_stalled(stall_timeout);
    let mut pieces = Payload::new();
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        let Ok(data) = frame?.into_data() else { break };
        match &mut inflate {
            Some(inflate) => inflate.push(&data)?,
            None if pieces.len() + data.len() > longest => {
                return Err(gateway::too_large(pieces.len() + data.len(), limit));
            }
            None => pieces.push(data),
        }
    }
    let text = inflate.map_or_else(|| Ok(pieces), Inflate::finish)?;
    Ok(text.into_bytes())
}

/// A unary answer in JSON.
pub(super) async fn whole(
    answer: Response<Body>,
    types: &Types,
    subject: &Subject,
) -> Result<Response<Body>, Rejection> {
    let (head, mut body) = answer.into_parts();
    let mut status = head.headers;
    let mut message = Payload::new();
    while let Some(frame) = poll_fn(|cx| body.poll_next(cx)).await {
        match frame?.into_data() {
            Ok(data) => message.push(data),
            Err(frame) => status = frame.into_trailers().unwrap_or_default(),
        }
    }
    if outcome::code(&status) != Code::Ok {
        return Err(subject.refused(&status));
    }
    // It was checked that there is one message.
    message.advance(prism_proto::envelope::PREFIX_LEN.min(message.len()));
    let text = encode(message, &types.result).map_err(|why| undecodable(&why, subject))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn undecodable(why: &str, subject: &Subject) -> Rejection {
    refusal(
        ForwardError::Protocol(format!("its result cannot be read as its descriptors have it: {why}")),
        &subject.plugin,
    )
}
