//! Calls that wait for a thread, and how many there are.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
};

static ALIVE: AtomicI64 = AtomicI64::new(0);

/// Something that must end.
pub(crate) struct Alive;

impl Alive {
    pub(crate) fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Self
    }

    pub(crate) fn count() -> i64 {
        ALIVE.load(Ordering::SeqCst)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Pending once, and woken at once.
pub(crate) async fn woken_once() {
    let mut pending = true;
    poll_fn(|cx| {
        if std::mem::take(&mut pending) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Woken so many times from a thread, through clones and by reference, before and after it is dropped.
pub(crate) struct Later {
    shared: Arc<Shared>,
    /// Ready with the last wake; else never.
    ends: bool,
    started: bool,
    wakes: u32,
}

#[derive(Default)]
struct Shared {
    waker: Mutex<Option<Waker>>,
    done: Mutex<bool>,
}

impl Later {
    pub(crate) fn start(wakes: u32, ends: bool) -> Self {
        Self { shared: Arc::default(), ends, started: false, wakes }
    }
}

impl Future for Later {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if !std::mem::replace(&mut self.started, true) {
            let (shared, wakes) = (Arc::clone(&self.shared), self.wakes);
            thread::spawn(move || shared.wake_often(wakes));
        }
        let done = *self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done && self.ends { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Shared {
    fn wake_often(&self, wakes: u32) {
        for left in (0..wakes).rev() {
            thread::yield_now();
            if left == 0 {
                *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            }
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(waker) = waker else { continue };
            waker.wake_by_ref();
            let clone = waker.clone();
            drop(waker);
            clone.wake();
        }
    }
}
