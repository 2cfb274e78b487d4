//! One request on an open connection: its head, its body under the peer's window, and the answer's head.

use crate::{
    channel::{ForwardError, WireBody},
    upstream::{Carrier, Connection, Ended, Failed, Sink, Upload},
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
    let again = match &body {
        WireBody::Whole(payload) => Some(WireBody::Whole(payload.clone())),
        WireBody::Stream(_) => None,
    };
    let mut upload = match body {
        _ if empty => None,
        // It is here and takes no more memory when h2 holds it. A stream gets its window only after the
        // connection has written its head, so waiting for that would be a second turn, a second write here and
        // a second read there, for every small call.
        WireBody::Whole(payload) if payload.len() <= RESERVE => {
            send_whole(&mut stream, payload);
            None
        }
        body => Some(Upload::new(stream, body)),
    };
    let mut response = pin!(response);
    poll_fn(|cx| {
        if let Some(error) = drive(&mut upload, cx) {
            return Poll::Ready(Err(Failed::Broken(error)));
        }
        Poll::Ready(match ready!(response.as_mut().poll(cx)) {
            Ok(response) => {
                answered(Answered { response, upload: upload.take() }, cx).map_err(Failed::Broken)
            }
            Err(error) if not_begun(&error) => Err(Failed::NotBegun(broken(&error), None)),
            Err(error) => Err(Failed::Broken(broken(&error))),
        })
    })
    .await
    .map_err(|failed| match failed {
        Failed::NotBegun(error, _) => Failed::NotBegun(error, again),
        failed @ Failed::Broken(_) => failed,
    })
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

/// Moves the upload along; an error of the client's side ends the call.
fn drive(upload: &mut Option<Upload<SendStream<Bytes>>>, cx: &mut Context<'_>) -> Option<ForwardError> {
    match upload.as_mut()?.poll(cx) {
        Poll::Pending => return None,
        Poll::Ready(Ended::Source(error)) => return Some(ForwardError::Source(error)),
        // A peer that wants no more may still answer; if it reset the call, the response says so.
        Poll::Ready(Ended::Sent | Ended::Stopped) => *upload = None,
    }
    None
}
