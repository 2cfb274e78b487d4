//! Messages as bytes over gRPC, through tonic's stock client.

use super::{Messages, Replies};
use bytes::{Buf, BufMut, Bytes};
use futures_util::StreamExt;
use prism_plugin_abi::{CallContext, Code, Error, Payload};
use std::path::PathBuf;
use tokio::time::Instant;
use tonic::{
    IntoStreamingRequest, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

/// A client's connection to a unix socket.
///
/// # Panics
/// When nobody answers there.
pub async fn connect(path: PathBuf) -> Channel {
    let uri = format!("unix://{}", path.display());
    let endpoint = Endpoint::from_shared(uri).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    endpoint.connect().await.unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

#[derive(Clone)]
pub(super) struct Wire(Grpc<Channel>);

/// Takes the bytes of messages as they are, for a stock client of tonic's that knows their type otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bare;

impl Codec for Bare {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Bare {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

fn error(status: &Status) -> Error {
    Error::channel(Code::from_number(status.code() as i32), status.message().to_owned())
}

fn path(method: &str) -> Result<PathAndQuery, Error> {
    let path = format!("/prism.plugin.BackendPlugin/{method}");
    path.parse().map_err(|_| Error::invalid(format!("`{method}` is no method")))
}

fn with_context<T>(message: T, context: &CallContext) -> Result<Request<T>, Error> {
    let mut request = Request::new(message);
    let mut insert = |name: &'static str, value: &str| {
        let value = value.parse().map_err(|_| Error::invalid(format!("`{name}` is no header value")))?;
        request.metadata_mut().insert(name, value);
        Ok::<_, Error>(())
    };
    insert("x-prism-instance", &context.instance.0.to_string())?;
    insert("x-prism-namespace", &context.namespace)?;
    insert("x-request-id", &context.request_id)?;
    insert("traceparent", &context.traceparent)?;
    if let Some(principal) = &context.principal {
        insert("x-prism-principal", principal)?;
    }
    if let Some(deadline) = context.deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now().into_std()));
    }
    Ok(request)
}

impl Wire {
    pub(super) async fn connect(path: PathBuf) -> Self {
        Self(Grpc::new(connect(path).await).max_decoding_message_size(usize::MAX))
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Error> {
        let mut client = self.0.clone();
        let ready = client.ready().await;
        ready.map_err(|error| Error::channel(Code::Unavailable, format!("{error:?}")))?;
        Ok(client)
    }

    pub(super) async fn unary(
        &self,
        method: &str,
        context: &CallContext,
        message: Payload,
    ) -> Result<Payload, Error> {
        let request = with_context(message.into_bytes(), context)?;
        let answer = self.ready().await?.unary(request, path(method)?, Bare).await;
        Ok(answer.map_err(|status| error(&status))?.into_inner().into())
    }

    pub(super) async fn stream(&self, context: &CallContext, messages: Messages) -> Result<Replies, Error> {
        let request = with_context(messages.map(Payload::into_bytes), context)?.into_streaming_request();
        let answer = self.ready().await?.streaming(request, path("ExecuteStream")?, Bare).await;
        let answers = answer.map_err(|status| error(&status))?.into_inner();
        Ok(Box::pin(answers.map(|answer| answer.map(Payload::from).map_err(|status| error(&status)))))
    }
}
