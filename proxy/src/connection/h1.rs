//! An HTTP/1.1 connection, on hyper. Above this file nothing knows which protocol it was.

use super::{
    detect::Replay,
    watch::{Told, Watch},
};
use crate::{edge::Edge, stack};
use http::{HeaderValue, Request, Version, header};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prism_filters::{
    Body,
    body::{End, H1Rest, Observer},
};
use prism_platform::time::timeout;
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, ready},
    time::Duration,
};

/// How much of a request that was answered before its end is read, and for how long: what a client sends in a second
/// segment, right behind the head. Clients on one connection would else lose their next call to a refusal of this one.
const MOST_BYTES: u64 = 64 * 1024;
const MOST_TIME: Duration = Duration::from_millis(250);

/// Reads what is left of a request, if that is little. Whether it has ended.
async fn ends_soon(mut unread: Incoming) -> bool {
    if unread.size_hint().lower() > MOST_BYTES {
        return false;
    }
    let mut bytes = 0;
    let read = poll_fn(|cx| {
        loop {
            match ready!(Pin::new(&mut unread).poll_frame(cx)) {
                None => return Poll::Ready(true),
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) => return Poll::Ready(false),
            }
            if bytes > MOST_BYTES {
                return Poll::Ready(false);
            }
        }
    });
    timeout(MOST_TIME, read).await.unwrap_or(false)
}

/// Sees an answer without a length to its end, towards a client of HTTP/1.0.
struct Finish(Arc<AtomicBool>);

impl Observer for Finish {
    fn on_end(&mut self, end: End<'_>) {
        if matches!(end, End::Complete { .. }) {
            self.0.store(false, Ordering::Relaxed);
        }
    }
}

pub(super) async fn serve(edge: Rc<Edge>, io: Replay, peer: Option<SocketAddr>) {
    let limits = edge.limits();
    let service = service_fn({
        let edge = Rc::clone(&edge);
        let rest = Arc::<H1Rest>::default();
        let unfinished = io.unfinished();
        move |request: Request<Incoming>| {
            let (edge, rest, unfinished) = (Rc::clone(&edge), Arc::clone(&rest), Arc::clone(&unfinished));
            async move {
                let is_old = request.version() == Version::HTTP_10;
                // Reading a body is what asks for one that waits to be asked (RFC 9110, section 10.1.1).
                let waits = request.headers().contains_key(header::EXPECT);
                let request = request.map(|body| Body::from_h1(body, Arc::clone(&rest)));
                let mut response = stack::serve(edge, request, peer).await;
                let unread = poll_fn(|cx| Poll::Ready(rest.answered(cx.waker()))).await;
                if let Some(unread) = unread
                    && (waits || !ends_soon(unread).await)
                {
                    // Behind it nobody finds the next request. RFC 9112, section 9.6: "A server that intends to close the
                    // connection SHOULD send a Connection header field with the close connection option".
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                if is_old && response.body().exact_len().is_none() {
                    // RFC 9112 section 6.3: its length "is determined by the number of octets received prior to the server
                    // closing the connection".
                    unfinished.store(true, Ordering::Relaxed);
                    response = response.map(|body| body.observed(Box::new(Finish(unfinished))));
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    let connection = http1::Builder::new()
        // Without a timer hyper's header time-out is silently off.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.http1.header_timeout.get())
        .max_headers(limits.http1.max_headers)
        .max_buf_size(limits.http1.max_header_bytes.as_usize())
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let mut watch = Watch::new(&edge, peer);
    poll_fn(|cx| {
        let mut ends = false;
        while let Poll::Ready(told) = watch.poll(cx) {
            connection.as_mut().graceful_shutdown();
            ends |= !matches!(told, Told::Drain);
        }
        // An error ends the connection as well; the client has had its 4xx where there is one.
        match connection.as_mut().poll(cx) {
            // In the middle of an answer nothing can be said any more: that it breaks off says it.
            Poll::Pending if !ends => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
}
