//! How long a call may go on: until the caller's deadline, however long the plugin thinks it has, and for as long as the
//! caller may make it.

use crate::{
    edge::Edge,
    rights::{Basis, Right, Seated},
    snapshot::Place,
};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use pin_project_lite::pin_project;
use prism_filters::{
    Body, Caller, Reason, Rejection, RequestContext,
    body::{BodyError, Duplex},
};
use prism_platform::time::{Instant, Sleep, sleep_until};
use send_wrapper::SendWrapper;
use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

/// Runs a call until its deadline, and for as long as its caller may make it; its answer's body included.
pub(super) fn within<'a, F>(cx: &'a RequestContext, terms: Option<Terms<'a>>, call: F) -> Within<'a, F>
where
    F: Future<Output = Result<Response<Body>, Rejection>>,
{
    Within { call, cx, terms, timer: None, seat: None, begun: false }
}

/// What a call was let in by.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) edge: &'a Rc<Edge>,
    pub(super) place: Option<&'a Arc<Place>>,
    pub(super) basis: Basis,
}

impl Terms<'_> {
    /// Something has changed since the call was let in, or its caller's time is up.
    fn are_old(&self, cx: &RequestContext) -> bool {
        let ended = |end: Instant| end <= cx.now();
        self.edge.rights().now() != self.basis || cx.caller().and_then(Caller::expires).is_some_and(ended)
    }

    fn right(&self, cx: &RequestContext, seat: Option<Seated>) -> Right {
        Right::new(self.edge, self.place, self.basis, cx, seat)
    }

    /// Whether a call of which nothing has been done yet may be made now: its client may have held it back for as long as it
    /// liked.
    ///
    /// # Errors
    /// It may not any more.
    pub(super) fn check(&self, cx: &RequestContext) -> Result<(), Rejection> {
        match cx.caller().is_some() && self.are_old(cx) {
            true => self.right(cx, None).while_it_is_held_back().recheck(),
            false => Ok(()),
        }
    }

    /// The same for each piece of a body that is still arriving. `None` where nobody decides by what comes late: no rules are
    /// asked, or an authorizer has approved the call, which is not asked again.
    pub(super) fn gate(&self, cx: &RequestContext) -> Option<Gate> {
        (cx.grant().is_some() && cx.approval().is_none()).then(|| Gate {
            right: SendWrapper::new(Box::new(self.right(cx, None).while_it_is_held_back())),
            checked: self.basis,
        })
    }
}

/// What a call has to pass while its body arrives.
pub(super) struct Gate {
    /// It stays on its worker, as the body does.
    right: SendWrapper<Box<Right>>,
    checked: Basis,
}

impl Gate {
    /// # Errors
    /// Something has changed, and the call would not be let in any more.
    pub(super) fn check(&mut self) -> Result<(), Rejection> {
        let now = self.right.now();
        match std::mem::replace(&mut self.checked, now) == now {
            true => Ok(()),
            false => self.right.recheck(),
        }
    }
}

pin_project! {
    /// Written out, because `timeout` holds a timer's room for the calls that have no deadline too, and sets one for
    /// those that never wait.
    pub(super) struct Within<'a, F> {
        #[pin]
        call: F,
        cx: &'a RequestContext,
        terms: Option<Terms<'a>>,
        timer: Option<Timer>,
        // Its right is put together when it is asked for: few calls' ever is.
        seat: Option<Seated>,
        begun: bool,
    }
}

type Timer = Pin<Box<Sleep>>;

impl<F: Future<Output = Result<Response<Body>, Rejection>>> Future for Within<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let (cx, deadline) = (*this.cx, this.cx.deadline());
        // Filters may have waited for its operation, as long as its client liked.
        if !std::mem::replace(this.begun, true)
            && let Some(Err(rejection)) = this.terms.as_ref().map(|terms| terms.check(cx))
        {
            return Poll::Ready(Err(rejection));
        }
        // The call comes first: one that is ready at its deadline is still answered.
        match this.call.poll(task) {
            Poll::Ready(Ok(mut response)) => {
                // What is all at hand needs no more time.
                if response.body().exact_len().is_some() || (deadline.is_none() && this.terms.is_none()) {
                    return Poll::Ready(Ok(response));
                }
                let timer = this.timer.take().or_else(|| deadline.map(|until| Box::pin(sleep_until(until))));
                let seat = this.seat.take();
                let right = this
                    .terms
                    .as_ref()
                    .map(|terms| SendWrapper::new(Box::new(terms.right(cx, seat).while_it_answers())));
                let body = std::mem::take(response.body_mut());
                *response.body_mut() =
                    Body::from_duplex(Box::new(Bounded { body, timer, deadline, right, over: None }));
                Poll::Ready(Ok(response))
            }
            Poll::Ready(Err(refused)) => Poll::Ready(Err(refused)),
            Poll::Pending => {
                if let Some(deadline) = deadline {
                    let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                    if timer.as_mut().poll(task).is_ready() {
                        return Poll::Ready(Err(passed()));
                    }
                }
                // Whoever is nobody in particular loses no right while an answer is prepared.
                let Some(terms) = this.terms.as_ref().filter(|_| cx.caller().is_some()) else {
                    return Poll::Pending;
                };
                if Seated::is_due(this.seat, terms.edge, terms.basis, cx.caller(), task.waker())
                    && let Err(rejection) = terms.right(cx, None).recheck()
                {
                    return Poll::Ready(Err(rejection));
                }
                Poll::Pending
            }
        }
    }
}

fn passed() -> Rejection {
    Rejection::new(Reason::DeadlineExceeded, "the call's deadline passed before its answer was complete")
}

struct Bounded {
    body: Body,
    timer: Option<Timer>,
    deadline: Option<Instant>,
    /// It stays on its worker, as every answer does.
    right: Option<SendWrapper<Box<Right>>>,
    /// What ended it while nobody asked for a frame.
    over: Option<Rejection>,
}

impl Duplex for Bounded {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(rejection) = self.over.take() {
            return self.end(rejection);
        }
        if let Poll::Ready(rejection) = self.poll_right(cx) {
            return self.end(rejection);
        }
        match self.body.poll_next(cx) {
            // A body that is never pending must not outrun its deadline either.
            Poll::Ready(Some(Ok(frame)))
                if frame.is_data() && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) =>
            {
                self.end(passed())
            }
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending if self.poll_deadline(cx).is_ready() => self.end(passed()),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A client that takes nothing has a deadline too, and its rights end like anybody's.
        if self.over.is_none() {
            match (self.poll_right(cx), self.poll_deadline(cx)) {
                (Poll::Ready(rejection), _) => self.over = Some(rejection),
                (_, Poll::Ready(())) => self.over = Some(passed()),
                _ => return self.body.poll_progress(cx),
            }
            self.body = Body::empty();
        }
        Poll::Ready(())
    }

    fn is_end(&self) -> bool {
        self.over.is_none() && self.body.is_end()
    }
}

impl Bounded {
    fn poll_right(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        match &mut self.right {
            Some(right) => right.poll_ended(cx),
            None => Poll::Pending,
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn end(&mut self, rejection: Rejection) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Dropping it cancels the call all the way to the plugin; nothing is left to be looked at.
        (self.body, self.timer, self.right) = (Body::empty(), None, None);
        Poll::Ready(Some(Err(rejection.into())))
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
        let mut body = within(&context(), None, async { Ok(Response::new(body)) }).await.unwrap().into_body();
        poll_fn(|cx| body.poll_progress(cx)).await;
        let ended = poll_fn(|cx| body.poll_next(cx)).await;
        assert!(
            matches!(ended, Some(Err(BodyError::Rejected(rejection))) if rejection.reason() == Reason::DeadlineExceeded)
        );
        assert!(poll_fn(|cx| body.poll_next(cx)).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn neither_the_head_nor_the_body_outlives_the_deadline() {
        let refused = within(&context(), None, std::future::pending()).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::DeadlineExceeded);

        let answered =
            within(&context(), None, async { Ok(Response::new(Body::from_duplex(Box::new(Never)))) }).await;
        let mut body = answered.unwrap().into_body();
        let ended = poll_fn(|cx| body.poll_next(cx)).await;
        assert!(
            matches!(ended, Some(Err(BodyError::Rejected(rejection))) if rejection.reason() == Reason::DeadlineExceeded)
        );
        assert!(body.is_end() || poll_fn(|cx| body.poll_next(cx)).await.is_none());
    }
}
