//! What ends a connection before its client does: the proxy goes away, or the client would not be let in any more.

use crate::{edge::Edge, listener::Orders};
use futures_util::Stream;
use prism_filters::{Reason, Rejection};
use prism_platform::time::{Sleep, sleep};
use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// How long a connection that was told to end has, to tell its client so: what is there to say is on its way at once.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a connection has to do.
#[derive(Debug)]
pub(super) enum Told {
    /// Finish what has begun, and begin nothing.
    Drain,
    /// Refuse what there is and what comes, for this reason. There is a second to say so.
    End(Rejection),
    /// The second is over.
    Over,
}

/// Watches over whether a connection may go on. Whatever else can end it (a policy, a token that all of it depends on) is
/// looked at in [`Watch::review`].
pub(super) struct Watch {
    edge: Rc<Edge>,
    peer: Option<SocketAddr>,
    orders: Pin<Box<dyn Stream<Item = Orders>>>,
    reviews: u64,
    drained: bool,
    /// What is waited for has come while nobody waited.
    due: bool,
    /// Until something may end by itself; once the connection has to end, until it is over. `None` for nearly all that are in
    /// clear: nothing ends by itself there.
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Watch {
    /// Over a connection whose handshake is done.
    pub(super) fn new(edge: &Rc<Edge>, peer: Option<SocketAddr>) -> Self {
        let mut watch = Self {
            orders: Box::pin(edge.orders()),
            reviews: edge.reviews(),
            edge: Rc::clone(edge),
            peer,
            drained: false,
            due: false,
            timer: None,
            ended: false,
        };
        watch.await_end();
        watch
    }

    fn await_end(&mut self) {
        let left = self.edge.client_end();
        // Now, and not when the timer has turned: a request may be there already.
        self.due = left.is_some_and(|left| left.is_zero());
        self.timer = left.filter(|_| !self.due).map(|left| Box::pin(sleep(left)));
    }

    /// Whether the time has come that was waited for.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> bool {
        self.due || self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }

    /// What there is to do, one thing at a time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        loop {
            if self.poll_due(cx) {
                (self.due, self.timer) = (false, None);
                if self.ended {
                    return Poll::Ready(Told::Over);
                }
                if let Some(refusal) = self.review() {
                    return self.end(refusal);
                }
                continue;
            }
            if self.ended {
                return Poll::Pending;
            }
            let orders = match self.orders.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                // Whoever gives orders is gone, and so is the listener.
                Poll::Ready(None) => Orders { drain: true, cut: true, reviews: self.reviews },
                Poll::Ready(Some(orders)) => orders,
            };
            if orders.cut {
                return self.end(Rejection::new(Reason::Draining, "the proxy is shutting down: call again"));
            }
            if orders.reviews != self.reviews {
                self.reviews = orders.reviews;
                if let Some(refusal) = self.review() {
                    return self.end(refusal);
                }
            }
            if orders.drain && !self.drained {
                self.drained = true;
                return Poll::Ready(Told::Drain);
            }
        }
    }

    fn end(&mut self, refusal: Rejection) -> Poll<Told> {
        self.ended = true;
        self.timer = Some(Box::pin(sleep(LAST_WORDS)));
        Poll::Ready(Told::End(refusal))
    }

    /// Whether the connection must end, now that something has changed or ended.
    fn review(&mut self) -> Option<Rejection> {
        match self.edge.verify_client() {
            Ok(()) => {
                self.await_end();
                None
            }
            Err(why) => {
                self.edge.client_refused(self.peer, &why);
                let refusal =
                    Rejection::new(Reason::InvalidCredentials, "the call's credentials are not accepted");
                Some(
                    refusal
                        .by(prism_filters::tls::NAME)
                        .with_detail(format!("the client's certificate: {why}")),
                )
            }
        }
    }
}
