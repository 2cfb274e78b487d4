//! The body of an answer, as it arrives.

use super::{broken, dial::Readers};
use crate::{
    channel::ForwardError,
    upstream::{GATHER, Receive},
};
use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::Frame;
use prism_plugin_abi::Payload;
use std::{
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// What an answer's trailers must be.
pub(crate) trait Trailers: Send {
    /// What goes on of them; `None`: nothing follows the body.
    ///
    /// # Errors
    /// The answer is none without them.
    fn checked(trailers: Option<HeaderMap>) -> Result<Option<HeaderMap>, ForwardError>;
}

/// What is still arriving of an answer.
pub(crate) struct Received<T> {
    receive: RecvStream,
    /// What came together with the headers.
    gathered: Payload,
    /// Bytes handed out for which the peer has not got new window yet.
    unreleased: usize,
    readers: Arc<Readers>,
    /// It is one of them: what is gathered at once has no reader.
    is_read: bool,
    trailers: PhantomData<T>,
}

impl<T: Trailers> Received<T> {
    pub(crate) fn new(receive: RecvStream, readers: &Arc<Readers>) -> Self {
        let readers = Arc::clone(readers);
        Self {
            receive,
            gathered: Payload::new(),
            unreleased: 0,
            readers,
            is_read: false,
            trailers: PhantomData,
        }
    }

    /// Takes what is here. When that is all, the trailers too, where there are any.
    ///
    /// # Errors
    /// The answer broke.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) -> Result<Option<Option<HeaderMap>>, ForwardError> {
        while self.gathered.len() < GATHER {
            match self.receive.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => self.gathered.push(piece),
                Poll::Ready(Some(Err(error))) => return Err(broken(&error)),
                Poll::Ready(None) => match self.receive.poll_trailers(cx) {
                    Poll::Ready(Ok(trailers)) => return T::checked(trailers).map(Some),
                    Poll::Ready(Err(error)) => return Err(broken(&error)),
                    Poll::Pending => break,
                },
                Poll::Pending => break,
            }
        }
        Ok(None)
    }

    /// What was gathered, of an answer that is here as a whole.
    pub(crate) fn into_gathered(mut self) -> Payload {
        std::mem::take(&mut self.gathered)
    }
}

impl<T> Drop for Received<T> {
    fn drop(&mut self) {
        if self.is_read {
            self.readers.leave();
        }
    }
}

impl<T: Trailers> Receive for Received<T> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, ForwardError>> {
        if !std::mem::replace(&mut self.is_read, true) {
            self.readers.join();
        }
        if let Some(piece) = self.gathered.pop() {
            self.unreleased += piece.len();
            return Poll::Ready(Ok(Some(Frame::data(piece))));
        }
        // The consumer is back, so what it got has left the proxy.
        let consumed = std::mem::take(&mut self.unreleased);
        if consumed > 0 {
            if self.receive.flow_control().release_capacity(consumed).is_err() {
                return Poll::Ready(Err(ForwardError::Protocol(
                    "its flow control does not add up".to_owned(),
                )));
            }
            self.readers.take(consumed);
        }
        loop {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.unreleased = piece.len();
                    return Poll::Ready(Ok(Some(Frame::data(piece))));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => {
                    let trailers = ready!(self.receive.poll_trailers(cx)).map_err(|error| broken(&error))?;
                    return Poll::Ready(T::checked(trailers).map(|trailers| trailers.map(Frame::trailers)));
                }
            }
        }
    }
}
