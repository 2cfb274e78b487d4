//! Typed calls, `prism.kv.v1.KeyValueService/Get`: a method's messages in, its messages out. The request's are put into
//! the envelope by bytes in front of them, the answer's are taken out of it by their length (contracts, "How a typed call
//! becomes `Execute`, and back").

use super::{
    forward::Call,
    outcome::{self, Beginning, Framing, Outcome, Subject},
};
use bytestring::ByteString;
use http::{HeaderMap, HeaderValue, Response, header};
use prism_filters::{Body, Code, Rejection, Rpc};
use prism_plugin_envelope::Expected;
use prism_plugin_host::WireBody;

/// Sends a call whose messages are in their envelopes already, and answers with the results alone: messages of the type
/// with this URL.
pub(super) async fn answer(
    call: Call<'_>,
    result_url: ByteString,
    body: WireBody,
) -> Result<Response<Body>, Rejection> {
    let subject = Subject::of(&call);
    let rpc = call.rpc;
    let (mut reply, counted) = call.send(body).await?;
    if let Some(status) = outcome::trailers_only(&mut reply) {
        return Ok(refused(status));
    }
    let headers = reply.take_headers();
    let expected = Expected::Typed(result_url);
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
