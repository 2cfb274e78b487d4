//! A plugin's server for tests that do not care what their calls travel over, and one call on it.

use super::{Handler, Server, Speaks, frames, grpc_head};
use crate::{Protocol, error_trailers, ok_trailers};
use bytes::Bytes;
use futures_util::{FutureExt, future::LocalBoxFuture};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::Request;
use prism_platform::Address;
use prism_plugin_abi::{Code, Payload};
use std::{
    future::{Future, poll_fn},
    rc::Rc,
};

/// Why a call's request ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    Cancelled,
    Broken,
}

pub(crate) type Serve = Rc<dyn Fn(PluginCall) -> LocalBoxFuture<'static, ()>>;

/// Starts a plugin's server that speaks one transport. `at_once`: how many calls it takes at once.
pub(crate) async fn start<F: Future<Output = ()> + 'static>(
    protocol: Protocol,
    address: &Address,
    at_once: Option<u32>,
    handler: impl Fn(PluginCall) -> F + 'static,
) -> Server {
    let speaks = match protocol {
        Protocol::Grpc => {
            let mut builder = h2::server::Builder::new();
            // Else one stalled stream is enough to stop all the others.
            builder.initial_connection_window_size(8 << 20);
            if let Some(at_once) = at_once {
                builder.max_concurrent_streams(at_once);
            }
            let handler: Handler = Rc::new(move |request, respond| {
                handler(PluginCall::Grpc(GrpcCall::new(request, respond))).boxed_local()
            });
            Speaks { grpc: Some((builder, handler)), frames: None }
        }
        Protocol::Frames => {
            let handler: Serve = Rc::new(move |call| handler(call).boxed_local());
            Speaks { grpc: None, frames: Some((frames::config(at_once), handler)) }
        }
    };
    Server::speaking(address, speaks).await
}

/// One call, as a plugin sees it.
pub(crate) enum PluginCall {
    Grpc(GrpcCall),
    Frames(frames::FramesCall),
}

/// What the proxy vouched for, and the method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) instance: String,
    pub(crate) namespace: String,
    pub(crate) principal: Option<String>,
    pub(crate) request_id: String,
    pub(crate) traceparent: String,
    pub(crate) timed: bool,
}

impl PluginCall {
    pub(crate) fn head(&self) -> Head {
        match self {
            Self::Grpc(call) => call.head(),
            Self::Frames(call) => call.head(),
        }
    }

    /// The next piece of the request; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, Gone>> {
        match self {
            Self::Grpc(call) => call.piece().await,
            Self::Frames(call) => call.piece().await,
        }
    }

    /// All of the request.
    pub(crate) async fn read(&mut self) -> Result<Payload, Gone> {
        let mut payload = Payload::new();
        while let Some(piece) = self.piece().await {
            payload.push(piece?);
        }
        Ok(payload)
    }

    /// Says that it goes on from here, before any message.
    pub(crate) fn begin(&mut self) {
        match self {
            Self::Grpc(call) => drop(call.stream()),
            Self::Frames(call) => call.begin(),
        }
    }

    /// Sends a piece of the answer as the client takes it; `false` when it takes no more.
    pub(crate) async fn send(&mut self, mut piece: Bytes) -> bool {
        while !piece.is_empty() {
            let Some(room) = self.room(piece.len()).await else { return false };
            let chunk = piece.split_to(room.min(piece.len()));
            match self {
                Self::Grpc(call) => call.stream().send_data(chunk, false).unwrap(),
                Self::Frames(call) => call.send(chunk),
            }
        }
        true
    }

    /// Waits for room for at least one byte.
    pub(crate) async fn room(&mut self, wanted: usize) -> Option<usize> {
        match self {
            Self::Grpc(call) => {
                let stream = call.stream();
                stream.reserve_capacity(wanted);
                match stream.capacity() {
                    0 => poll_fn(|cx| stream.poll_capacity(cx)).await?.ok(),
                    capacity => Some(capacity),
                }
            }
            Self::Frames(call) => call.room().await,
        }
    }

    /// Ends it well.
    pub(crate) fn finish(self) {
        match self {
            Self::Grpc(mut call) => call.stream().send_trailers(ok_trailers()).unwrap(),
            Self::Frames(call) => call.end(0, "", &[]),
        }
    }

    /// Ends it with a status.
    pub(crate) fn fail(self, code: Code, message: &str) {
        match self {
            Self::Grpc(mut call) if call.stream.is_some() => {
                call.stream().send_trailers(error_trailers(code, message)).unwrap();
            }
            Self::Grpc(call) => super::refuse(call.respond, code, message),
            Self::Frames(call) => call.end(code.number().try_into().unwrap(), message, &[]),
        }
    }

    /// Answers with these bytes, at one go where that is possible.
    pub(crate) async fn answer(mut self, body: Bytes) {
        if self.send(body).await {
            self.finish();
        }
    }

    /// Resolves when the client gives the call up.
    pub(crate) async fn cancelled(&mut self) -> Gone {
        match self {
            Self::Grpc(call) => {
                let stream = call.stream();
                gone(&poll_fn(|cx| stream.poll_reset(cx)).await)
            }
            Self::Frames(call) => call.cancelled().await,
        }
    }
}

/// Answers with what it was sent.
pub(crate) async fn echo(mut call: PluginCall) {
    if let Ok(body) = call.read().await {
        call.answer(body.into_bytes()).await;
    }
}

/// Sends back each piece as it comes.
pub(crate) async fn ping_pong(mut call: PluginCall) {
    call.begin();
    while let Some(Ok(piece)) = call.piece().await {
        if !call.send(piece).await {
            return;
        }
    }
    call.finish();
}

/// Never answers, and holds what it was given.
pub(crate) async fn hold(call: PluginCall) {
    let _held = call;
    std::future::pending::<()>().await;
}

pub(crate) struct GrpcCall {
    head: http::request::Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
}

fn gone(reason: &Result<Reason, h2::Error>) -> Gone {
    match reason {
        Ok(Reason::CANCEL) => Gone::Cancelled,
        _ => Gone::Broken,
    }
}

impl GrpcCall {
    fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        Self { head, body, respond, stream: None }
    }

    fn head(&self) -> Head {
        let field = |name: &str| self.head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Head {
            method: self.head.uri.path().strip_prefix("/prism.plugin.BackendPlugin/").unwrap().to_owned(),
            instance: field("x-prism-instance").unwrap_or_default(),
            namespace: field("x-prism-namespace").unwrap_or_default(),
            principal: field("x-prism-principal"),
            request_id: field("x-request-id").unwrap_or_default(),
            traceparent: field("traceparent").unwrap_or_default(),
            timed: field("grpc-timeout").is_some(),
        }
    }

    async fn piece(&mut self) -> Option<Result<Bytes, Gone>> {
        let piece = self.body.data().await?;
        if let Ok(piece) = &piece {
            self.body.flow_control().release_capacity(piece.len()).unwrap();
        }
        Some(piece.map_err(|error| gone(&error.reason().ok_or(error))))
    }

    fn stream(&mut self) -> &mut SendStream<Bytes> {
        self.stream.get_or_insert_with(|| self.respond.send_response(grpc_head(), false).unwrap())
    }
}
