//! Watchers: a bounded buffer each. Nobody waits for one, and none is silently thinned.

use crate::Config;
use bytes::Bytes;
use futures_core::Stream;
use prism_plugin_sdk::{
    abi::{Code, Error},
    kv::{EventKind, WatchEvent, fell_behind},
};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// All watchers of an instance.
#[derive(Default)]
pub(crate) struct Watchers(Vec<Arc<Mutex<Buffer>>>);

struct Buffer {
    prefix: String,
    limits: Config,
    events: VecDeque<WatchEvent>,
    bytes: usize,
    /// Why no further events come, to be said after those that are there.
    end: Option<Error>,
    /// The stream has been dropped, or has said its end.
    gone: bool,
    waker: Option<Waker>,
}

fn lock(buffer: &Mutex<Buffer>) -> MutexGuard<'_, Buffer> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(event: &WatchEvent) -> usize {
    event.key.len() + event.value.len()
}

impl Watchers {
    pub(crate) fn add(&mut self, prefix: String, limits: Config) -> Result<Watcher, Error> {
        self.0.retain(|buffer| !lock(buffer).gone);
        if self.0.len() >= limits.max_watchers {
            return Err(Error::operation(
                Code::ResourceExhausted,
                format!("the namespace has {} watchers, its most; raise `max_watchers`", self.0.len()),
            ));
        }
        let buffer = Arc::new(Mutex::new(Buffer {
            prefix,
            limits,
            events: VecDeque::new(),
            bytes: 0,
            end: None,
            gone: false,
            waker: None,
        }));
        self.0.push(buffer.clone());
        Ok(Watcher(buffer))
    }

    /// Those that are still there.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().filter(|buffer| !lock(buffer).gone).count()
    }

    pub(crate) fn tell(&mut self, kind: EventKind, key: &str, value: &Bytes) {
        self.0.retain(|buffer| {
            let mut buffer = lock(buffer);
            if !buffer.gone && buffer.end.is_none() && key.starts_with(&*buffer.prefix) {
                buffer.push(WatchEvent { kind: kind.into(), key: key.to_owned(), value: value.clone() });
            }
            // One that fell behind holds what it has not read until it is gone: it counts until then.
            !buffer.gone
        });
    }

    pub(crate) fn end(&mut self, error: &Error) {
        for buffer in self.0.drain(..) {
            lock(&buffer).end(error.clone());
        }
    }
}

impl Buffer {
    fn push(&mut self, event: WatchEvent) {
        let size = size(&event);
        let full = self.events.len() >= self.limits.watch_buffer
            || (!self.events.is_empty() && self.bytes + size > self.limits.watch_buffer_bytes);
        if full {
            // Those that are there are still true, and still in order.
            self.end(fell_behind(self.events.len()));
            return;
        }
        self.bytes += size;
        self.events.push_back(event);
        self.wake();
    }

    fn end(&mut self, error: Error) {
        self.end.get_or_insert(error);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// One watcher's events.
pub(crate) struct Watcher(Arc<Mutex<Buffer>>);

impl Stream for Watcher {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut buffer = lock(&self.0);
        if let Some(event) = buffer.events.pop_front() {
            buffer.bytes -= size(&event);
            return Poll::Ready(Some(Ok(event)));
        }
        if buffer.gone {
            return Poll::Ready(None);
        }
        if let Some(error) = buffer.end.take() {
            buffer.gone = true;
            return Poll::Ready(Some(Err(error)));
        }
        buffer.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut buffer = lock(&self.0);
        buffer.gone = true;
        buffer.events.clear();
    }
}
