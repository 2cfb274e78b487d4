//! A plugin's answer as HTTP. The outcome decides the status, so it is waited for; but where it stands before the
//! result, as encoders write it, the result streams on from there and is never held whole.

use crate::dispatch::outcome::{self, Beginning, Framing, Outcome, Subject};
use http::{HeaderValue, Response, header};
use prism_filters::{Body, Rejection, Rpc};
use prism_plugin_envelope::Expected;
use prism_plugin_host::{InFlight, WireReply};

pub(super) async fn answer(
    mut reply: WireReply,
    counted: InFlight,
    subject: Subject,
) -> Result<Response<Body>, Rejection> {
    let status = outcome::trailers_only(&mut reply);
    let mut outcome = Outcome::new(reply.body, counted, Rpc::Unary, Expected::Any, Framing::Plain, subject)?;
    let beginning = match status {
        Some(status) => Beginning::Refused(status),
        None => outcome.begin().await?,
    };
    let (length, typed) = match beginning {
        Beginning::Result { length, typed } => (length, typed),
        Beginning::Refused(status) => return Err(outcome.refused(&status)),
    };
    let body = match outcome.whole(length) {
        Some(whole) => {
            let (result, status) = whole?;
            if outcome::code(&status) != prism_filters::Code::Ok {
                return Err(outcome.refused(&status));
            }
            Body::whole(result, None)
        }
        None => Body::from_duplex(Box::new(outcome)),
    };
    let mut response = Response::new(body);
    // An operation that knows no raw result: its message as it is.
    let content_type = if typed { "application/x-protobuf" } else { "application/octet-stream" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}
