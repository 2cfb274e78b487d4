//! Typed calls, `prism.kv.v1.KeyValueService/Get`: a method's messages in, its messages out. The request's are put into
//! the envelope by bytes in front of them, the answer's are taken out of it by their length (contracts, "How a typed call
//! becomes `Execute`, and back").

use super::{
    call::Call,
    outcome::{self, Beginning, Framing, Outcome, Subject},
};
use crate::snapshot::Namespace;
use bytestring::ByteString;
use http::{HeaderMap, HeaderValue, Response, header};
use prism_filters::{Body, Code, Rejection, Rpc};
use prism_plugin_abi::Payload;
use prism_plugin_envelope::{Expected, result_of};
use prism_plugin_host::{InFlight, ReplyBody, WireBody, WireReply};

/// Sends a call whose messages are in their envelopes already, and answers with the results alone: messages of the type
/// with this URL.
pub(super) fn answer<'a>(
    call: Call<'a>,
    result_url: ByteString,
    body: WireBody,
) -> impl Future<Output = Result<Response<Body>, Rejection>> + use<'a> {
    let (rpc, namespace, idempotent) = (call.rpc, call.namespace, call.idempotent);
    let sending = call.send(body);
    async move {
        let (mut reply, counted) = sending.await?;
        if rpc == Rpc::Unary
            && let ReplyBody::Succeeded(messages) = &mut reply.body
            && let Some(result) = usual(messages, &result_url, namespace)?
        {
            let mut response = Response::new(Body::succeeded(result));
            *response.headers_mut() = reply.take_headers();
            return Ok(response);
        }
        let subject = Subject::new(namespace, idempotent);
        // Boxed: nearly no call comes here, and every call's future would have its room.
        Box::pin(any_answer(reply, counted, rpc, Expected::Typed(result_url), subject)).await
    }
}

/// Takes the framed result of nearly every unary call: all of it here, in one piece, written in the usual order. `None`: it
/// is another one, and still there.
fn usual(
    messages: &mut Payload,
    result_url: &str,
    namespace: &Namespace,
) -> Result<Option<Payload>, Rejection> {
    let Some(piece) = messages.pieces().next().filter(|_| messages.is_single()) else { return Ok(None) };
    let Some(result) = result_of(piece, result_url) else { return Ok(None) };
    outcome::check_length(result.len(), namespace.max_message_bytes())?;
    Ok(messages.pop().map(|piece| outcome::framed(piece, result)))
}

async fn any_answer(
    mut reply: WireReply,
    counted: InFlight,
    rpc: Rpc,
    expected: Expected,
    subject: Subject,
) -> Result<Response<Body>, Rejection> {
    if let Some(status) = outcome::trailers_only(&mut reply) {
        return Ok(refused(status));
    }
    let headers = reply.take_headers();
    let mut outcome = Outcome::new(reply.body, counted, rpc, expected, Framing::Grpc, subject)?;
    let body = match rpc {
        // The outcome decides what the headers are.
        Rpc::Unary => match outcome.begin().await? {
            Beginning::Refused(status) => return Ok(refused(status)),
            Beginning::Result { length, .. } => match outcome.whole(length) {
                Some(whole) => {
                    let (result, status) = whole?;
                    match is_plain_success(&status) {
                        true => Body::succeeded(result),
                        false => Body::whole(result, Some(Box::new(status))),
                    }
                }
                None => Body::from_duplex(Box::new(outcome.begun(length))),
            },
        },
        // Whoever opens a stream waits for its headers: `watch` has begun when they are there.
        Rpc::Streaming => Body::from_duplex(Box::new(outcome)),
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    Ok(response)
}

/// `grpc-status: 0` and no more.
fn is_plain_success(status: &HeaderMap) -> bool {
    status.len() == 1 && outcome::code(status) == Code::Ok
}

/// The plugin's own refusal, as it came.
fn refused(mut status: HeaderMap) -> Response<Body> {
    status.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = status;
    response
}
