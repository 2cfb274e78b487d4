//! The client's side of a call on its way to a plugin: nothing is sent for which there is no window, and
//! nothing is asked for before what is here has been sent.

use crate::channel::{BoxError, WireBody, WireSource};
use bytes::Bytes;
use prism_plugin_abi::Payload;
use std::task::{Context, Poll, ready};

/// A call's side of a connection that takes its body.
pub(crate) trait Sink {
    /// Room for some of `wanted` bytes, at least one; `None` when the call takes no more.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>>;

    /// Sends a piece for which there is room; `last` is the body's end. `false`: the call takes no more, and
    /// its answer tells why.
    fn send(&mut self, piece: Bytes, last: bool) -> bool;

    /// Cancels the call: the plugin must not take what it has for the whole.
    fn cancel(&mut self);
}

/// How an upload ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All of it is sent, and so is its end.
    Sent,
    /// The plugin wants no more of it.
    Stopped,
    /// The client's side failed. The stream is reset, without its end having been sent.
    Source(BoxError),
}

enum Rest {
    Whole(Payload),
    Stream(Box<dyn WireSource>),
}

/// An upload under way. Dropping it, and the answer with it, cancels the call.
pub(crate) struct Upload<S> {
    sink: S,
    /// The piece that is being sent.
    piece: Bytes,
    rest: Rest,
}

impl<S: Sink> Upload<S> {
    pub(crate) fn new(sink: S, body: WireBody) -> Self {
        let rest = match body {
            WireBody::Whole(payload) => Rest::Whole(payload),
            WireBody::Stream(source) => Rest::Stream(source),
        };
        Self { sink, piece: Bytes::new(), rest }
    }

    /// The same upload through another sink to the same call.
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> Upload<T> {
        Upload { sink: change(self.sink), piece: self.piece, rest: self.rest }
    }

    /// Sends what can be sent.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if self.piece.is_empty() {
                match ready!(self.poll_piece(cx)) {
                    Some(Ok(piece)) => self.piece = piece,
                    Some(Err(error)) => {
                        self.sink.cancel();
                        return Poll::Ready(Ended::Source(error));
                    }
                    // A send on a stream that was reset fails; its reader tells why.
                    None => {
                        return Poll::Ready(match self.sink.send(Bytes::new(), true) {
                            true => Ended::Sent,
                            false => Ended::Stopped,
                        });
                    }
                }
                continue;
            }
            let Some(capacity) = ready!(self.sink.poll_capacity(cx, self.piece.len())) else {
                return Poll::Ready(Ended::Stopped);
            };
            let chunk = self.piece.split_to(capacity.min(self.piece.len()));
            let last = self.piece.is_empty() && matches!(&self.rest, Rest::Whole(rest) if rest.is_empty());
            if !self.sink.send(chunk, last) {
                return Poll::Ready(Ended::Stopped);
            }
            if last {
                return Poll::Ready(Ended::Sent);
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.rest {
            Rest::Whole(payload) => Poll::Ready(payload.pop().map(Ok)),
            Rest::Stream(source) => source.poll_piece(cx),
        }
    }
}
