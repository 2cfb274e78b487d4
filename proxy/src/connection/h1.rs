//! An HTTP/1.1 connection, on hyper. Above this file nothing knows which protocol it was.

use super::detect::Replay;
use crate::{edge::Edge, stack};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prism_filters::Body;
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
};

pub(super) async fn serve(edge: Rc<Edge>, io: Replay, peer: Option<SocketAddr>) {
    let limits = edge.limits();
    let service = service_fn({
        let edge = Rc::clone(&edge);
        move |request: Request<Incoming>| {
            let edge = Rc::clone(&edge);
            async move { Ok::<_, Infallible>(stack::serve(edge, request.map(Body::from_h1), peer).await) }
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
    let mut draining = pin!(edge.draining());
    let mut told = false;
    poll_fn(|cx| {
        if !told && draining.as_mut().poll(cx).is_ready() {
            connection.as_mut().graceful_shutdown();
            told = true;
        }
        // An error ends the connection as well; the client has had its 4xx where there is one.
        connection.as_mut().poll(cx).map(|_| ())
    })
    .await;
}
