//! Handing a gRPC call to its plugin, and the plugin's answer back.

use super::{
    refusal,
    reply::{Reply, check_whole},
    within::Gate,
};
use crate::snapshot::Namespace;
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use prism_filters::{Body, Rejection, Rpc, body::BodyError};
use prism_plugin_abi::CallContext;
use prism_plugin_host::{
    BoxError, InFlight, ReplyBody, Rpc as PluginRpc, WireBody, WireReply, WireSource, WorkerLocal,
};
use std::{
    future::Future,
    task::{Context, Poll, ready},
};

/// One call, ready to go.
pub(super) struct Call<'a> {
    pub(super) worker: &'a WorkerLocal,
    pub(super) namespace: &'a Namespace,
    pub(super) backend: InFlight,
    pub(super) rpc: Rpc,
    /// Doing it twice does no harm.
    pub(super) idempotent: bool,
    pub(super) context: CallContext,
}

impl Call<'_> {
    /// Forwards a gRPC call as it is.
    pub(super) fn grpc(self, body: WireBody) -> impl Future<Output = Result<Response<Body>, Rejection>> {
        let (plugin, limit) = (self.namespace.plugin(), self.namespace.max_message_bytes());
        let rpc = self.rpc;
        let sending = self.send(body);
        async move {
            let (mut reply, backend) = sending.await?;
            let headers = reply.take_headers();
            let whole = |messages: &_| check_whole(messages, rpc == Rpc::Unary, limit, plugin);
            let mut response = Response::new(match reply.body {
                ReplyBody::Succeeded(messages) => {
                    whole(&messages)?;
                    Body::succeeded(messages)
                }
                ReplyBody::Whole { messages, trailers } => {
                    whole(&messages)?;
                    Body::whole(messages, trailers)
                }
                ReplyBody::Stream(source) => {
                    Body::from_duplex(Box::new(Reply::new(source, backend, rpc, limit, plugin.clone())))
                }
            });
            *response.headers_mut() = headers;
            Ok(response)
        }
    }

    /// Sends it through the plugin's channel.
    ///
    /// The call stays counted until the handle that comes back with the answer is dropped.
    pub(super) fn send(
        self,
        body: WireBody,
    ) -> impl Future<Output = Result<(WireReply, InFlight), Rejection>> {
        let Self { worker, namespace, backend, rpc, context, .. } = self;
        let rpc = match rpc {
            Rpc::Unary => PluginRpc::Execute,
            Rpc::Streaming => PluginRpc::ExecuteStream,
        };
        let forwarding = backend.channel().forward(worker, rpc, context, body);
        async move {
            let reply = forwarding.await.map_err(|error| refusal(error, namespace.plugin()))?;
            Ok((reply, backend))
        }
    }
}

/// A request body for a plugin: at hand where all of it is, else as it arrives, through a gate where there is one.
pub(super) fn wire(body: Body, gate: impl FnOnce() -> Option<Gate>) -> WireBody {
    match body.into_whole() {
        Ok(pieces) => WireBody::Whole(pieces),
        Err(body) => WireBody::Stream(Box::new(Upload { body, gate: gate() })),
    }
}

/// A request body as a plugin's transport reads it.
pub(super) struct Upload {
    pub(super) body: Body,
    pub(super) gate: Option<Gate>,
}

impl WireSource for Upload {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        let frame = ready!(self.body.poll_next(cx));
        if let Some(Err(refused)) = self.gate.as_mut().map(Gate::check) {
            return Poll::Ready(Some(Err(Box::<BodyError>::new(refused.into()) as BoxError)));
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => Frame::into_data(frame).ok().map(Ok),
            Some(Err(error)) => Some(Err(Box::<BodyError>::new(error) as BoxError)),
            None => None,
        })
    }
}
