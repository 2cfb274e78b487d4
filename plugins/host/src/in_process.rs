//! A plugin in this process: its answers are envelopes around its own bytes, made where they are needed.

mod offload;
mod plugin;

pub use plugin::{InProcessPlugin, LongPolls};

use crate::{
    channel::{
        BoxError, ForwardError, Forwarding, PluginChannel, ReplyBody, ReplySource, Rpc, WireBody, WireReply,
        WireSource,
    },
    status,
    worker::WorkerLocal,
};
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use http_body::Frame;
use prism_plugin_abi::{
    Call, CallContext, Code, Data, Error, Payload, Plugin, Request, RequestStream, ResponseStream, Scope,
};
use prism_plugin_envelope::{self as envelope, Deframer};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

/// Calls a plugin that lives in this process. Its panics end at the boundary that every [`InProcessPlugin`] is behind.
#[derive(Debug)]
pub struct InProcessChannel {
    plugin: InProcessPlugin,
}

impl InProcessChannel {
    /// A way to `plugin`.
    #[must_use]
    pub fn new(plugin: InProcessPlugin) -> Self {
        Self { plugin }
    }
}

impl PluginChannel for InProcessChannel {
    fn forward(&self, _: &WorkerLocal, rpc: Rpc, context: CallContext, body: WireBody) -> Forwarding {
        match (rpc, body) {
            // The common case: all of the message is here, so the plugin is called at once.
            (Rpc::Execute, WireBody::Whole(body)) => match envelope::decode_request(body) {
                Ok(request) => Forwarding::InProcess(Answer(self.plugin.plugin().execute(context, request))),
                Err(error) => Forwarding::new(std::future::ready(Err(ForwardError::Refused(error)))),
            },
            (Rpc::Execute, WireBody::Stream(source)) => {
                let plugin = Arc::clone(self.plugin.plugin());
                Forwarding::new(async move {
                    let request = envelope::decode_request(collect(source).await?)?;
                    Answer(plugin.execute(context, request)).await
                })
            }
            (Rpc::ExecuteStream, body) => {
                let plugin = Arc::clone(self.plugin.plugin());
                Forwarding::new(open(plugin, context, body))
            }
        }
    }

    fn plugin(&self) -> Option<&dyn Plugin> {
        Some(&**self.plugin.plugin())
    }
}

/// All of a message: a plugin's unary operation takes it whole. Its length was checked against the
/// namespace's limit before the first piece came here.
async fn collect(mut source: Box<dyn WireSource>) -> Result<Payload, ForwardError> {
    let mut body = Payload::new();
    while let Some(piece) = poll_fn(|cx| source.poll_piece(cx)).await {
        body.push(piece.map_err(ForwardError::Source)?);
    }
    Ok(body)
}

/// A plugin's answer to a unary call. Written out, because an `async fn` would hold the call several times over.
pub struct Answer(Call);

impl Future for Answer {
    type Output = Result<WireReply, ForwardError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(WireReply::of)
    }
}

async fn open(
    plugin: Arc<dyn Plugin>,
    context: CallContext,
    body: WireBody,
) -> Result<WireReply, ForwardError> {
    let failure = Failure::default();
    let mut requests = Requests::new(body, failure.clone());
    let first = poll_fn(|cx| Pin::new(&mut requests).poll_next(cx)).await;
    if let Some(error) = failure.take() {
        return Err(ForwardError::Source(error));
    }
    let first = first.unwrap_or_else(|| {
        let message = "the stream ended before its first message, which must name the operation";
        Err(Error::channel(Code::InvalidArgument, message))
    })?;
    let rest: RequestStream = Box::pin(requests);
    let opened = plugin.execute_stream(context, first, rest).await;
    if let Some(error) = failure.take() {
        return Err(ForwardError::Source(error));
    }
    match opened {
        Ok(responses) => {
            let replies = Replies { responses: Some(responses), pending: Payload::new(), failure };
            Ok(WireReply { headers: None, body: ReplyBody::Stream(Box::new(replies)) })
        }
        Err(error) if error.scope == Scope::Channel => Err(ForwardError::Refused(error)),
        Err(error) => Ok(WireReply::succeeded(envelope::encode_stream_reply(Err(error))?)),
    }
}

/// Why the client's side failed, for whoever answers the client: the plugin only learns that it did.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<BoxError>>>);

impl Failure {
    fn set(&self, error: BoxError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take(&self) -> Option<BoxError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The client's messages, cut out of its body as the plugin asks for them.
struct Requests {
    source: Option<Box<dyn WireSource>>,
    deframer: Deframer,
    failure: Failure,
}

impl Requests {
    fn new(body: WireBody, failure: Failure) -> Self {
        let mut deframer = Deframer::default();
        let source = match body {
            WireBody::Stream(source) => Some(source),
            WireBody::Whole(mut body) => {
                while let Some(piece) = body.pop() {
                    deframer.push(piece);
                }
                None
            }
        };
        Self { source, deframer, failure }
    }

    /// Nothing more is read after an error.
    fn fail(&mut self, error: Error) -> Poll<Option<Result<Request, Error>>> {
        self.source = None;
        self.deframer = Deframer::default();
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Requests {
    type Item = Result<Request, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match this.deframer.next_message() {
                Ok(Some(message)) => {
                    return match envelope::decode_message(message) {
                        Ok(request) => Poll::Ready(Some(Ok(request))),
                        Err(error) => this.fail(error),
                    };
                }
                Ok(None) => {}
                Err(error) => return this.fail(Error::channel(Code::InvalidArgument, error.to_string())),
            }
            let piece = match &mut this.source {
                Some(source) => ready!(source.poll_piece(cx)),
                None => None,
            };
            match piece {
                Some(Ok(piece)) => this.deframer.push(piece),
                Some(Err(error)) => {
                    this.failure.set(error);
                    return this
                        .fail(Error::channel(Code::Cancelled, "the client's side of the call failed"));
                }
                None => {
                    this.source = None;
                    if this.deframer.is_between_messages() {
                        return Poll::Ready(None);
                    }
                    let message = "the stream ended within a message";
                    return this.fail(Error::channel(Code::InvalidArgument, message));
                }
            }
        }
    }
}

/// The plugin's messages, framed as the client takes them.
struct Replies {
    /// `None` after the trailers.
    responses: Option<ResponseStream>,
    /// What is left of the message under way.
    pending: Payload,
    failure: Failure,
}

impl Replies {
    fn end(&mut self, trailers: HeaderMap) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        self.responses = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn take_message(&mut self, outcome: Result<Data, Error>) -> Result<(), ForwardError> {
        self.pending = envelope::encode_stream_reply(outcome)?;
        Ok(())
    }
}

impl ReplySource for Replies {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ForwardError>>> {
        loop {
            if let Some(piece) = self.pending.pop() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(responses) = &mut self.responses else { return Poll::Ready(None) };
            let next = responses.as_mut().poll_next(cx);
            if let Some(error) = self.failure.take() {
                self.responses = None;
                return Poll::Ready(Some(Err(ForwardError::Source(error))));
            }
            let framed = match ready!(next) {
                None => return self.end(status::ok_trailers()),
                Some(Err(error)) if error.scope == Scope::Channel => {
                    return self.end(status::error_trailers(error.code, &error.message));
                }
                Some(Err(error)) => {
                    // The operation's error is its last message, under status OK.
                    self.responses = Some(Box::pin(futures_util::stream::empty()));
                    self.take_message(Err(error))
                }
                Some(Ok(data)) => self.take_message(Ok(data)),
            };
            if let Err(error) = framed {
                self.responses = None;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    /// Nothing to do: the plugin pulls the client's messages itself, when it is asked for the next answer,
    /// and until then they wait in the client's own window.
    fn poll_progress(&mut self, _: &mut Context<'_>) {}
}

#[cfg(test)]
mod tests;
