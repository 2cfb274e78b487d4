//! A service over HTTP/2: all requests of a worker share one connection.

use super::{Reply, framing};
use crate::{
    channel::{ForwardError, WireBody},
    http2::{Answered, Open, Received, Trailers, exchange, open},
    upstream::{self, Admitted, Carrier, Connection, Dialled, Failed, Target, Who},
};
use bytes::Bytes;
use http::{HeaderMap, Request};
use prism_platform::Platform;
use std::rc::Rc;

/// One open HTTP/2 connection.
pub(super) struct Http2(Open);

impl Carrier for Http2 {
    const UNWATCHED: bool = true;

    async fn handshake(platform: &Platform, target: &Target) -> Result<Dialled<Self>, String> {
        let dialled = open(platform, target, Who::Control, Self).await?;
        // Requests would wait for what perhaps never comes, each until its own deadline.
        if dialled.carrier.at_once() == 0 {
            return Err("it takes no requests: its SETTINGS_MAX_CONCURRENT_STREAMS is 0".to_owned());
        }
        Ok(dialled)
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
    let method = request.method().clone();
    exchange(&connection, &open.send, request, body, |answered, cx| {
        let Answered { response, upload } = answered;
        let (mut head, receive) = response.into_parts();
        framing::settle(&mut head)?;
        if receive.is_end_stream() || !framing::has_content(&method, head.status) {
            return Ok(Reply::whole(head, Bytes::new().into(), None));
        }
        let mut received = Received::<Any>::new(receive, &open.readers);
        if let Some(trailers) = received.gather(cx)? {
            return Ok(Reply::whole(head, received.into_gathered(), trailers));
        }
        let admitted =
            admitted.take().ok_or_else(|| ForwardError::Unavailable("the call ended already".into()))?;
        Ok(Reply::stream(head, Box::new(upstream::Reply::new(received, upload, admitted))))
    })
    .await
}
