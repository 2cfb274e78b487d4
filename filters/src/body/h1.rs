//! A body received over HTTP/1.1. What is unread of it when it is dropped is kept for its connection, which must know
//! whether the next request can be found behind it.

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Where the unread rest of a connection's current request is. The lock is never contended: it is there because a body may
/// be dropped on another thread.
#[derive(Debug, Default)]
pub struct H1Rest(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// The request is being read and served.
    #[default]
    Serving,
    /// It was dropped before its end.
    Unread(Incoming),
    /// It was answered before its end and is still being read. Whoever stops that wakes its connection, which would else
    /// wait for the rest without a deadline.
    Answered(Waker),
}

impl H1Rest {
    /// Called when the request is answered. Takes what is unread of it, if it was dropped before its end; else `waker` is
    /// woken when that happens.
    #[must_use]
    pub fn answered(&self, waker: &Waker) -> Option<Incoming> {
        match mem::replace(&mut *self.lock(), State::Answered(waker.clone())) {
            State::Unread(incoming) => Some(incoming),
            State::Serving | State::Answered(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct H1Body {
    incoming: Option<Incoming>,
    rest: Arc<H1Rest>,
}

impl H1Body {
    pub(super) fn new(incoming: Incoming, rest: Arc<H1Rest>) -> Self {
        *rest.lock() = State::Serving;
        Self { incoming: Some(incoming), rest }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    pub(super) fn exact_len(&self) -> Option<u64> {
        self.incoming.as_ref().and_then(|incoming| incoming.size_hint().exact())
    }
}

impl Drop for H1Body {
    fn drop(&mut self) {
        if let Some(incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) {
            let mut state = self.rest.lock();
            if let State::Answered(waker) = &*state {
                let waker = waker.clone();
                drop(state);
                // This first: the connection looks whether anybody still reads.
                drop(incoming);
                waker.wake();
            } else {
                *state = State::Unread(incoming);
            }
        }
    }
}
