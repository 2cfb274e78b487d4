//! A body received over HTTP/1.1. What is unread of it when it is dropped is kept for its connection, which must know
//! whether the next request can be found behind it.

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// Where the unread rest of a connection's current request is. The lock is never contended: it is there because a body may
/// be dropped on another thread.
#[derive(Debug, Default)]
pub struct H1Rest(Mutex<Option<Incoming>>);

impl H1Rest {
    /// Takes it, if the request was dropped before its end.
    #[must_use]
    pub fn take(&self) -> Option<Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

pub(super) struct H1Body {
    incoming: Option<Incoming>,
    rest: Arc<H1Rest>,
}

impl H1Body {
    pub(super) fn new(incoming: Incoming, rest: Arc<H1Rest>) -> Self {
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
            *self.rest.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(incoming);
        }
    }
}
