//! The client's messages, lent to a plugin to pull.

use crate::{
    Error, RequestStream,
    ffi::{
        contain,
        layout::{Message, PRISM_END, PRISM_PENDING, PRISM_READY, Request, Source, SourceVtable, Str, Waker},
        message::OutgoingRequest,
        panicked, waker,
    },
};
use std::{
    borrow::Cow,
    task::{Context, Poll},
};

#[repr(C)]
struct Given {
    head: Source,
    requests: Option<RequestStream>,
    outgoing: OutgoingRequest,
    error: Cow<'static, str>,
}

static VTABLE: SourceVtable =
    SourceVtable { size: size_of::<SourceVtable>(), poll_next: Some(poll_next), drop: Some(drop_source) };

/// A source that is the other side's from now on.
pub(super) fn give(requests: RequestStream) -> *mut Source {
    Box::into_raw(Box::new(Given {
        head: Source { vtable: &raw const VTABLE },
        requests: Some(requests),
        outgoing: OutgoingRequest::new(),
        error: Cow::Borrowed(""),
    }))
    .cast()
}

unsafe extern "C" fn poll_next(source: *mut Source, waker: *const Waker, message: *mut Message) -> i32 {
    // SAFETY: only `give` names this function; the other side uses it on one thread at a time, and has not dropped
    // it.
    let this = unsafe { &mut *source.cast::<Given>() };
    let Some(requests) = &mut this.requests else { return PRISM_END };
    // SAFETY: lent for this poll.
    let waker = unsafe { waker::lent(waker) };
    let mut cx = Context::from_waker(waker.get());
    let polled = contain(|| requests.as_mut().poll_next(&mut cx));
    let (code, request) = match polled.unwrap_or_else(|| Poll::Ready(Some(Err(panicked())))) {
        Poll::Pending => return PRISM_PENDING,
        Poll::Ready(None) => {
            this.end();
            return PRISM_END;
        }
        Poll::Ready(Some(Ok(request))) => (0, this.outgoing.lend(request)),
        Poll::Ready(Some(Err(Error { code, message, .. }))) => {
            this.end();
            this.error = message;
            (code.number(), Request::empty())
        }
    };
    let error = if code == 0 { Str::NONE } else { Str::of(this.error.as_bytes()) };
    // SAFETY: the other side's place for it, of version 1.0 at least.
    unsafe {
        (*message).code = code;
        (*message).error = error;
        (*message).request = request;
    }
    PRISM_READY
}

unsafe extern "C" fn drop_source(source: *mut Source) {
    // SAFETY: as in `poll_next`; this is its last use.
    unsafe { Box::from_raw(source.cast::<Given>()) }.end();
}

impl Given {
    fn end(&mut self) {
        let requests = self.requests.take();
        contain(|| drop(requests));
    }
}
