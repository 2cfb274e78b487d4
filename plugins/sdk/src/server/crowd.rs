//! Futures of which there may be so many: with one more, the oldest gives way.

use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable, abortable},
    stream::FuturesUnordered,
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A bounded set of futures.
pub(super) struct Crowd<F> {
    futures: FuturesUnordered<Numbered<F>>,
    /// Those that have not ended, by age.
    ages: BTreeMap<u64, AbortHandle>,
    next: u64,
    limit: usize,
}

struct Numbered<F> {
    number: u64,
    future: Pin<Box<Abortable<F>>>,
}

impl<F: Future> Future for Numbered<F> {
    /// `None` of one that gave way.
    type Output = (u64, Option<F::Output>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(self.future.poll_unpin(cx));
        Poll::Ready((self.number, ended.ok()))
    }
}

impl<F: Future> Crowd<F> {
    /// Of at most so many.
    pub(super) fn new(limit: usize) -> Self {
        Self { futures: FuturesUnordered::new(), ages: BTreeMap::new(), next: 0, limit }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ages.len()
    }

    /// Ends so many of the oldest.
    pub(super) fn drop_oldest(&mut self, count: usize) {
        for _ in 0..count {
            if let Some((_, oldest)) = self.ages.pop_first() {
                oldest.abort();
            }
        }
    }

    /// One more.
    pub(super) fn push(&mut self, future: F) {
        if self.ages.len() >= self.limit {
            self.drop_oldest(1);
        }
        let (future, abort) = abortable(future);
        self.ages.insert(self.next, abort);
        self.futures.push(Numbered { number: self.next, future: Box::pin(future) });
        self.next += 1;
    }

    /// What the next of them that ends came to; pending while there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> F::Output {
        loop {
            match self.futures.next().await {
                Some((number, ended)) => {
                    self.ages.remove(&number);
                    if let Some(output) = ended {
                        return output;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn the_oldest_gives_way_to_one_too_many() {
        let mut crowd = Crowd::new(3);
        let mut add = || {
            let (send, receive) = oneshot::channel::<u8>();
            crowd.push(receive);
            assert!(crowd.next().now_or_never().is_none());
            send
        };
        let mut senders: Vec<_> = (0..3).map(|_| add()).collect();
        senders.push(add());
        senders.push(add());
        assert_eq!(
            senders.iter().map(oneshot::Sender::is_closed).collect::<Vec<_>>(),
            [true, true, false, false, false]
        );
        // Who has ended is not the oldest any more.
        senders.remove(3).send(7).unwrap();
        assert_eq!(crowd.next().now_or_never().unwrap(), Ok(7));
        let (late, receive) = oneshot::channel();
        crowd.push(receive);
        assert!(crowd.next().now_or_never().is_none());
        assert!(!senders[2].is_closed() && !senders[3].is_closed());
        late.send(8).unwrap();
        assert_eq!(crowd.next().now_or_never().unwrap(), Ok(8));
    }
}
