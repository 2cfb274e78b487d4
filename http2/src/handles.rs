//! What others hold of a connection: a request's body, the way of its answer, and PINGs.

use crate::{
    error::{Error, Reason},
    frame::write_ping,
    state::{OUR_PING, Ping, Shared},
    stream::{End, Key},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

/// A request's body. It may be read, and dropped, on any thread. Dropping it before its end has the peer told that the rest is not
/// wanted, once the answer has ended, or is given up, too.
pub struct RecvStream(Body);

enum Body {
    /// All of it was there when the request was. `None`: its end was read, or its head was all there was.
    Whole(Option<Bytes>),
    Open(Open),
}

struct Open {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.forget_body(self.key);
        state.release(self.key);
        state.wake();
    }
}

impl RecvStream {
    pub(crate) fn whole(body: Option<Bytes>) -> Self {
        Self(Body::Whole(body))
    }

    pub(crate) fn open(shared: Arc<Shared>, key: Key) -> Self {
        Self(Body::Open(Open { shared, key }))
    }

    /// Nothing more will come: no data and no trailers. `false` when that is not known yet, and for a body of nothing that has
    /// not been read: what ended with its head and what ended with an empty DATA frame is not the same to gRPC, which takes the
    /// second ("implementations MUST send an empty DATA frame", PROTOCOL-HTTP2.md).
    #[must_use]
    pub fn is_end_stream(&self) -> bool {
        match &self.0 {
            Body::Whole(body) => body.is_none(),
            Body::Open(open) => {
                let mut state = open.shared.lock();
                state.streams.get(open.key).is_none_or(|stream| {
                    stream.failed.is_none()
                        && stream.received
                        && !stream.has_body()
                        && stream.trailers.is_none()
                })
            }
        }
    }

    /// The next piece; `None` after the last. Its window is given back with [`RecvStream::release`].
    ///
    /// # Errors
    /// The stream was reset, or its connection ended.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        match &mut self.0 {
            Body::Whole(body) => Poll::Ready(body.take().filter(|body| !body.is_empty()).map(Ok)),
            Body::Open(open) => {
                let mut state = open.shared.lock();
                let Some(stream) = state.streams.get(open.key) else { return Poll::Ready(None) };
                if let Some(piece) = stream.take() {
                    return Poll::Ready(Some(Ok(piece)));
                }
                if let Some(error) = &stream.failed {
                    return Poll::Ready(Some(Err(error.clone())));
                }
                if stream.received {
                    return Poll::Ready(None);
                }
                stream.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The trailers, after the last piece.
    ///
    /// # Errors
    /// The stream was reset, or its connection ended.
    pub fn poll_trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, Error>> {
        match &mut self.0 {
            Body::Whole(_) => Poll::Ready(Ok(None)),
            Body::Open(open) => {
                let mut state = open.shared.lock();
                let Some(stream) = state.streams.get(open.key) else { return Poll::Ready(Ok(None)) };
                if let Some(error) = &stream.failed {
                    return Poll::Ready(Err(error.clone()));
                }
                if stream.received {
                    return Poll::Ready(Ok(stream.trailers.take()));
                }
                stream.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// So many bytes were taken care of, and the peer may send as many again.
    pub fn release(&mut self, bytes: usize) {
        if let Body::Open(open) = &mut self.0 {
            let mut state = open.shared.lock();
            state.taken(open.key, u32::try_from(bytes).unwrap_or(u32::MAX));
            state.wake();
        }
    }
}

impl fmt::Debug for RecvStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream").finish_non_exhaustive()
    }
}

/// The way of one answer: its head, its body and its end, in this order. Dropped before the end, it resets the stream (CANCEL).
/// What is sent on a stream that is over goes nowhere.
pub struct Respond {
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for Respond {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.give_up(self.key);
        state.release(self.key);
        state.wake();
    }
}

impl Respond {
    pub(crate) fn new(shared: Arc<Shared>, key: Key) -> Self {
        Self { shared, key }
    }

    /// Sends the head; with `end`, it is all there is. False: nobody is there to read it any more.
    pub fn send_head(&mut self, status: StatusCode, headers: &HeaderMap, end: bool) -> bool {
        let mut state = self.shared.lock();
        let sent = state.send_head(self.key, status, headers, end);
        state.wake();
        sent
    }

    /// How many bytes of the body can be sent now; pending while it is none. `None`: the stream is over.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        let mut state = self.shared.lock();
        if state.streams.get(self.key).is_none_or(|stream| stream.closed) {
            return Poll::Ready(None);
        }
        match state.room(self.key) {
            0 => {
                state.await_room(self.key, cx);
                Poll::Pending
            }
            room => Poll::Ready(Some(room)),
        }
    }

    /// Sends a piece of the body. Beyond what [`Respond::poll_room`] said it waits in memory.
    pub fn send_data(&mut self, piece: Bytes) {
        let mut state = self.shared.lock();
        state.send_data(self.key, piece);
        state.wake();
    }

    /// Ends the body, with trailers or without.
    pub fn send_end(&mut self, trailers: Option<HeaderMap>) {
        let mut state = self.shared.lock();
        state.send_end(self.key, trailers.map_or(End::Data, End::Trailers));
        state.wake();
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        let mut state = self.shared.lock();
        if let Some(stream) = state.streams.get(self.key).filter(|stream| !stream.closed) {
            let id = stream.id;
            state.reset(id, reason);
            state.wake();
        }
    }

    /// Ready when the stream was reset, or its connection has ended.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        let Some(stream) = state.streams.get(self.key) else { return Poll::Ready(()) };
        if stream.failed.is_some() {
            return Poll::Ready(());
        }
        if !stream.writer.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            stream.writer = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Respond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond").finish_non_exhaustive()
    }
}

/// PINGs of a connection, one at a time.
pub struct Pinger(Arc<Shared>);

impl Pinger {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Sends one. False: there is one under way, or the connection is over.
    pub fn send(&mut self) -> bool {
        let mut state = self.0.lock();
        if state.ping != Ping::No || state.over.is_some() {
            return false;
        }
        state.ping = Ping::Sent;
        write_ping(state.output.frames(), 0, OUR_PING);
        state.wake();
        true
    }

    /// Ready when its answer has come.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        if state.ping == Ping::Answered {
            state.ping = Ping::No;
            return Poll::Ready(());
        }
        state.pinger = Some(cx.waker().clone());
        Poll::Pending
    }
}
