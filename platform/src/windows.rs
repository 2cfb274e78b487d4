//! Receive windows that grow where a receiver runs short, within one budget for the whole process.
//!
//! A window is a promise of memory: a peer may send so much before anybody reads it. Small windows bound what an
//! attacker holds, and make a large body wait for a round trip at every window. So windows start small, and those of
//! a connection grow while its bodies use a whole one within a round trip, which is measured with a PING: the
//! bandwidth-delay estimate of gRPC ("gRPC-Go performance improvements", grpc.io, 2017) and of hyper's
//! `adaptive_window`. Unlike there, growth is paid from a budget.
//!
//! What counts against the budget is a connection's window above its initial one, because it bounds what can be
//! unread on all its streams together. A stream's window that stays within it costs nothing more.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Most data between two measurements that led to nothing: below it they double, so that a connection that has
/// what it needs is not pinged at every window.
const LAST_PAUSE: u64 = 16 << 20;

/// What the receive windows of all connections together may have above their initial sizes.
#[derive(Debug)]
pub struct WindowBudget {
    used: AtomicU64,
    limit: AtomicU64,
}

impl WindowBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit: AtomicU64::new(limit) }
    }

    /// Changes it. What is taken stays taken: below it, nothing grows until enough was given back.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        bytes == 0 || self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The receive windows of a connection, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of each stream.
    pub stream: u32,
    /// Of all of them together.
    pub connection: u32,
}

/// How far one connection's windows have grown. It only decides; whoever owns the connection sends the PINGs
/// and sets the windows. `taken` is always the number of bytes that the readers of its bodies have taken so far.
#[derive(Debug)]
pub struct WindowGrowth {
    budget: Arc<WindowBudget>,
    initial: Windows,
    most: Windows,
    now: Windows,
    /// Taken from the budget.
    charged: u64,
    /// A PING is under way, and this was taken when it left.
    measuring: Option<u64>,
    /// What was taken when the last measurement ended, and how much more must be before the next.
    last: u64,
    pause: u64,
    /// The windows were made small again; when this is taken, the peer has used up what it had been promised.
    settled_at: Option<u64>,
}

impl WindowGrowth {
    /// Windows that begin at `initial` and end at `most`. A part of `most` below `initial` does not grow.
    #[must_use]
    pub fn new(budget: Arc<WindowBudget>, initial: Windows, most: Windows) -> Self {
        let most = Windows {
            stream: most.stream.max(initial.stream),
            connection: most.connection.max(initial.connection),
        };
        Self {
            budget,
            initial,
            most,
            now: initial,
            charged: 0,
            measuring: None,
            last: 0,
            pause: u64::from(initial.stream),
            settled_at: None,
        }
    }

    /// Whether a PING is worth its while: a window's worth went by, and there is something to win.
    #[must_use]
    pub fn wants_measurement(&self, taken: u64) -> bool {
        self.now != self.most && self.measuring.is_none() && taken - self.last >= self.pause
    }

    /// A PING leaves now.
    pub fn measure(&mut self, taken: u64) {
        self.measuring = Some(taken);
    }

    /// Its answer is here. The windows to set, where they are to grow.
    pub fn measured(&mut self, taken: u64) -> Option<Windows> {
        let start = self.measuring.take()?;
        self.last = taken;
        // Two thirds, as in gRPC: a sender that fills its window shows up a little below it, because the PING
        // stood in the queue behind data.
        let short = (taken - start) * 3 >= u64::from(self.now.stream) * 2;
        if short && self.grow() {
            self.pause = u64::from(self.now.stream);
            return Some(self.now);
        }
        self.pause = self.pause.saturating_mul(2).min(LAST_PAUSE);
        None
    }

    /// Fourfold: two steps from 64 KiB to 1 MiB, and at most three quarters of a window are more than is needed.
    fn grow(&mut self) -> bool {
        let stream = self.now.stream.saturating_mul(4).min(self.most.stream);
        // The connection's window keeps the distance that it has at the end, or one stalled body could stall
        // its siblings on the way there.
        let ratio = (self.most.connection / self.most.stream.max(1)).max(1);
        let connection = stream.saturating_mul(ratio).clamp(self.now.connection, self.most.connection);
        let next = Windows { stream, connection };
        let cost = u64::from(connection - self.initial.connection);
        if next == self.now || !self.budget.take(cost.saturating_sub(self.charged)) {
            return false;
        }
        self.charged = self.charged.max(cost);
        self.settled_at = None;
        self.now = next;
        true
    }

    /// Whether they are above their initial sizes.
    #[must_use]
    pub fn is_grown(&self) -> bool {
        self.now != self.initial
    }

    /// The connection is idle: the windows to set, unless they are small already.
    ///
    /// A promise cannot be taken back (RFC 9113, section 6.9.2, knows negative windows for streams only): the
    /// peer may still send what the connection's window was. The budget gets it back when the peer has used it
    /// up, or when the connection ends; see [`settle`](Self::settle).
    pub fn shrink(&mut self, taken: u64) -> Option<Windows> {
        if !self.is_grown() {
            return None;
        }
        self.settled_at = Some(taken + u64::from(self.now.connection - self.initial.connection));
        self.now = self.initial;
        // What it would count was taken with the larger windows.
        self.measuring = None;
        self.pause = u64::from(self.initial.stream);
        self.last = taken;
        Some(self.now)
    }

    /// Gives back what a smaller window has freed.
    pub fn settle(&mut self, taken: u64) {
        if self.settled_at.is_some_and(|at| taken >= at) {
            self.settled_at = None;
            self.budget.give(std::mem::take(&mut self.charged));
        }
    }
}

impl Drop for WindowGrowth {
    fn drop(&mut self) {
        self.budget.give(self.charged);
    }
}

#[cfg(test)]
mod tests;
