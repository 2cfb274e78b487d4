//! The way to a plugin as a request sees it: gRPC messages go in as they travel, and come out so.
//!
//! Nothing here names a type of h2, hyper or tonic; a transport is anything that implements
//! [`PluginChannel`].

use crate::{in_process::Answer, status, worker::WorkerLocal};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use prism_plugin_abi::{CallContext, Data, Error, Payload, Plugin, Scope};
use prism_plugin_envelope as envelope;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Which method of `prism.plugin.BackendPlugin` a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// One `ExecuteRequest`, one `ExecuteResponse`.
    Execute,
    /// Streams of `StreamRequest` and `StreamResponse`.
    ExecuteStream,
}

/// An error of somebody else's kind, handed through.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client's side of a call: length-prefixed gRPC messages, cut anywhere.
pub enum WireBody {
    /// All of it is at hand: it can be sent again where that is safe.
    Whole(Payload),
    /// It is still arriving.
    Stream(Box<dyn WireSource>),
}

/// A body that is still arriving.
pub trait WireSource: Send {
    /// The next piece; `None` at the end. Not polling it is back-pressure that reaches the client.
    ///
    /// # Errors
    /// The client reset its stream, stalled, or sent what must not reach a plugin. The call must then be
    /// cancelled before the plugin sees its end, and the error handed back as [`ForwardError::Source`].
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>>;
}

/// The plugin's answer.
#[derive(Debug)]
pub struct WireReply {
    /// Response headers (of a trailers-only answer: with `grpc-status`). `None` is what nearly every answer has,
    /// `content-type: application/grpc` and no more.
    pub headers: Option<Box<HeaderMap>>,
    /// Messages and trailers.
    pub body: ReplyBody,
}

impl WireReply {
    /// A call that went well, all of it at hand.
    #[must_use]
    pub fn succeeded(messages: Payload) -> Self {
        Self { headers: None, body: ReplyBody::Succeeded(messages) }
    }

    /// What a plugin's outcome of a unary call is on the wire.
    ///
    /// # Errors
    /// It is the call's own failure, or too long for gRPC.
    pub fn of(outcome: Result<Data, Error>) -> Result<Self, ForwardError> {
        match outcome {
            Err(error) if error.scope == Scope::Channel => Err(ForwardError::Refused(error)),
            outcome => envelope::encode_reply(outcome).map(Self::succeeded).map_err(Into::into),
        }
    }

    /// Takes the headers, made where they are the usual ones.
    pub fn take_headers(&mut self) -> HeaderMap {
        self.headers.take().map_or_else(status::ok_headers, |headers| *headers)
    }
}

/// Length-prefixed gRPC messages, cut anywhere, and the trailers after them.
pub enum ReplyBody {
    /// All of it is at hand, and the call went well: `grpc-status: 0` follows the messages, and no more. A way of its
    /// own, because nearly every call takes it, and a map of headers is larger than all the rest.
    Succeeded(Payload),
    /// All of it is at hand.
    Whole {
        /// The messages.
        messages: Payload,
        /// What follows them; `None` in a trailers-only answer.
        trailers: Option<Box<HeaderMap>>,
    },
    /// It is still arriving.
    Stream(Box<dyn ReplySource>),
}

/// An answer that is still arriving. Dropping it cancels the call.
pub trait ReplySource: Send {
    /// The next frame; `None` after the last. Not polling it is back-pressure that reaches the plugin.
    ///
    /// # Errors
    /// The call broke before its trailers came.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>>;

    /// Moves the upload along while nobody can take a frame: a bidirectional call whose client does not
    /// read must still be able to send.
    fn poll_progress(&mut self, cx: &mut Context<'_>);
}

/// Why a call could not be forwarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// There is no way to the plugin right now, or it broke under the call.
    #[error("plugin unavailable: {0}")]
    Unavailable(String),
    /// More calls are waiting for the plugin than may.
    #[error("too many calls are waiting for the plugin: {0}")]
    Overloaded(String),
    /// The client's side of the call failed; nothing is wrong with the plugin.
    #[error("request body: {0}")]
    Source(#[source] BoxError),
    /// The plugin answered something that is not gRPC.
    #[error("the plugin broke the protocol: {0}")]
    Protocol(String),
    /// The call was refused with a status (in-process plugins; over gRPC the status is forwarded as it is).
    #[error(transparent)]
    Refused(#[from] Error),
}

impl From<envelope::ProtocolError> for ForwardError {
    fn from(error: envelope::ProtocolError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// A call until its answer's headers are there. Dropping it cancels the call.
pub enum Forwarding {
    /// A plugin in this process answers it: nothing is needed around what the plugin gave.
    InProcess(Answer),
    /// Whatever another transport needs.
    Boxed(Pin<Box<dyn Future<Output = Result<WireReply, ForwardError>>>>),
}

impl Forwarding {
    /// Of any future.
    pub fn new(call: impl Future<Output = Result<WireReply, ForwardError>> + 'static) -> Self {
        Self::Boxed(Box::pin(call))
    }
}

impl Future for Forwarding {
    type Output = Result<WireReply, ForwardError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::InProcess(answer) => Pin::new(answer).poll(cx),
            Self::Boxed(call) => call.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarding")
    }
}

/// A way to a plugin. Shared by all workers; what belongs to one worker (its connections) a transport
/// keeps in that worker's [`WorkerLocal`].
pub trait PluginChannel: Send + Sync {
    /// Sends one call. Spawns no task for it, decodes no more of it than it must, and returns at once.
    fn forward(&self, worker: &WorkerLocal, rpc: Rpc, context: CallContext, body: WireBody) -> Forwarding;

    /// The plugin itself, where it is in this process: whoever has an operation's parameters need not put them into an
    /// envelope that is taken apart again at once.
    fn plugin(&self) -> Option<&dyn Plugin> {
        None
    }
}

impl fmt::Debug for WireBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(payload) => write!(f, "WireBody::Whole({} bytes)", payload.len()),
            Self::Stream(_) => f.write_str("WireBody::Stream"),
        }
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded(messages) => write!(f, "ReplyBody::Succeeded({} bytes)", messages.len()),
            Self::Whole { messages, .. } => write!(f, "ReplyBody::Whole({} bytes)", messages.len()),
            Self::Stream(_) => f.write_str("ReplyBody::Stream"),
        }
    }
}
