//! One request on an open connection: its head, its body under the peer's window, and the answer's head.

use crate::{
    channel::{ForwardError, WireBody},
    upstream::{Carrier, Connection, Failed, Sink, Upload},
};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::SendRequest};
use http::{Request, Response};
use prism_plugin_abi::Payload;
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
};

/// Asked for at a time. The connection's window is shared: what one call has reserved, others cannot use.
const RESERVE: usize = 64 << 10;

/// What happened to a call that h2 reports as broken.
pub(crate) fn broken(error: &h2::Error) -> ForwardError {
    match error.reason() {
        Some(reason) if error.is_library() => {
            ForwardError::Protocol(format!("it sent what HTTP/2 does not allow ({reason:?})"))
        }
        Some(reason) if error.is_go_away() => {
            ForwardError::Unavailable(format!("it closed the connection ({reason:?})"))
        }
        Some(reason) => ForwardError::Unavailable(format!("it reset the call ({reason:?})")),
        None => ForwardError::Unavailable(format!("the connection broke: {error}")),
    }
}

/// The peer says that it has not begun with the call (RFC 9113 section 8.7).
fn not_begun(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// An answer's head, and what is left of the request's body.
pub(crate) struct Answered {
    pub(crate) response: Response<RecvStream>,
    pub(crate) upload: Option<Upload<SendStream<Bytes>>>,
}

/// Sends one request, once, and hands the answer to `answered` in the same poll in which it came: what came with it is
/// then still at hand.
///
/// # Errors
/// Whether the peer may have begun with the request, and what happened; the body where it was not touched.
pub(crate) async fn exchange<C: Carrier, T>(
    connection: &Connection<C>,
    send: &SendRequest<Bytes>,
    request: Request<()>,
    body: WireBody,
    mut answered: impl FnMut(Answered, &mut Context<'_>) -> Result<T, ForwardError>,
) -> Result<T, Failed> {
    let empty = matches!(&body, WireBody::Whole(payload) if payload.is_empty());
    let (response, mut stream) = match send.clone().send_request(request, empty) {
        Ok(sent) => sent,
        Err(error) => {
            // The connection takes no more calls; nothing was sent, so any body is still at hand.
            connection.close();
            return Err(Failed::NotBegun(broken(&error), Some(body)));
        }
    };
    let mut again = None;
    let mut upload = match body {
        _ if empty => {
            again = Some(Payload::new());
            None
        }
        // It is here and takes no more memory when h2 holds it. A stream gets its window only after the
        // connection has written its head, so waiting for that would be a second turn, a second write here and
        // a second read there, for every small call.
        WireBody::Whole(payload) if payload.len() <= RESERVE => {
            again = Some(payload.clone());
            send_whole(&mut stream, payload);
            None
        }
        body => Some(Upload::new(stream, body)),
    };
    let mut response = pin!(response);
    poll_fn(|cx| {
        if let Some(upload) = &mut upload
            && let Poll::Ready(Err(error)) = upload.poll(cx)
        {
            return Poll::Ready(Err(Failed::Broken(error)));
        }
        Poll::Ready(match ready!(response.as_mut().poll(cx)) {
            Ok(response) => {
                answered(Answered { response, upload: upload.take() }, cx).map_err(Failed::Broken)
            }
            Err(error) if not_begun(&error) => {
                let body = again.take().map(WireBody::Whole).or_else(|| upload.take()?.rewind());
                Err(Failed::NotBegun(broken(&error), body))
            }
            Err(error) => Err(Failed::Broken(broken(&error))),
        })
    })
    .await
}

/// Queues a whole body. Fails only on a stream that is reset already, and then its answer says why.
fn send_whole(stream: &mut SendStream<Bytes>, mut payload: Payload) {
    while !payload.is_empty() && !payload.is_single() {
        let piece = payload.pop().unwrap_or_default();
        if stream.send_data(piece, false).is_err() {
            return;
        }
    }
    let _ = stream.send_data(payload.into_bytes(), true);
}

impl Sink for SendStream<Bytes> {
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Option<usize>> {
        self.reserve_capacity(wanted.min(RESERVE));
        loop {
            // `poll_capacity` reports growth only; what is there already has to be asked for.
            match self.capacity() {
                0 => match ready!(SendStream::poll_capacity(self, cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(None),
                },
                capacity => return Poll::Ready(Some(capacity)),
            }
        }
    }

    fn send(&mut self, piece: Bytes, last: bool) -> bool {
        self.send_data(piece, last).is_ok()
    }

    fn cancel(&mut self) {
        self.send_reset(Reason::CANCEL);
    }
}
