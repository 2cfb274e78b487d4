//! An HTTP/2 connection: one loop that takes every request there is, moves every stream that can move, and
//! only then lets `h2` write. One write per turn, not one per answer, is what makes it cheap.

use super::{detect::Replay, stream, unread::Unread};
use crate::edge::Edge;
use ::h2::{Ping, PingPong, server};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prism_config::Http2;
use prism_filters::{Body, body::Drain};
use prism_platform::time::{Instant, Sleep, sleep_until, timeout};
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

pub(super) async fn serve(edge: Rc<Edge>, io: Replay, peer: Option<SocketAddr>) {
    let limits = edge.limits();
    let reads = io.reads();
    let handshake = builder(&limits.http2).handshake::<_, Bytes>(io);
    // Boxed, or its room would stay part of this future for as long as the connection lives.
    let handshake = Box::pin(timeout(limits.handshake_timeout, handshake));
    let Ok(Ok(mut connection)) = handshake.await else { return };
    let mut clock = Clock::new(&limits.http2, limits.idle_timeout, connection.ping_pong(), reads);
    let unread = Unread::new();
    let mut streams = FuturesUnordered::new();
    let mut draining = pin!(edge.draining());
    let mut cut = pin!(edge.cut());
    let (mut goaway_sent, mut is_cut) = (false, false);

    poll_fn(|cx| {
        if !goaway_sent && draining.as_mut().poll(cx).is_ready() {
            connection.graceful_shutdown();
            goaway_sent = true;
        }
        if !is_cut && cut.as_mut().poll(cx).is_ready() {
            is_cut = true;
            // Dropped, each tells its client that the proxy goes away (see `stream`).
            streams.clear();
        }
        loop {
            // 1. Every request that is there. `poll_accept` also reads, and writes what is queued.
            loop {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        let drain: Arc<dyn Drain> = Arc::<Unread>::clone(&unread);
                        let request = request.map(|body| Body::from_h2(body, drain));
                        streams.push(stream::serve(Rc::clone(&edge), request, respond, peer));
                    }
                    // Over, by the peer's GOAWAY, by ours, or by an error: the streams go with it.
                    Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            // 2. Every stream that can move.
            let mut finished = unread.poll(cx);
            while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {
                finished = true;
            }
            // 3. Round again only if one finished: what the others queued wakes this task by itself.
            if !finished {
                break;
            }
        }
        match clock.poll(cx, streams.is_empty(), unread.next_deadline()) {
            Poll::Ready(Due::Idle) if !goaway_sent => {
                connection.graceful_shutdown();
                goaway_sent = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Due::Idle) | Poll::Pending => Poll::Pending,
            Poll::Ready(Due::Dead) => Poll::Ready(()),
        }
    })
    .await;
}

fn builder(limits: &Http2) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_list_bytes.as_u32())
        .max_frame_size(limits.max_frame_bytes.as_u32())
        .initial_window_size(limits.initial_stream_window_bytes.as_u32())
        .initial_connection_window_size(limits.initial_connection_window_bytes.as_u32())
        .max_send_buffer_size(limits.max_send_buffer_bytes.as_usize());
    builder
}

enum Due {
    /// No stream for so long that the connection may go.
    Idle,
    /// The peer answers no ping.
    Dead,
}

/// The connection's one timer: keep-alive pings, idleness, and the end of unread rests.
struct Clock {
    timer: Pin<Box<Sleep>>,
    ping: Option<PingPong>,
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
}

impl Clock {
    fn new(limits: &Http2, idle_timeout: Duration, ping: Option<PingPong>, reads: Rc<Cell<u64>>) -> Self {
        let now = Instant::now();
        let next_keepalive = now + limits.keepalive_interval.get();
        Self {
            timer: Box::pin(sleep_until(next_keepalive.min(now + idle_timeout))),
            ping,
            ping_sent: None,
            keepalive_interval: limits.keepalive_interval.get(),
            keepalive_timeout: limits.keepalive_timeout.get(),
            idle_timeout,
            idle_since: Some(now),
            leaving: false,
            reads,
            reads_seen: 0,
            next_keepalive,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, idle: bool, rest_deadline: Option<Instant>) -> Poll<Due> {
        if !idle {
            self.idle_since = None;
        } else if self.idle_since.is_none() {
            self.idle_since = Some(Instant::now());
        }
        if self.ping_sent.is_some()
            && let Some(ping) = &mut self.ping
            && ping.poll_pong(cx).is_ready()
        {
            self.ping_sent = None;
        }
        if let Some(deadline) = rest_deadline.filter(|deadline| *deadline < self.timer.deadline()) {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if let Some(due) = self.due(now) {
                return Poll::Ready(due);
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

    fn due(&mut self, now: Instant) -> Option<Due> {
        if self.idle_since.is_some_and(|since| now >= since + self.idle_timeout) {
            if self.leaving {
                return Some(Due::Dead);
            }
            self.leaving = true;
            self.idle_timeout = self.keepalive_timeout;
            self.idle_since = Some(now);
            return Some(Due::Idle);
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
            if let Some(ping) = &mut self.ping
                && ping.send_ping(Ping::opaque()).is_ok()
            {
                self.ping_sent = Some(now);
            }
        }
        None
    }
}
