//! Watching a body pass: how much, and how it ended.

use super::{Body, BodyError};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use std::task::{Context, Poll, ready};

/// Somebody who wants to know what passes. Also what holds a permit until a response is over: it is
/// dropped with the body.
pub trait Observer: Send {
    /// Some payload passed.
    fn on_data(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// The body is over. Called exactly once.
    fn on_end(&mut self, end: End<'_>);
}

/// How a body ended.
#[derive(Debug)]
pub enum End<'a> {
    /// With its last frame.
    Complete {
        /// Its trailers.
        trailers: Option<&'a HeaderMap>,
    },
    /// With an error.
    Failed(&'a BodyError),
    /// Whoever read it stopped: the client went away, or a deadline passed.
    Dropped,
}

pub(super) struct Observed {
    inner: Body,
    observer: Box<dyn Observer>,
    ended: bool,
}

impl Observed {
    pub(super) fn new(inner: Body, observer: Box<dyn Observer>) -> Self {
        Self { inner, observer, ended: false }
    }

    pub(super) fn inner(&self) -> &Body {
        &self.inner
    }

    pub(super) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_progress(cx)
    }

    pub(super) fn abandon(&mut self) {
        self.inner.abandon();
        self.end(End::Dropped);
    }

    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.inner.poll_next(cx));
        match &frame {
            Some(Ok(frame)) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => self.observer.on_data(data.len()),
                (None, trailers) => self.end(End::Complete { trailers }),
            },
            Some(Err(error)) => self.end(End::Failed(error)),
            None => self.end(End::Complete { trailers: None }),
        }
        Poll::Ready(frame)
    }

    fn end(&mut self, end: End<'_>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.observer.on_end(end);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // A reader that knows the body is at its end need not ask for the frame that says so.
        let end = if self.inner.is_end() { End::Complete { trailers: None } } else { End::Dropped };
        self.end(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_abi::Payload;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Observer for Log {
        fn on_data(&mut self, bytes: usize) {
            self.0.lock().unwrap().push(format!("data {bytes}"));
        }

        fn on_end(&mut self, end: End<'_>) {
            let end = match end {
                End::Complete { trailers } => format!("complete, trailers: {}", trailers.is_some()),
                End::Failed(error) => format!("failed: {error}"),
                End::Dropped => "dropped".to_owned(),
            };
            self.0.lock().unwrap().push(end);
        }
    }

    fn observe(body: Body, polls: usize) -> Vec<String> {
        let log = Log::default();
        let mut body = body.observed(Box::new(log.clone()));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..polls {
            assert!(body.poll_next(&mut cx).is_ready());
        }
        drop(body);
        let log = log.0.lock().unwrap();
        log.clone()
    }

    #[test]
    fn every_way_to_end_is_told_once() {
        let two =
            || Body::whole([Bytes::from_static(b"ab"), Bytes::from_static(b"c")].into_iter().collect(), None);
        assert_eq!(observe(two(), 4), ["data 2", "data 1", "complete, trailers: false"]);
        assert_eq!(observe(two(), 2), ["data 2", "data 1", "complete, trailers: false"]);
        assert_eq!(observe(two(), 1), ["data 2", "dropped"]);
        assert_eq!(observe(Body::empty(), 0), ["complete, trailers: false"]);
        let log = Log::default();
        let mut abandoned =
            Body::whole(Bytes::from_static(b"ab").into(), None).observed(Box::new(log.clone()));
        assert!(abandoned.poll_next(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
        abandoned.abandon();
        drop(abandoned);
        assert_eq!(
            *log.0.lock().unwrap(),
            ["data 2", "dropped"],
            "nothing was to come, but what came was not taken"
        );
        let with_trailers = Body::whole(Payload::new(), Some(Box::default()));
        assert_eq!(observe(with_trailers, 1), ["complete, trailers: true"]);
        let failing = Body::new(http_body_util::StreamBody::new(Fails));
        assert_eq!(observe(failing, 1), ["failed: no more"]);
    }

    struct Fails;

    impl futures_core::Stream for Fails {
        type Item = Result<Frame<Bytes>, std::io::Error>;

        fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(Some(Err(std::io::Error::other("no more"))))
        }
    }
}
