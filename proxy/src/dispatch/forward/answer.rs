//! A service's answer on its way to the client.

use super::{HOP_BY_HOP, is_named, named, refusal};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, header};
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
        HttpBody::Stream(source) => {
            Body::from_duplex(Box::new(Arriving { source: Some(source), remaining: length(&head.headers) }))
        }
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

/// How many bytes follow, where the service said so.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer that is still arriving.
struct Arriving {
    source: Option<Box<dyn ReplySource>>,
    /// Bytes still to come. A client that knows how many there are asks for no more, and has not gone away.
    remaining: Option<u64>,
}

impl Duplex for Arriving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let frame = ready!(source.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(bytes));
            }
            // Dropping it cancels what is left of the request.
            Some(Err(_)) | None => self.source = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| refusal(error).into())))
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(source) = &mut self.source {
            source.poll_progress(cx);
        }
        Poll::Pending
    }

    fn is_end(&self) -> bool {
        self.source.is_none() || self.remaining == Some(0)
    }
}
