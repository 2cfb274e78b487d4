//! A service over HTTP/2: all requests of a worker share one connection.

use super::{Outbound, Reply};
use crate::{
    channel::ForwardError,
    http2::{Answered, Opened, Received, Trailers, drive, exchange, handshake},
    upstream::{self, Admitted, Carrier, Closed, Connection, Dialled, Failed, Target, Who},
};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prism_platform::Platform;
use std::{
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
};

/// One open HTTP/2 connection.
pub(super) struct Http2 {
    send: SendRequest<Bytes>,
    /// Bytes that readers have taken of its answers.
    taken: Arc<AtomicU64>,
}

impl Carrier for Http2 {
    const UNWATCHED: bool = true;

    async fn handshake(platform: &Platform, target: &Target) -> Result<Dialled<Self>, String> {
        let Opened { send, driver, ping, peer } = handshake(platform, target, Who::Control).await?;
        let taken = Arc::<AtomicU64>::default();
        let carrier = Self { send, taken: Arc::clone(&taken) };
        let platform = platform.clone();
        let driver = Box::pin(async move {
            match drive(driver, ping, &platform, taken).await {
                Ok(()) => Closed::Ended("closed in good order".to_owned()),
                Err(error) if error.is_library() => Closed::Violated(error.to_string()),
                Err(error) => Closed::Ended(error.to_string()),
            }
        });
        Ok(Dialled { carrier, peer, driver })
    }

    fn takes_calls(&self) -> bool {
        // h2 tells when a call is sent.
        true
    }

    fn at_once(&self) -> usize {
        self.send.current_max_send_streams()
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
    outbound: Outbound,
) -> Result<Reply, Failed> {
    let carrier = &connection.carrier;
    exchange(&connection, &carrier.send, request, outbound.body, |answered, cx| {
        let Answered { response, upload } = answered;
        let (head, receive) = response.into_parts();
        if receive.is_end_stream() {
            return Ok(Reply::whole(head, Bytes::new().into(), None));
        }
        let mut received = Received::<Any>::new(receive, Arc::clone(&carrier.taken));
        if let Some(trailers) = received.gather(cx)? {
            return Ok(Reply::whole(head, received.into_gathered(), trailers));
        }
        let admitted =
            admitted.take().ok_or_else(|| ForwardError::Unavailable("the call ended already".into()))?;
        Ok(Reply::stream(head, Box::new(upstream::Reply::new(received, upload, admitted))))
    })
    .await
}
