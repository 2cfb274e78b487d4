//! One timer for everything on a connection that must end in time.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep};

/// When what is due. `K` says what.
///
/// What ended before its time is not taken out: it is skipped when its time comes, and swept out when the
/// heap would hold more of the dead than of the living.
pub(super) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
    /// Made with the first entry: a connection without deadlines has no timer.
    sleep: Option<Pin<Box<Sleep>>>,
    /// After a sweep: what was left.
    living: usize,
}

/// Below this a sweep is not worth its while.
const SWEEP: usize = 64;

impl<K: Ord + Copy> Timers<K> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), sleep: None, living: 0 }
    }

    /// Calls [`poll_due`](Self::poll_due) later with `what`, if `lives` still says so of it then.
    pub(super) fn insert(&mut self, at: Instant, what: K, lives: impl Fn(K) -> bool) {
        if self.heap.len() >= SWEEP + 2 * self.living {
            self.heap.retain(|Reverse((_, what))| lives(*what));
            self.living = self.heap.len();
        }
        self.heap.push(Reverse((at, what)));
        match &mut self.sleep {
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
            Some(sleep) if at < sleep.deadline() || sleep.is_elapsed() => sleep.as_mut().reset(at),
            Some(_) => {}
        }
    }

    /// The next that is due and lives.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>, lives: impl Fn(K) -> bool) -> Poll<K> {
        loop {
            let Some(Reverse((at, what))) = self.heap.peek() else { return Poll::Pending };
            let (at, what) = (*at, *what);
            if !lives(what) {
                self.heap.pop();
                continue;
            }
            let Some(sleep) = &mut self.sleep else { return Poll::Pending };
            ready!(sleep.as_mut().poll(cx));
            // What it was set for may have ended meanwhile, and this be due later.
            if at <= Instant::now() {
                self.heap.pop();
                return Poll::Ready(what);
            }
            sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, collections::BTreeSet, future::poll_fn, time::Duration};

    #[tokio::test(start_paused = true)]
    async fn the_living_come_in_order_and_the_dead_do_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::new();
        let dead = [2, 5];
        let lives = |what: u64| !dead.contains(&what);
        for what in [5, 1, 4, 2, 3] {
            timers.insert(at(what), what, lives);
        }
        for expected in [1, 3, 4] {
            assert_eq!(poll_fn(|cx| timers.poll_due(cx, lives)).await, expected);
            assert_eq!(Instant::now(), at(expected));
        }
        assert!(futures_util::poll!(poll_fn(|cx| timers.poll_due(cx, lives))).is_pending());
        timers.insert(at(9), 9, lives);
        timers.insert(at(7), 7, lives);
        for expected in [7, 9] {
            assert_eq!(poll_fn(|cx| timers.poll_due(cx, lives)).await, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_end_early_leave_no_heap_behind() {
        let open = RefCell::new(BTreeSet::new());
        let lives = |what: u64| open.borrow().contains(&what);
        let mut timers = Timers::new();
        for call in 0..100_000 {
            open.borrow_mut().insert(call);
            timers.insert(Instant::now() + Duration::from_secs(30), call, lives);
            if call >= 10 {
                open.borrow_mut().remove(&(call - 10));
            }
        }
        assert!(timers.heap.len() <= SWEEP + 2 * 11, "{}", timers.heap.len());
        let due = poll_fn(|cx| timers.poll_due(cx, lives)).await;
        assert!(lives(due));
    }
}
