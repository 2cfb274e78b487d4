//! A plugin's answer in frames, made into what gRPC would have brought.

use super::call::{OpenCall, unavailable};
use crate::{
    channel::{ForwardError, ReplyBody, WireReply},
    status,
    upstream::Receive,
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use http_body::Frame;
use prism_plugin_abi::Payload;
use prism_plugin_frames::{ClientEvent, End};
use send_wrapper::SendWrapper;
use std::task::{Context, Poll, ready};

/// Binary metadata: base64 without padding (gRPC over HTTP/2, "Custom-Metadata").
const STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// An answer that is here as a whole. One without messages that failed is trailers-only, as over gRPC.
pub(super) fn whole(end: &End, messages: Payload) -> WireReply {
    if messages.is_empty() && !end.is_ok() {
        let mut headers = trailers(end);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let body = ReplyBody::Whole { messages, trailers: None };
        return WireReply { headers: Some(Box::new(headers)), body };
    }
    if end.is_ok() {
        return WireReply::succeeded(messages);
    }
    let trailers = Some(Box::new(trailers(end)));
    WireReply { headers: None, body: ReplyBody::Whole { messages, trailers } }
}

fn trailers(end: &End) -> HeaderMap {
    let Some(code) = end.code else { return status::ok_trailers() };
    let mut trailers = status::error_trailers(code, &end.message);
    if !end.details.is_empty()
        && let Ok(value) = HeaderValue::try_from(STANDARD_NO_PAD.encode(&end.details))
    {
        trailers.insert(STATUS_DETAILS, value);
    }
    trailers
}

/// What is still arriving of an answer.
pub(super) struct FramesReply {
    call: OpenCall,
    /// What was here when it began.
    gathered: Payload,
}

impl FramesReply {
    pub(super) fn new(call: OpenCall, gathered: Payload) -> Self {
        Self { call, gathered }
    }
}

impl Receive for SendWrapper<FramesReply> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ForwardError>> {
        let this = &mut **self;
        if let Some(piece) = this.gathered.pop() {
            return Poll::Ready(Ok(Some(Frame::data(piece))));
        }
        loop {
            return Poll::Ready(match ready!(this.call.poll_recv(cx)) {
                ClientEvent::Opened => continue,
                ClientEvent::Data(piece) => Ok(Some(Frame::data(piece))),
                ClientEvent::End(end) => Ok(Some(Frame::trailers(trailers(&end)))),
                ClientEvent::Broken(broken) => Err(unavailable(&broken)),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_abi::Code;

    #[test]
    fn an_end_reads_as_grpc_has_it() {
        let message = Payload::from(Bytes::from_static(b"m"));
        let shown = |mut reply: WireReply| match (reply.take_headers(), reply.body) {
            (headers, ReplyBody::Whole { messages, trailers }) => {
                (headers, messages.len(), trailers.map_or_else(HeaderMap::new, |trailers| *trailers))
            }
            (headers, ReplyBody::Succeeded(messages)) => (headers, messages.len(), status::ok_trailers()),
            (_, ReplyBody::Stream(_)) => panic!("not whole"),
        };
        let (headers, length, trailers) = shown(whole(&End::ok(), message.clone()));
        assert_eq!((headers.len(), length, trailers.len()), (1, 1, 1));
        assert_eq!(trailers["grpc-status"], "0");

        let (headers, length, trailers) = shown(whole(&End::ok(), Payload::new()));
        assert_eq!((headers.len(), length, &trailers["grpc-status"]), (1, 0, &HeaderValue::from_static("0")));

        let end =
            End { details: Bytes::from_static(b"\x08\x05\xff"), ..End::error(Code::NotFound, "naïve") };
        let (headers, _, trailers) = shown(whole(&end, message));
        assert_eq!(headers.len(), 1);
        assert_eq!(trailers["grpc-status"], "5");
        assert_eq!(trailers["grpc-message"], "na%C3%AFve");
        assert_eq!(trailers["grpc-status-details-bin"], "CAX/");

        let end = End { details: Bytes::from_static(b"\x08\x05"), ..End::error(Code::NotFound, "") };
        let (headers, length, trailers) = shown(whole(&end, Payload::new()));
        assert_eq!((length, trailers.len()), (0, 0));
        assert_eq!(headers["grpc-status"], "5");
        assert_eq!(headers["content-type"], "application/grpc");
        assert_eq!(headers["grpc-status-details-bin"], "CAU");
    }
}
