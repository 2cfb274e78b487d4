//! Typed calls, `prism.kv.v1.KeyValueService/Get`: a method's messages in, its messages out. The request's are put into
//! the envelope by bytes in front of them, the answer's are taken out of it by their length (contracts, "How a typed call
//! becomes `Execute`, and back").

use super::{
    call::Call,
    outcome::{self, Beginning, Framing, Outcome, Subject},
    prefix, refusal,
};
use crate::snapshot::Namespace;
use bytestring::ByteString;
use http::{HeaderMap, HeaderValue, Response, header};
use prism_filters::{Body, Code, Rejection, Rpc};
use prism_plugin_abi::{Call as Running, Data, Error, Payload};
use prism_plugin_envelope::{Expected, result_of};
use prism_plugin_host::{InFlight, ReplyBody, WireBody, WireReply, ok_headers};

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
            return Ok(succeeded(reply.take_headers(), result));
        }
        let subject = Subject::new(namespace, idempotent);
        // Boxed: nearly no call comes here, and every call's future would have its room.
        Box::pin(any_answer(reply, counted, rpc, Expected::Typed(result_url), subject)).await
    }
}

/// Answers with the result of a call that a plugin in this process runs. It is in no envelope, so nothing is taken out of
/// one; but whatever is no right result goes the way of all others.
///
/// A block, and not an `async fn`: that would hold its arguments twice, in a future that is moved for every request.
#[allow(clippy::manual_async_fn)] // see above
pub(super) fn direct<'a>(
    running: Running,
    counted: InFlight,
    namespace: &'a Namespace,
    idempotent: bool,
    result_url: &'a ByteString,
) -> impl Future<Output = Result<Response<Body>, Rejection>> + use<'a> {
    async move {
        let other = match result_in(running.await, result_url, namespace.max_message_bytes()) {
            Ok(result) => return Ok(succeeded(ok_headers(), prefix::before(result))),
            Err(other) => other,
        };
        let reply = WireReply::of(other).map_err(|error| refusal(error, namespace.plugin()))?;
        let (expected, subject) = (Expected::Typed(result_url.clone()), Subject::new(namespace, idempotent));
        // Boxed, as in `answer`.
        Box::pin(any_answer(reply, counted, Rpc::Unary, expected, subject)).await
    }
}

/// The result in the outcome of a call, if it is one that may pass.
///
/// # Errors
/// Gives back any other outcome.
fn result_in(
    outcome: Result<Data, Error>,
    result_url: &ByteString,
    limit: usize,
) -> Result<Payload, Result<Data, Error>> {
    match outcome {
        Ok(Data::Typed { type_url, value }) if type_url == *result_url && value.len() <= limit => Ok(value),
        other => Err(other),
    }
}

fn succeeded(headers: HeaderMap, result: Payload) -> Response<Body> {
    let mut response = Response::new(Body::succeeded(result));
    *response.headers_mut() = headers;
    response
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
    Ok(messages.pop().map(|piece| prefix::within(piece, result)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prism_plugin_abi::Code as ErrorCode;

    #[test]
    fn what_is_no_right_result_goes_the_way_of_all_others() {
        let url = ByteString::from_static("type.googleapis.com/a.B");
        let typed = |url: &'static str, length| {
            Ok(Data::Typed { type_url: url.into(), value: Bytes::from(vec![7; length]).into() })
        };
        for length in [0, 1, 100] {
            let result = result_in(typed("type.googleapis.com/a.B", length), &url, 100).unwrap();
            assert_eq!(result.into_bytes(), vec![7; length]);
        }
        for other in [
            typed("type.googleapis.com/a.B", 101),
            typed("type.googleapis.com/a.C", 1),
            typed("a.B", 1),
            typed("", 1),
            Ok(Data::Raw(Bytes::from_static(b"raw").into())),
            Ok(Data::Empty),
            Err(Error::operation(ErrorCode::NotFound, "no")),
            Err(Error::channel(ErrorCode::Unavailable, "no")),
        ] {
            let shown = format!("{other:?}");
            assert_eq!(format!("{:?}", result_in(other, &url, 100).unwrap_err()), shown);
        }
    }
}
