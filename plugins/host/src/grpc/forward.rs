//! One call over gRPC: frames are moved, nothing is decoded.

use super::{
    dial::{Opened, drive as drive_connection, handshake},
    head,
    reply::{broken, not_begun, reply},
};
use crate::{
    channel::{ForwardError, Rpc, WireBody, WireReply},
    upstream::{Admitted, Carrier, Closed, Connection, Dialled, Ended, Failed, Sink, Target, Upload, Who},
};
use bytes::Bytes;
use h2::{Reason, SendStream, client::SendRequest};
use http::Uri;
use prism_platform::Platform;
use prism_plugin_abi::{CallContext, Payload};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, ready},
};

/// Asked for at a time. The connection's window is shared: what one call has reserved, others cannot use.
const RESERVE: usize = 64 << 10;

/// gRPC, as one open HTTP/2 connection.
pub(crate) struct Grpc {
    send: SendRequest<Bytes>,
    execute: Uri,
    execute_stream: Uri,
    /// Bytes that readers have taken of its answers.
    taken: Arc<AtomicU64>,
}

impl Grpc {
    fn uri(&self, rpc: Rpc) -> Uri {
        match rpc {
            Rpc::Execute => self.execute.clone(),
            Rpc::ExecuteStream => self.execute_stream.clone(),
        }
    }
}

impl Carrier for Grpc {
    async fn handshake(platform: &Platform, target: &Target) -> Result<Dialled<Self>, String> {
        let Opened { send, driver, ping, peer } = handshake(platform, target, Who::Worker).await?;
        let authority = target.authority();
        let uri = |method| {
            format!("http://{authority}/prism.plugin.BackendPlugin/{method}").parse().unwrap_or_default()
        };
        let taken = Arc::<AtomicU64>::default();
        let carrier = Self {
            send,
            execute: uri("Execute"),
            execute_stream: uri("ExecuteStream"),
            taken: Arc::clone(&taken),
        };
        let platform = platform.clone();
        let driver = Box::pin(async move {
            match drive_connection(driver, ping, &platform, taken).await {
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

    async fn attempt(
        connection: Rc<Connection<Self>>,
        rpc: Rpc,
        context: &CallContext,
        admitted: &mut Option<Admitted>,
        body: WireBody,
    ) -> Result<WireReply, Failed> {
        let carrier = &connection.carrier;
        let request = head::request(carrier.uri(rpc), context)?;
        let (response, mut stream) = match carrier.send.clone().send_request(request, false) {
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
            poll_response(response.as_mut(), &mut upload, admitted, &carrier.taken, cx)
        })
        .await
        .map_err(|failed| match failed {
            Failed::NotBegun(error, _) => Failed::NotBegun(error, again),
            failed @ Failed::Broken(_) => failed,
        })
    }
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
        // A plugin that wants no more may still answer; if it reset the call, the response says so.
        Poll::Ready(Ended::Sent | Ended::Stopped) => *upload = None,
    }
    None
}

fn poll_response(
    response: Pin<&mut h2::client::ResponseFuture>,
    upload: &mut Option<Upload<SendStream<Bytes>>>,
    admitted: &mut Option<Admitted>,
    taken: &Arc<AtomicU64>,
    cx: &mut Context<'_>,
) -> Poll<Result<WireReply, Failed>> {
    let response = match ready!(response.poll(cx)) {
        Ok(response) => response,
        Err(error) if not_begun(&error) => return Poll::Ready(Err(Failed::NotBegun(broken(&error), None))),
        Err(error) => return Poll::Ready(Err(Failed::Broken(broken(&error)))),
    };
    let Some(admitted) = admitted.take() else {
        return Poll::Ready(Err(Failed::Broken(ForwardError::Unavailable("the call ended already".into()))));
    };
    Poll::Ready(reply(response, upload.take(), admitted, taken, cx).map_err(Failed::Broken))
}
