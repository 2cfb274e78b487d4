//! The clock of an HTTP/2 connection: keep-alive pings, idleness, and when large windows are not needed any more.

use prism_config::Http2;
use prism_http2::Pinger;
use prism_platform::time::{Instant, Sleep, sleep_until};
use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

/// How long a connection is without streams before its windows are made small. Long enough for the pauses between
/// calls of one client. It is looked at when the timer fires for another reason, at the latest at the next
/// keep-alive: memory that is only promised does not need a timer of its own.
const QUIET: Duration = Duration::from_secs(10);

pub(super) enum Due {
    /// No stream for so long that the connection may go.
    Idle,
    /// The peer answers no ping.
    Dead,
    /// The answer to the last ping came.
    Pong,
    /// No stream for a while, and windows that are larger than that needs.
    Quiet,
}

/// The connection's one timer: keep-alive pings, idleness, and the end of unread rests.
pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
    ping: Pinger,
    /// A ping without an answer: there can be one at a time.
    outstanding: bool,
    /// Since when the peer has to show that it lives, by any byte.
    ping_sent: Option<Instant>,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    idle_timeout: Duration,
    idle_since: Option<Instant>,
    /// GOAWAY went out for idleness: what is left is the time that the peer has to close.
    leaving: bool,
    reads: Rc<Cell<u64>>,
    reads_seen: u64,
    next_keepalive: Instant,
    /// When so much time has passed again.
    next_beat: Instant,
    beat: bool,
}

impl Clock {
    pub(super) fn new(limits: &Http2, idle_timeout: Duration, ping: Pinger, reads: Rc<Cell<u64>>) -> Self {
        let now = Instant::now();
        let next_keepalive = now + limits.keepalive_interval.get();
        Self {
            timer: Box::pin(sleep_until(next_keepalive.min(now + idle_timeout))),
            ping,
            outstanding: false,
            ping_sent: None,
            keepalive_interval: limits.keepalive_interval.get(),
            keepalive_timeout: limits.keepalive_timeout.get(),
            idle_timeout,
            idle_since: Some(now),
            leaving: false,
            reads,
            reads_seen: 0,
            next_keepalive,
            next_beat: next_keepalive,
            beat: false,
        }
    }

    /// Whether a keep-alive interval has passed since this was last so. It is looked at when the timer fires.
    pub(super) fn take_beat(&mut self) -> bool {
        std::mem::take(&mut self.beat)
    }

    /// Sends a ping, unless one is under way. Its answer is [`Due::Pong`].
    pub(super) fn ping(&mut self) -> bool {
        if self.outstanding {
            return false;
        }
        self.outstanding = self.ping.send();
        self.outstanding
    }

    /// What is due, one thing at a time: after anything but the end, it must be polled again.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        idle: bool,
        grown: bool,
        rest_deadline: Option<Instant>,
    ) -> Poll<Due> {
        if !idle {
            self.idle_since = None;
        } else if self.idle_since.is_none() {
            self.idle_since = Some(Instant::now());
        }
        if self.outstanding && self.ping.poll_answer(cx).is_ready() {
            self.outstanding = false;
            self.ping_sent = None;
            return Poll::Ready(Due::Pong);
        }
        if let Some(deadline) = rest_deadline.filter(|deadline| *deadline < self.timer.deadline()) {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= self.next_beat {
                self.beat = true;
                self.next_beat = now + self.keepalive_interval;
            }
            if let Some(due) = self.due(now, grown) {
                return Poll::Ready(due);
            }
            if rest_deadline.is_some_and(|end| end <= now) {
                // It has passed since the rests were looked at.
                cx.waker().wake_by_ref();
            }
            let idle_end = self.idle_since.map_or(now + self.idle_timeout, |since| since + self.idle_timeout);
            let keepalive = self.ping_sent.map_or(self.next_keepalive, |sent| sent + self.keepalive_timeout);
            let next = [
                Some(keepalive),
                Some(idle_end).filter(|end| *end > now),
                rest_deadline.filter(|end| *end > now),
            ];
            self.timer.as_mut().reset(next.into_iter().flatten().min().unwrap_or(keepalive));
        }
        Poll::Pending
    }

    fn due(&mut self, now: Instant, grown: bool) -> Option<Due> {
        if self.idle_since.is_some_and(|since| now >= since + self.idle_timeout) {
            if self.leaving {
                return Some(Due::Dead);
            }
            self.leaving = true;
            self.idle_timeout = self.keepalive_timeout;
            self.idle_since = Some(now);
            return Some(Due::Idle);
        }
        if grown && self.idle_since.is_some_and(|since| now >= since + QUIET) {
            return Some(Due::Quiet);
        }
        let reads = self.reads.get();
        if reads != self.reads_seen {
            // It is alive: bytes came. An unanswered ping does not matter then.
            self.reads_seen = reads;
            self.ping_sent = None;
            self.next_keepalive = now + self.keepalive_interval;
        } else if self.ping_sent.is_some_and(|sent| now >= sent + self.keepalive_timeout) {
            return Some(Due::Dead);
        } else if self.ping_sent.is_none() && now >= self.next_keepalive {
            self.next_keepalive = now + self.keepalive_interval;
            if self.ping() || self.outstanding {
                self.ping_sent = Some(now);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
