//! What is left of requests that were answered before their body had ended, and how much of all bodies has been taken.
//!
//! A client that is still sending would else get RST_STREAM at once and may drop the answer with it
//! (RFC 9113 §8.1 allows NO_ERROR, but not every client honours it). So a little is read and thrown away.

use prism_filters::body::Drain;
use prism_http2::RecvStream;
use prism_platform::time::Instant;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// How much of one request, and for how long: enough for what was in flight when the answer left.
const MOST_BYTES: usize = 64 * 1024;
const MOST_TIME: Duration = Duration::from_secs(1);

/// Requests of one connection whose rest is thrown away. The lock is never contended: it is there because a
/// body may be dropped on another thread.
#[derive(Default)]
pub(super) struct Unread {
    rests: Mutex<Vec<Rest>>,
    taken: AtomicU64,
}

struct Rest {
    stream: RecvStream,
    bytes: usize,
    until: Instant,
}

impl Drain for Unread {
    fn take(&self, stream: RecvStream) {
        let rest = Rest { stream, bytes: 0, until: Instant::now() + MOST_TIME };
        self.rests.lock().unwrap_or_else(PoisonError::into_inner).push(rest);
    }

    fn took(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Unread {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Reads what came. True when some are done: their streams' frames are to be written.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> bool {
        let mut rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rests.len();
        if before == 0 {
            return false;
        }
        let now = Instant::now();
        rests.retain_mut(|rest| {
            let bytes = rest.bytes;
            let waits = rest.poll(cx, now);
            self.taken.fetch_add((rest.bytes - bytes) as u64, Ordering::Relaxed);
            waits
        });
        rests.len() < before
    }

    /// Bytes that readers have taken of this connection's bodies.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// When the first of them has had its time.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|rest| rest.until).min()
    }
}

impl Rest {
    /// True while there is something to wait for. Dropping the stream resets it with NO_ERROR.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        while let Poll::Ready(data) = self.stream.poll_data(cx) {
            let Some(Ok(data)) = data else { return false };
            self.bytes += data.len();
            self.stream.release(data.len());
            if self.bytes > MOST_BYTES {
                return false;
            }
        }
        now < self.until
    }
}
