//! Both sides against each other, and the proxy's against plugins that do what they must not.

mod honest;
mod wicked;

use crate::{
    Call, CallContext, Error, Opening, Request, RequestStream, Task,
    ffi::{EncodedPlugin, Method, Observer},
};
use bytes::Bytes;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

#[allow(clippy::disallowed_methods)] // nothing here depends on it
fn clock() -> Instant {
    Instant::now()
}

/// Reads the real clock, and counts.
#[derive(Default)]
struct Watching {
    long: AtomicUsize,
    skew: AtomicUsize,
}

impl Observer for Watching {
    fn now(&self) -> Instant {
        clock()
    }

    /// Moves as far as the test says, each time it is read.
    fn tick(&self) -> Duration {
        let step = self.skew.load(Ordering::SeqCst);
        Duration::from_millis(self.skew.fetch_add(step, Ordering::SeqCst) as u64)
    }

    fn long_poll(&self, _: Duration) {
        self.long.fetch_add(1, Ordering::SeqCst);
    }
}

fn watching() -> Arc<Watching> {
    Arc::default()
}

type OnControl = fn(Method, Bytes) -> Task<Result<Bytes, Error>>;
type OnExecute = fn(CallContext, Request) -> Call;
type OnStream = fn(CallContext, Request, RequestStream) -> Opening;

/// A plugin made of three functions.
#[derive(Clone, Copy)]
struct Functions {
    control: OnControl,
    execute: OnExecute,
    stream: OnStream,
}

impl Default for Functions {
    fn default() -> Self {
        Self {
            control: |_, _| panic!("no control call is expected"),
            execute: |_, _| panic!("no call is expected"),
            stream: |_, _, _| panic!("no stream is expected"),
        }
    }
}

impl EncodedPlugin for Functions {
    fn control(&self, method: Method, message: Bytes) -> Task<Result<Bytes, Error>> {
        (self.control)(method, message)
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        (self.execute)(context, request)
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        (self.stream)(context, first, rest)
    }
}

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn now<F: Future + Unpin>(mut future: F) -> F::Output {
    match poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

fn next<S: futures_core::Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

/// Counts wakes.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
