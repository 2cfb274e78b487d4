//! One HTTP/2 stream: the request through the stack, then its answer, frame by frame.

use crate::{edge::Edge, head::is_grpc, stack};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response, header};
use http_body::Frame;
use pin_project_lite::pin_project;
use prism_filters::{
    Body, Rejection,
    body::{BodyError, Stall},
    trailers_of,
};
use prism_http2::{Reason, Respond};
use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// Serves one request. Everything about the stream happens in this one future: the chain, the upload, the
/// answer, the stall timer and the client's reset.
pub(super) fn serve(
    edge: Rc<Edge>,
    request: Request<Body>,
    respond: Respond,
    peer: Option<SocketAddr>,
) -> Stream<impl Future<Output = Response<Body>>> {
    let grpc = is_grpc(request.headers());
    let at = At::Chain { answering: stack::serve(Rc::clone(&edge), request, peer) };
    Stream { at, respond, edge, grpc }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its client gave it up before there was an answer.
    GivenUp,
    /// In any other way.
    Otherwise,
}

pin_project! {
    /// Written out, because an `async fn` would hold the request and the answer several times over, in a future
    /// that is moved for every request.
    pub(super) struct Stream<F> {
        #[pin]
        at: At<F>,
        respond: Respond,
        edge: Rc<Edge>,
        // The request is gRPC, and so is the answer.
        grpc: bool,
    }
}

pin_project! {
    /// How far a stream is.
    #[project = AtProjection]
    enum At<F> {
        Chain { #[pin] answering: F },
        Body { sending: Sending },
        End,
    }
}

impl<F: Future<Output = Response<Body>>> Future for Stream<F> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut this = self.project();
        if let AtProjection::Chain { answering } = this.at.as_mut().project() {
            let next = match answering.poll(cx) {
                Poll::Ready(response) => answer(this.respond, response, *this.grpc, this.edge),
                Poll::Pending => {
                    // The client gave up: dropping the future cancels the call all the way to the plugin.
                    ready!(this.respond.poll_reset(cx));
                    this.at.set(At::End);
                    return Poll::Ready(Ended::GivenUp);
                }
            };
            this.at.set(next);
        }
        if let AtProjection::Body { sending } = this.at.as_mut().project() {
            ready!(sending.poll(this.respond, cx));
            this.at.set(At::End);
        }
        Poll::Ready(Ended::Otherwise)
    }
}

/// Sends the answer's head. What follows it is the next state.
fn answer<F>(respond: &mut Respond, response: Response<Body>, grpc: bool, edge: &Edge) -> At<F> {
    let (mut head, body) = response.into_parts();
    let ended = body.is_end();
    if !ended
        && !grpc
        && let Some(length) = body.exact_len()
    {
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    // Not sent: the stream or the connection is gone, and nobody is left to answer.
    if !respond.send_head(head.status, &head.headers, ended) || ended {
        return At::End;
    }
    let stall = Stall::new(edge.limits().stall_timeout);
    At::Body { sending: Sending { grpc, body, pending: None, stall } }
}

/// Refuses what is left of all of them.
pub(super) fn end_all<F>(streams: &mut FuturesUnordered<Stream<F>>, refusal: &Rejection) {
    for stream in Pin::new(&mut *streams).iter_pin_mut() {
        stream.end(refusal);
    }
    streams.clear();
}

impl<F> Stream<F> {
    /// Refuses what is left of it. Whatever cannot be sent any more has nobody to read it. It must not be polled again.
    fn end(self: Pin<&mut Self>, refusal: &Rejection) {
        let this = self.project();
        match this.at.project() {
            AtProjection::End => {}
            AtProjection::Body { .. } if *this.grpc => this.respond.send_end(Some(trailers_of(refusal))),
            AtProjection::Body { .. } => this.respond.reset(Reason::CANCEL),
            AtProjection::Chain { .. } => refuse(this.respond, *this.grpc, refusal),
        }
    }
}

/// Answers a request with nothing but a refusal.
pub(super) fn refuse(respond: &mut Respond, grpc: bool, refusal: &Rejection) {
    let mut head = Response::new(());
    if grpc {
        *head.headers_mut() = trailers_of(refusal);
        head.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/grpc"));
    } else {
        *head.status_mut() = refusal.http_status();
    }
    respond.send_head(head.status(), head.headers(), true);
}

struct Sending {
    /// The answer is gRPC: what breaks in its middle can be said in its trailers.
    grpc: bool,
    body: Body,
    /// Taken from the body and not sent yet: the next piece is asked for only when this one is gone, which
    /// is what carries back-pressure to the plugin.
    pending: Option<Bytes>,
    stall: Stall,
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.pending.is_some() {
            self.body.abandon();
        }
    }
}

impl Sending {
    fn poll(&mut self, respond: &mut Respond, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.pending.is_some() {
                if self.poll_send(respond, cx).is_pending() {
                    return self.poll_blocked(respond, cx);
                }
                continue;
            }
            match self.body.poll_next(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.pending = Some(data),
                    Err(frame) => {
                        respond.send_end(Some(Frame::into_trailers(frame).unwrap_or_default()));
                        return Poll::Ready(());
                    }
                },
                Poll::Ready(None) => {
                    respond.send_end(None);
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Err(error))) => {
                    self.fail(respond, error);
                    return Poll::Ready(());
                }
                Poll::Pending => return respond.poll_reset(cx),
            }
        }
    }

    /// Sends what is pending, as far as there is room for it. Ready when it is gone, or the stream is.
    fn poll_send(&mut self, respond: &mut Respond, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(data) = &mut self.pending {
            if data.is_empty() {
                self.pending = None;
                break;
            }
            let Some(room) = ready!(respond.poll_room(cx)) else {
                // The stream is gone; the next poll of the body's consumer ends it.
                self.body.abandon();
                self.body = Body::empty();
                self.pending = None;
                return Poll::Ready(());
            };
            self.stall.progress();
            respond.send_data(data.split_to(room.min(data.len())));
        }
        Poll::Ready(())
    }

    /// The client's window is full, or what is there to be written.
    fn poll_blocked(&mut self, respond: &mut Respond, cx: &mut Context<'_>) -> Poll<()> {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        // A bidirectional call must be able to go on sending while its client does not read.
        if self.body.poll_progress(cx).is_ready() {
            // Broken, and what there is to say about that waits for no window.
            self.pending = None;
            return self.poll(respond, cx);
        }
        // Bytes that wait for a window that never opens hold memory: that is a stall, and it is cut.
        if self.stall.poll_waiting(cx).is_ready() {
            respond.reset(Reason::CANCEL);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn fail(&mut self, respond: &mut Respond, error: BodyError) {
        match error {
            // Headers are out: the trailers are what is left to say it in.
            BodyError::Rejected(rejection) if self.grpc => respond.send_end(Some(trailers_of(&rejection))),
            BodyError::Told(_) => respond.send_end(None),
            _ => respond.reset(Reason::INTERNAL_ERROR),
        }
    }
}
