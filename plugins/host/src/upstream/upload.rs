//! The client's side of a call on its way to a plugin: nothing is sent for which there is no window, and
//! nothing is asked for before what is here has been sent.

use crate::channel::{BoxError, ForwardError, WireBody, WireSource};
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

/// How much of a body that was still arriving is kept until its answer begins, in case whoever gets it has not begun with
/// it and it goes elsewhere: what a client may send in the window of a stream (RFC 9113 section 6.9.2), so that a call in one
/// small message is kept as a whole. What is kept counts its pieces, and copies none.
const KEPT: usize = 64 << 10;

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
    /// What was taken of the body; `None` when that was too much, or nobody needs it any more.
    kept: Option<Payload>,
    /// The source has no more.
    ended: bool,
    /// There is nothing left to do.
    over: bool,
}

/// A body of which the beginning was taken already.
struct Rejoined {
    first: Payload,
    rest: Box<dyn WireSource>,
}

impl WireSource for Rejoined {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match self.first.pop() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None => self.rest.poll_piece(cx),
        }
    }
}

/// The body that begins with `first`.
pub(crate) fn rejoin(first: Payload, rest: WireBody) -> WireBody {
    match rest {
        rest if first.is_empty() => rest,
        WireBody::Stream(rest) => WireBody::Stream(Box::new(Rejoined { first, rest })),
        WireBody::Whole(mut rest) => {
            let mut whole = first;
            while let Some(piece) = rest.pop() {
                whole.push(piece);
            }
            WireBody::Whole(whole)
        }
    }
}

impl<S: Sink> Upload<S> {
    pub(crate) fn new(sink: S, body: WireBody) -> Self {
        let (rest, kept) = match body {
            WireBody::Whole(payload) => (Rest::Whole(payload.clone()), payload),
            WireBody::Stream(source) => (Rest::Stream(source), Payload::new()),
        };
        Self { sink, piece: Bytes::new(), rest, kept: Some(kept), ended: false, over: false }
    }

    /// The same upload through another sink to the same call.
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> Upload<T> {
        let Self { sink, piece, rest, kept, ended, over } = self;
        Upload { sink: change(sink), piece, rest, kept, ended, over }
    }

    /// The body as it was, where enough of it was kept.
    pub(crate) fn rewind(self) -> Option<WireBody> {
        let kept = self.kept?;
        Some(match self.rest {
            Rest::Stream(source) if !self.ended => rejoin(kept, WireBody::Stream(source)),
            Rest::Stream(_) | Rest::Whole(_) => WireBody::Whole(kept),
        })
    }

    /// What is left of it when the answer has begun, after which it goes nowhere else.
    pub(crate) fn unfinished(self) -> Option<Self> {
        (!self.over).then_some(Self { kept: None, ..self })
    }

    /// Sends what can be sent. Ready when there is nothing left to do: all of it is sent, or the other side wants no more
    /// of it and may still answer (RFC 9113 section 8.1).
    ///
    /// # Errors
    /// The client's side failed. The stream is reset, without its end having been sent.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        if !self.over {
            let ended = ready!(self.poll_send(cx));
            self.over = true;
            return Poll::Ready(ended.map_err(ForwardError::Source));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            if self.piece.is_empty() {
                match ready!(self.poll_piece(cx)) {
                    Some(Ok(piece)) => self.piece = piece,
                    Some(Err(error)) => {
                        self.sink.cancel();
                        return Poll::Ready(Err(error));
                    }
                    // A send on a stream that was reset fails; its reader tells why.
                    None => {
                        self.ended = true;
                        self.sink.send(Bytes::new(), true);
                        return Poll::Ready(Ok(()));
                    }
                }
                continue;
            }
            let Some(capacity) = ready!(self.sink.poll_capacity(cx, self.piece.len())) else {
                return Poll::Ready(Ok(()));
            };
            let chunk = self.piece.split_to(capacity.min(self.piece.len()));
            let last = self.piece.is_empty() && matches!(&self.rest, Rest::Whole(rest) if rest.is_empty());
            if !self.sink.send(chunk, last) || last {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        match &mut self.rest {
            Rest::Whole(payload) => Poll::Ready(payload.pop().map(Ok)),
            Rest::Stream(source) => {
                let piece = ready!(source.poll_piece(cx));
                match (&piece, &mut self.kept) {
                    (Some(Ok(piece)), Some(kept)) if kept.len() + piece.len() <= KEPT => {
                        kept.push(piece.clone());
                    }
                    (Some(Ok(_)), kept) => *kept = None,
                    (Some(Err(_)) | None, _) => {}
                }
                Poll::Ready(piece)
            }
        }
    }
}
