//! A service's answer on its way to the client.

use super::{HOP_BY_HOP, is_named, named, refusal};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use http_body::Frame;
use prism_filters::{
    Body,
    body::{BodyError, Duplex},
};
use prism_plugin_host::{HttpBody, HttpReply, ReplySource};
use std::task::{Context, Poll, ready};

/// Makes an answer of what came.
pub(super) fn answer(reply: HttpReply) -> Response<Body> {
    let HttpReply { mut head, body } = reply;
    strip(&mut head.headers);
    let mut response = Response::new(match body {
        HttpBody::Whole { pieces, trailers } => Body::whole(pieces, trailers),
        HttpBody::Stream(source) => Body::from_duplex(Box::new(Arriving(Some(source)))),
    });
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// Takes out what belongs to the hop, and what only the proxy may say.
fn strip(headers: &mut HeaderMap) {
    let connection: smallvec::SmallVec<[String; 4]> = named(headers).into_iter().map(str::to_owned).collect();
    let connection: smallvec::SmallVec<[&str; 4]> = connection.iter().map(String::as_str).collect();
    let ours = |name: &HeaderName| {
        HOP_BY_HOP.contains(name) || name.as_str().starts_with("x-prism-") || is_named(&connection, name)
    };
    while let Some(name) = headers.keys().find(|name| ours(name)).cloned() {
        headers.remove(name);
    }
}

/// An answer that is still arriving.
struct Arriving(Option<Box<dyn ReplySource>>);

impl Duplex for Arriving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(source.poll_frame(cx));
        if !matches!(&frame, Some(Ok(_))) {
            // Dropping it cancels what is left of the request.
            self.0 = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| refusal(error).into())))
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(source) = &mut self.0 {
            source.poll_progress(cx);
        }
        Poll::Pending
    }
}
