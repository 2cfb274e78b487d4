//! An HTTP/2 connection: one loop that takes every request there is, moves every stream that can move, and
//! only then writes. One write per turn, not one per answer, is what makes it cheap.

use super::{
    clock::{Clock, Due},
    detect::Replay,
    stream::{self, Ended},
    unread::Unread,
    watch::{Told, Watch},
};
use crate::{edge::Edge, head::is_grpc};
use futures_util::stream::{FuturesUnordered, StreamExt};
use prism_config::Http2;
use prism_filters::{Body, body::Drain};
use prism_http2::{Connection, Reason, Settings};
use prism_platform::{
    WindowGrowth, Windows,
    time::{Instant, timeout_at},
};
use std::{
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

pub(super) async fn serve(edge: Rc<Edge>, io: Replay, peer: Option<SocketAddr>, deadline: Instant) {
    let limits = edge.limits();
    let reads = io.reads();
    let handshake = Connection::handshake(io, settings(&limits.http2));
    // Boxed, or its room would stay part of this future for as long as the connection lives.
    let handshake = Box::pin(timeout_at(deadline, handshake));
    let Ok(Ok(mut connection)) = handshake.await else { return };
    let mut clock = Clock::new(&limits.http2, limits.idle_timeout, connection.pinger(), reads);
    let unread = Unread::new();
    let mut growth = growth(&edge);
    let mut streams = FuturesUnordered::new();
    let mut watch = Watch::new(&edge, peer);
    let (mut goaway_sent, mut ended) = (false, None);
    let mut given_up = GivenUp::default();

    let mut poll = |cx: &mut Context<'_>| {
        while let Poll::Ready(told) = watch.poll(cx) {
            if matches!(told, Told::Over) {
                return Poll::Ready(());
            }
            if !goaway_sent {
                connection.graceful_shutdown();
                goaway_sent = true;
            }
            if let Told::End(refusal) = told {
                stream::end_all(&mut streams, &refusal);
                ended = Some(refusal);
            }
        }
        loop {
            // 1. Every request that is there.
            loop {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, mut respond)))) => {
                        if let Some(refusal) = &ended {
                            // It had not seen the GOAWAY yet.
                            stream::refuse(&mut respond, is_grpc(request.headers()), refusal);
                            continue;
                        }
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
            let mut too_much = given_up.are_too_many(connection.take_given_up());
            while let Poll::Ready(Some(how)) = streams.poll_next_unpin(cx) {
                finished = true;
                too_much |= given_up.is_too_much(how);
            }
            if too_much {
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                streams.clear();
                finished = true;
            }
            // 3. Round again only if one finished: it may have been what the connection's end waits for.
            if !finished {
                break;
            }
        }
        // 4. Windows that this connection's bodies are too large for.
        let taken = unread.taken();
        growth.settle(taken);
        if growth.wants_measurement(taken) && clock.ping() {
            growth.measure(taken);
        }
        let due = clock.poll(cx, streams.is_empty(), growth.is_grown(), unread.next_deadline());
        if clock.take_beat() {
            connection.forgive();
            given_up = GivenUp::default();
        }
        let windows = match due {
            Poll::Ready(Due::Pong) => growth.measured(taken),
            Poll::Ready(Due::Quiet) => growth.shrink(taken),
            _ => None,
        };
        if let Some(windows) = windows {
            connection.set_connection_window(windows.connection);
            // Refused while the peer has not acknowledged the SETTINGS before: it keeps the windows that it has.
            let _ = connection.set_stream_window(windows.stream);
        }
        match due {
            Poll::Ready(Due::Dead) => return Poll::Ready(()),
            // The clock has looked at this only; and whether an end is all that is left is for the accepting to say.
            Poll::Ready(due) => {
                if matches!(due, Due::Idle) && !std::mem::replace(&mut goaway_sent, true) {
                    connection.graceful_shutdown();
                }
                cx.waker().wake_by_ref();
            }
            Poll::Pending => {}
        }
        // 5. One write of all that.
        match connection.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    };
    poll_fn(&mut poll).await;
}

/// Calls that a client has given up before there was an answer, within a keep-alive interval: short deadlines while something is
/// down, or days of long polls, are no attack.
///
/// Each has opened a call behind the proxy and ended it, which costs those behind more than the client; and those that are
/// reset before they are begun cost it, too ("rapid reset", CVE-2023-44487). As many may be given up as are not, and five
/// hundred more, which is Envoy's figure (`overload.premature_reset_total_stream_count`): a client that sends each call
/// twice and takes the first answer never comes near it.
#[derive(Default)]
struct GivenUp {
    given_up: u64,
    others: u64,
}

impl GivenUp {
    const MORE: u64 = 500;

    fn is_too_much(&mut self, ended: Ended) -> bool {
        match ended {
            Ended::GivenUp => self.are_too_many(1),
            Ended::Otherwise => {
                self.others += 1;
                false
            }
        }
    }

    fn are_too_many(&mut self, given_up: u64) -> bool {
        self.given_up += given_up;
        self.given_up > self.others + Self::MORE
    }
}

fn growth(edge: &Edge) -> WindowGrowth {
    let limits = &edge.limits().http2;
    let initial = Windows {
        stream: limits.initial_stream_window_bytes.as_u32(),
        connection: limits.initial_connection_window_bytes.as_u32(),
    };
    let most = Windows {
        stream: limits.max_stream_window_bytes.as_u32(),
        connection: limits.max_connection_window_bytes.as_u32(),
    };
    WindowGrowth::new(Arc::clone(edge.worker().platform().windows()), initial, most)
}

pub(super) fn settings(limits: &Http2) -> Settings {
    let most_turn = limits.max_send_buffer_bytes.as_usize();
    Settings {
        max_concurrent_streams: limits.max_concurrent_streams,
        max_header_list: limits.max_header_list_bytes.as_u32(),
        max_frame: limits.max_frame_bytes.as_u32(),
        stream_window: limits.initial_stream_window_bytes.as_u32(),
        connection_window: limits.initial_connection_window_bytes.as_u32(),
        most_turn,
        // One is written while the next is made.
        most_output: 2 * most_turn,
    }
}
