//! The caller's deadline, enforced here however long the plugin thinks it has.

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use pin_project_lite::pin_project;
use prism_filters::{
    Body, Reason, Rejection, RequestContext,
    body::{BodyError, Duplex},
};
use prism_platform::time::{Instant, Sleep, sleep_until};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Runs a call until its deadline, its answer's body included.
pub(super) fn within<F>(cx: &RequestContext, call: F) -> Within<F>
where
    F: Future<Output = Result<Response<Body>, Rejection>>,
{
    Within { call, deadline: cx.deadline(), timer: None }
}

pin_project! {
    /// Written out, because `timeout` holds a timer's room for the calls that have no deadline too, and sets one for
    /// those that never wait.
    pub(super) struct Within<F> {
        #[pin]
        call: F,
        deadline: Option<Instant>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Rejection>>> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // The call comes first: one that is ready at its deadline is still answered.
        let answer = this.call.poll(cx);
        let Some(deadline) = *this.deadline else { return answer };
        match answer {
            Poll::Ready(Ok(mut response)) => {
                // What is all at hand needs no more time.
                if response.body().exact_len().is_none() {
                    let body = std::mem::take(response.body_mut());
                    let timer = this.timer.take().unwrap_or_else(|| Box::pin(sleep_until(deadline)));
                    *response.body_mut() =
                        Body::from_duplex(Box::new(Until { body, timer, deadline, passed: false }));
                }
                Poll::Ready(Ok(response))
            }
            Poll::Ready(Err(refused)) => Poll::Ready(Err(refused)),
            Poll::Pending => {
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                timer.as_mut().poll(cx).map(|()| Err(passed()))
            }
        }
    }
}

fn passed() -> Rejection {
    Rejection::new(Reason::DeadlineExceeded, "the call's deadline passed before its answer was complete")
}

struct Until {
    body: Body,
    timer: Pin<Box<Sleep>>,
    deadline: Instant,
    /// It passed while nobody asked for a frame.
    passed: bool,
}

impl Duplex for Until {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if std::mem::take(&mut self.passed) {
            return self.end();
        }
        match self.body.poll_next(cx) {
            // A body that is never pending must not outrun its deadline either.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && Instant::now() >= self.deadline => self.end(),
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending if self.timer.as_mut().poll(cx).is_ready() => self.end(),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A client that takes nothing has a deadline too.
        if self.passed || self.timer.as_mut().poll(cx).is_ready() {
            self.passed = true;
            self.body = Body::empty();
            return Poll::Ready(());
        }
        self.body.poll_progress(cx)
    }

    fn is_end(&self) -> bool {
        !self.passed && self.body.is_end()
    }
}

impl Until {
    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Dropping it cancels the call all the way to the plugin.
        self.body = Body::empty();
        Poll::Ready(Some(Err(passed().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_filters::{Protocol, RequestStart};
    use std::{future::poll_fn, time::Duration};

    fn context() -> RequestContext {
        RequestContext::new(RequestStart {
            deadline: Some(Instant::now() + Duration::from_secs(5)),
            ..RequestStart::new(Protocol::Grpc, "demo")
        })
    }

    struct Never;

    impl Duplex for Never {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Pending
        }

        fn poll_progress(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_has_a_deadline_too() {
        let body = Body::from_duplex(Box::new(Never));
        let mut body = within(&context(), async { Ok(Response::new(body)) }).await.unwrap().into_body();
        poll_fn(|cx| body.poll_progress(cx)).await;
        let ended = poll_fn(|cx| body.poll_next(cx)).await;
        assert!(
            matches!(ended, Some(Err(BodyError::Rejected(rejection))) if rejection.reason() == Reason::DeadlineExceeded)
        );
        assert!(poll_fn(|cx| body.poll_next(cx)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn neither_the_head_nor_the_body_outlives_the_deadline() {
        let refused = within(&context(), std::future::pending()).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::DeadlineExceeded);

        let answered =
            within(&context(), async { Ok(Response::new(Body::from_duplex(Box::new(Never)))) }).await;
        let mut body = answered.unwrap().into_body();
        let ended = poll_fn(|cx| body.poll_next(cx)).await;
        assert!(
            matches!(ended, Some(Err(BodyError::Rejected(rejection))) if rejection.reason() == Reason::DeadlineExceeded)
        );
        assert!(body.is_end() || poll_fn(|cx| body.poll_next(cx)).await.is_none());
    }
}
