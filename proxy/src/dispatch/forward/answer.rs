//! A service's answer on its way to the client.

use super::refusal;
use crate::head::is_grpc;
use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body::Frame;
use prism_filters::{
    Body,
    body::{BodyError, Duplex},
    fields::{Named, drop_where, is_claim, is_hop_by_hop},
};
use prism_plugin_host::{HttpBody, HttpReply, ReplySource};
use std::task::{Context, Poll, ready};

/// Makes an answer of what came. What it says of its own length is settled already.
pub(super) fn answer(reply: HttpReply) -> Response<Body> {
    let HttpReply { mut head, body } = reply;
    strip(&mut head.headers);
    let mut response = Response::new(match body {
        HttpBody::Whole { pieces, mut trailers } => {
            trailers.iter_mut().for_each(|trailers| strip_trailers(trailers));
            Body::whole(pieces, trailers)
        }
        HttpBody::Stream(source) => {
            Body::from_duplex(Box::new(Arriving { source: Some(source), remaining: length(&head.headers) }))
        }
    });
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// Takes out what belongs to the hop, and what only the proxy may say.
fn strip(fields: &mut HeaderMap) {
    if fields.contains_key(header::CONNECTION) {
        let as_named = fields.clone();
        let named = Named::of(&as_named);
        drop_where(fields, |name| named.has(name));
    }
    drop_where(fields, |name| is_hop_by_hop(name) || is_claim(name.as_str()));
}

/// The same of trailers, and what frames a message: RFC 9110 section 6.5.1 names such fields among those that "cannot be
/// processed outside the header section".
fn strip_trailers(fields: &mut HeaderMap) {
    strip(fields);
    fields.remove(header::CONTENT_LENGTH);
}

/// How many bytes follow and nothing after them, where the service said so. Behind those of gRPC there are trailers.
fn length(fields: &HeaderMap) -> Option<u64> {
    if is_grpc(fields) {
        return None;
    }
    fields.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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
        let mut frame = ready!(source.poll_frame(cx));
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    strip_trailers(trailers);
                }
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
