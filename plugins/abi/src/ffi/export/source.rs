//! The client's messages, pulled by a plugin over the boundary.

use crate::{
    Code, Error, Request,
    ffi::{
        MAX_TEXT_BYTES, broken,
        layout::{Message, PRISM_END, PRISM_PENDING, PRISM_READY, Source, SourceVtable},
        message::read_request,
        text, waker,
    },
};
use futures_core::Stream;
use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// Owns a source of the proxy's.
pub(super) struct Requests(*mut Source);

// SAFETY: the ABI lets the source's owner use it on any one thread at a time.
unsafe impl Send for Requests {}

impl Requests {
    /// # Safety
    /// `source` is null or valid, and handed over.
    pub(super) unsafe fn new(source: *mut Source) -> Self {
        Self(source)
    }

    fn vtable(&self) -> Option<&'static SourceVtable> {
        // SAFETY: null or valid; a source begins with its vtable, which lives as long as the process.
        unsafe { self.0.as_ref().and_then(|source| source.vtable.as_ref()) }
    }

    fn end(&mut self) {
        let drop = self.vtable().and_then(|vtable| vtable.drop);
        let source = std::mem::replace(&mut self.0, std::ptr::null_mut());
        if let Some(drop) = drop {
            // SAFETY: it is ours, and this is its last use.
            unsafe { drop(source) };
        }
    }
}

impl Stream for Requests {
    type Item = Result<Request, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(poll_next) = self.vtable().and_then(|vtable| vtable.poll_next) else {
            return Poll::Ready(None);
        };
        let lent = waker::Lent::new(cx.waker());
        let mut message = Message::unwritten();
        // SAFETY: the source is alive and used by this thread alone; the others are lent for the call.
        let polled = unsafe { poll_next(self.0, lent.as_ffi(), &raw mut message) };
        let next = match polled {
            PRISM_PENDING => return Poll::Pending,
            PRISM_READY if message.code != 0 => {
                // SAFETY: it stays until the next call on the source.
                let text = unsafe { text::read(message.error, MAX_TEXT_BYTES) }.ok().flatten();
                let text = String::from_utf8_lossy(text.unwrap_or_default()).into_owned();
                Some(Err(Error::channel(Code::from_number(message.code), text)))
            }
            PRISM_READY => {
                // SAFETY: as above, and the buffers are handed over.
                Some(unsafe { read_request(&message.request) }.map_err(|error| broken(error.0)))
            }
            PRISM_END => None,
            _ => Some(Err(broken("the source answered with an unknown code"))),
        };
        if !matches!(next, Some(Ok(_))) {
            self.end();
        }
        Poll::Ready(next)
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.end();
    }
}
