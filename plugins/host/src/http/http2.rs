//! A service over HTTP/2: all requests of a worker share one connection.

use super::Reply;
use crate::{
    channel::{ForwardError, WireBody},
    http2::{Answered, Open, Received, Trailers, exchange, open},
    upstream::{self, Admitted, Carrier, Connection, Dialled, Failed, Target, Who},
};
use bytes::Bytes;
use http::{HeaderMap, Request};
use prism_platform::Platform;
use std::{rc::Rc, sync::Arc};

/// One open HTTP/2 connection.
pub(super) struct Http2(Open);

impl Carrier for Http2 {
    const UNWATCHED: bool = true;

    async fn handshake(platform: &Platform, target: &Target) -> Result<Dialled<Self>, String> {
        open(platform, target, Who::Control, Self).await
    }

    fn takes_calls(&self) -> bool {
        // h2 tells when a call is sent.
        true
    }

    fn at_once(&self) -> usize {
        self.0.at_once()
    }
}

/// Whatever ends the answer, or nothing.
struct Any;

impl Trailers for Any {
    fn checked(trailers: Option<HeaderMap>) -> Result<Option<HeaderMap>, ForwardError> {
        Ok(trailers)
    }
}

/// Sends one request, once.
pub(super) async fn attempt(
    connection: Rc<Connection<Http2>>,
    request: Request<()>,
    admitted: &mut Option<Admitted>,
    body: WireBody,
) -> Result<Reply, Failed> {
    let Http2(open) = &connection.carrier;
    exchange(&connection, &open.send, request, body, |answered, cx| {
        let Answered { response, upload } = answered;
        let (head, receive) = response.into_parts();
        if receive.is_end_stream() {
            return Ok(Reply::whole(head, Bytes::new().into(), None));
        }
        let mut received = Received::<Any>::new(receive, Arc::clone(&open.taken));
        if let Some(trailers) = received.gather(cx)? {
            return Ok(Reply::whole(head, received.into_gathered(), trailers));
        }
        let admitted =
            admitted.take().ok_or_else(|| ForwardError::Unavailable("the call ended already".into()))?;
        Ok(Reply::stream(head, Box::new(upstream::Reply::new(received, upload, admitted))))
    })
    .await
}
