//! The client's side of a call on its way to a plugin: nothing is sent for which there is no window, and
//! nothing is asked for before what is here has been sent.

use crate::channel::{BoxError, WireBody, WireSource};
use bytes::Bytes;
use h2::{Reason, SendStream};
use prism_plugin_abi::Payload;
use std::task::{Context, Poll, ready};

/// Asked for at a time. The connection's window is shared: what one call has reserved, others cannot use.
const RESERVE: usize = 64 << 10;

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
pub(crate) struct Upload {
    stream: SendStream<Bytes>,
    /// The piece that is being sent.
    piece: Bytes,
    rest: Rest,
}

impl Upload {
    pub(crate) fn new(stream: SendStream<Bytes>, body: WireBody) -> Self {
        let rest = match body {
            WireBody::Whole(payload) => Rest::Whole(payload),
            WireBody::Stream(source) => Rest::Stream(source),
        };
        Self { stream, piece: Bytes::new(), rest }
    }

    /// Sends what can be sent.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if self.piece.is_empty() {
                match ready!(self.poll_piece(cx)) {
                    Some(Ok(piece)) => self.piece = piece,
                    Some(Err(error)) => {
                        self.stream.send_reset(Reason::CANCEL);
                        return Poll::Ready(Ended::Source(error));
                    }
                    // A send on a stream that was reset fails; its reader tells why.
                    None => {
                        return Poll::Ready(match self.stream.send_data(Bytes::new(), true) {
                            Ok(()) => Ended::Sent,
                            Err(_) => Ended::Stopped,
                        });
                    }
                }
                continue;
            }
            let Some(capacity) = ready!(self.poll_capacity(cx)) else { return Poll::Ready(Ended::Stopped) };
            let chunk = self.piece.split_to(capacity.min(self.piece.len()));
            let last = self.piece.is_empty() && matches!(&self.rest, Rest::Whole(rest) if rest.is_empty());
            if self.stream.send_data(chunk, last).is_err() {
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

    /// Window for some of the piece; `None` when the stream takes no more.
    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        self.stream.reserve_capacity(self.piece.len().min(RESERVE));
        loop {
            // `poll_capacity` reports growth only; what is there already has to be asked for.
            match self.stream.capacity() {
                0 => match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(None),
                },
                capacity => return Poll::Ready(Some(capacity)),
            }
        }
    }
}
