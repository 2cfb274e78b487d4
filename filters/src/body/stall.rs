//! Noticing that nothing moves.

use super::{Body, BodyError, Duplex, Framing};
use crate::{Reason, Rejection};
use bytes::Bytes;
use http_body::Frame;
use prism_platform::time::{Instant, Sleep, sleep_until};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

/// A timer for "this should have moved by now". It costs nothing until something has to wait, and one
/// clock reading each time that something waits again after it moved.
pub struct Stall {
    timeout: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Fires after `timeout` without progress.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, waiting_since: None, timer: None }
    }

    /// Something moved.
    pub fn progress(&mut self) {
        self.waiting_since = None;
    }

    /// Called while something that should move waits. Ready when it has waited for too long.
    pub fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.timeout;
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(since + timeout)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let end = since + timeout;
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            // It fired for an earlier wait that ended in time.
            timer.as_mut().reset(end);
        }
    }
}

/// A request body that is over when it stands still.
pub(super) struct Unstalled {
    body: Body,
    stall: Stall,
    /// Of a gRPC body: between two messages it may stand still.
    framing: Option<Framing>,
}

impl Unstalled {
    pub(super) fn new(body: Body, timeout: Duration) -> Self {
        Self { body, stall: Stall::new(timeout), framing: None }
    }

    pub(super) fn in_a_message(body: Body, timeout: Duration) -> Self {
        Self { framing: Some(Framing::default()), ..Self::new(body, timeout) }
    }
}

impl Duplex for Unstalled {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.body.poll_next(cx);
        if let Poll::Ready(frame) = &polled {
            self.stall.progress();
            if let (Some(framing), Some(Ok(frame))) = (&mut self.framing, frame)
                && let Some(data) = frame.data_ref()
            {
                framing.skip(data);
            }
            return polled;
        }
        if self.framing.as_ref().is_some_and(Framing::is_between) {
            return Poll::Pending;
        }
        ready!(self.stall.poll_waiting(cx));
        self.body = Body::empty();
        Poll::Ready(Some(Err(stalled(self.stall.timeout).into())))
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.body.poll_progress(cx)
    }

    fn is_end(&self) -> bool {
        self.body.is_end()
    }
}

/// The refusal of a request that stands still.
pub(super) fn stalled(timeout: Duration) -> Rejection {
    let message = format!("the request stood still for {} s before it was complete", timeout.as_secs_f32());
    Rejection::new(Reason::ClientStalled, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use std::{convert::Infallible, future::poll_fn};

    /// A body that comes to these bytes and no further.
    struct Endless(Option<Bytes>);

    impl futures_core::Stream for Endless {
        type Item = Result<Frame<Bytes>, Infallible>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(Frame::data(bytes)))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_between_two_messages_is_no_stall() {
        for (bytes, stalls) in [
            (&b""[..], false),
            (b"\0\0\0\0\x02ab", false),
            (b"\0\0\0\0\x02ab\0\0\0\0\0", false),
            (b"\0", true),
            (b"\0\0\0\0\x02a", true),
            (b"\0\0\0\0\x02ab\x01\0\0\0", true),
        ] {
            let body = Body::new(StreamBody::new(Endless(Some(Bytes::from_static(bytes)))));
            let mut body = body.unless_a_message_stalls(Duration::from_secs(30));
            poll_fn(|cx| body.poll_next(cx)).await.unwrap().unwrap();
            let next = tokio::time::timeout(Duration::from_secs(100), poll_fn(|cx| body.poll_next(cx))).await;
            assert_eq!(next.is_ok(), stalls, "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_starts_the_wait_anew() {
        let mut stall = Stall::new(Duration::from_secs(30));
        let start = Instant::now();
        let waited =
            tokio::time::timeout(Duration::from_secs(20), poll_fn(|cx| stall.poll_waiting(cx))).await;
        assert!(waited.is_err());
        stall.progress();
        poll_fn(|cx| stall.poll_waiting(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 50);
    }
}
