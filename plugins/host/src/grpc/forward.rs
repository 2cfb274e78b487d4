//! Forwarding of calls to a plugin over gRPC: frames are moved, nothing is decoded.

use super::{
    connection::{Admitted, Connection, Endpoint, Upstream},
    head,
    reply::{broken, not_begun, reply},
    upload::{Ended, Upload},
};
use crate::{
    channel::{ForwardError, Forwarding, PluginChannel, ReplyBody, Rpc, WireBody, WireReply},
    status::GRPC_STATUS,
    worker::WorkerLocal,
};
use http::{HeaderMap, HeaderValue};
use prism_plugin_abi::CallContext;
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::Notify;

/// What a channel and the supervisor of its instance tell each other.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The process on which `Initialize` ran; 0 where there is no telling.
    peer: AtomicU64,
    /// Calls met a plugin that does not know the instance.
    nudge: Notify,
}

impl Link {
    /// `Initialize` ran on this process.
    pub(crate) fn initialized_on(&self, peer: Option<super::peer::PeerIdentity>) {
        self.peer.store(peer.map_or(0, super::peer::PeerIdentity::number), Ordering::Release);
    }

    fn is_initialized(&self, connection: &Connection) -> bool {
        match self.peer.load(Ordering::Acquire) {
            0 => true,
            expected => connection.peer.is_some_and(|peer| peer.number() == expected),
        }
    }

    /// Resolves when a call met a plugin that has to be initialized again.
    pub(crate) async fn nudged(&self) {
        self.nudge.notified().await;
    }
}

/// One instance's way to a plugin that speaks gRPC.
pub(crate) struct GrpcChannel {
    endpoint: Arc<Endpoint>,
    link: Arc<Link>,
}

impl GrpcChannel {
    pub(crate) fn new(endpoint: Arc<Endpoint>, link: Arc<Link>) -> Self {
        Self { endpoint, link }
    }
}

impl fmt::Debug for GrpcChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrpcChannel({})", self.endpoint.address())
    }
}

impl PluginChannel for GrpcChannel {
    fn forward(&self, worker: &WorkerLocal, rpc: Rpc, context: CallContext, body: WireBody) -> Forwarding {
        let upstream = self.endpoint.upstream(worker);
        let endpoint = Arc::clone(&self.endpoint);
        let link = Arc::clone(&self.link);
        Box::pin(async move {
            let admitted = upstream.admit()?;
            let call = Call { upstream, endpoint, link: Arc::clone(&link), rpc, context };
            let reply = call.run(admitted, body).await?;
            if is_unknown_instance(&reply) {
                link.nudge.notify_one();
            }
            Ok(reply)
        })
    }
}

/// FAILED_PRECONDITION before any message: the plugin does not know the instance (any more). The caller gets
/// it as it is; should it mean something else, initializing again changes nothing.
fn is_unknown_instance(reply: &WireReply) -> bool {
    let refused = |trailers: &HeaderMap| trailers.get(GRPC_STATUS) == Some(&HeaderValue::from_static("9"));
    match &reply.body {
        ReplyBody::Whole { messages, trailers } => {
            messages.is_empty() && (refused(&reply.headers) || refused(trailers))
        }
        ReplyBody::Stream(_) => false,
    }
}

struct Call {
    upstream: Rc<Upstream>,
    endpoint: Arc<Endpoint>,
    link: Arc<Link>,
    rpc: Rpc,
    context: CallContext,
}

/// Why an attempt failed.
enum Failed {
    /// The plugin has not begun with the call: it may be sent once more, if its body is at hand.
    NotBegun(ForwardError, Option<WireBody>),
    Broken(ForwardError),
}

impl From<ForwardError> for Failed {
    fn from(error: ForwardError) -> Self {
        Self::Broken(error)
    }
}

impl Call {
    async fn run(&self, admitted: Admitted, body: WireBody) -> Result<WireReply, ForwardError> {
        let mut admitted = Some(admitted);
        match self.attempt(&mut admitted, body).await {
            Ok(reply) => Ok(reply),
            Err(Failed::Broken(error) | Failed::NotBegun(error, None)) => Err(error),
            // Once: a plugin that refuses twice means it.
            Err(Failed::NotBegun(_, Some(body))) => match self.attempt(&mut admitted, body).await {
                Ok(reply) => Ok(reply),
                Err(Failed::Broken(error) | Failed::NotBegun(error, _)) => Err(error),
            },
        }
    }

    async fn attempt(&self, admitted: &mut Option<Admitted>, body: WireBody) -> Result<WireReply, Failed> {
        let connection = self.connection().await?;
        let request = head::request(self.endpoint.uri(self.rpc), &self.context)?;
        let (response, stream) = match connection.sender().send_request(request, false) {
            Ok(sent) => sent,
            Err(error) => {
                // The connection takes no more calls; nothing was sent, so any body is still at hand.
                self.upstream.discard(&connection);
                return Err(Failed::NotBegun(broken(&error), Some(body)));
            }
        };
        let again = match &body {
            WireBody::Whole(payload) => Some(WireBody::Whole(payload.clone())),
            WireBody::Stream(_) => None,
        };
        let mut upload = Some(Upload::new(stream, body));
        let mut response = pin!(response);
        poll_fn(|cx| {
            if let Some(error) = drive(&mut upload, cx) {
                return Poll::Ready(Err(Failed::Broken(error)));
            }
            poll_response(response.as_mut(), &mut upload, admitted, cx)
        })
        .await
        .map_err(|failed| match failed {
            Failed::NotBegun(error, _) => {
                if matches!(error, ForwardError::Unavailable(_)) {
                    tracing::debug!(%error, "the plugin has not begun with a call");
                }
                Failed::NotBegun(error, again)
            }
            failed @ Failed::Broken(_) => failed,
        })
    }

    /// A connection to the process that `Initialize` ran on.
    async fn connection(&self) -> Result<Rc<Connection>, ForwardError> {
        let connection = self.upstream.connection(self.endpoint.epoch()).await?;
        if self.link.is_initialized(&connection) {
            return Ok(connection);
        }
        // It may be to a process that is on its way out; a new one is dialled now.
        self.upstream.discard(&connection);
        let connection = self.upstream.connection(self.endpoint.epoch()).await?;
        if self.link.is_initialized(&connection) {
            return Ok(connection);
        }
        self.link.nudge.notify_one();
        Err(ForwardError::Unavailable("plugin restarted; initializing".to_owned()))
    }
}

/// Moves the upload along; an error of the client's side ends the call.
fn drive(upload: &mut Option<Upload>, cx: &mut Context<'_>) -> Option<ForwardError> {
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
    upload: &mut Option<Upload>,
    admitted: &mut Option<Admitted>,
    cx: &mut Context<'_>,
) -> Poll<Result<WireReply, Failed>> {
    let response = match std::task::ready!(response.poll(cx)) {
        Ok(response) => response,
        Err(error) if not_begun(&error) => return Poll::Ready(Err(Failed::NotBegun(broken(&error), None))),
        Err(error) => return Poll::Ready(Err(Failed::Broken(broken(&error)))),
    };
    let Some(admitted) = admitted.take() else {
        return Poll::Ready(Err(Failed::Broken(ForwardError::Unavailable("the call ended already".into()))));
    };
    Poll::Ready(reply(response, upload.take(), admitted, cx).map_err(Failed::Broken))
}
