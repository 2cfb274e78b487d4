//! The client's messages, pulled by a plugin over the boundary.

use crate::{
    Code, Error, Request,
    ffi::{
        MAX_TEXT_BYTES, broken,
        handle::Handle,
        layout::{Message, PRISM_END, PRISM_PENDING, PRISM_READY, Source},
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
pub(super) struct Requests(Handle<Source>);

impl Requests {
    /// # Safety
    /// `source` is null or valid, and handed over.
    pub(super) unsafe fn new(source: *mut Source) -> Self {
        // SAFETY: the caller's promise is the same.
        Self(unsafe { Handle::new(source) })
    }
}

impl Stream for Requests {
    type Item = Result<Request, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(poll_next) = self.0.vtable().and_then(|vtable| vtable.poll_next) else {
            return Poll::Ready(None);
        };
        let lent = waker::Lent::new(cx.waker());
        let mut message = Message::unwritten();
        // SAFETY: the source is alive and used by this thread alone; the others are lent for the call.
        let polled = unsafe { poll_next(self.0.as_ptr(), lent.as_ffi(), &raw mut message) };
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
            self.0.end();
        }
        Poll::Ready(next)
    }
}
