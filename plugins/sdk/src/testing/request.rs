//! A call, put together piece by piece.

use super::{
    Instance,
    calls::{reply, typed},
};
use bytes::Bytes;
use prism_plugin_abi::{CallContext, Code, Data, Error, Request, ResponseStream};
use prost::{Message, Name};
use std::time::{Duration, Instant};

/// A call on an instance: what the proxy says of it, and what the client does.
#[must_use = "nothing is called before `send`, `call`, `raw` or `stream`"]
pub struct RequestBuilder<'a> {
    instance: &'a Instance,
    context: CallContext,
    deadline: Option<Duration>,
    operation: String,
    metadata: Vec<(String, String)>,
    messages: Vec<Data>,
}

impl<'a> RequestBuilder<'a> {
    pub(super) fn new(instance: &'a Instance, context: CallContext, operation: &str) -> Self {
        Self {
            instance,
            context,
            deadline: None,
            operation: operation.to_owned(),
            metadata: Vec::new(),
            messages: Vec::new(),
        }
    }

    /// Parameters that are a message; of a stream, its next ones.
    pub fn params<M: Message + Name>(mut self, message: &M) -> Self {
        self.messages.push(typed(message));
        self
    }

    /// Parameters that are bytes; of a stream, its next ones.
    pub fn bytes(mut self, params: impl Into<Bytes>) -> Self {
        self.messages.push(Data::Raw(params.into().into()));
        self
    }

    /// What the client says besides.
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Who calls, as something before the plugin found out.
    pub fn principal(mut self, principal: &str) -> Self {
        self.context.principal = Some(principal.into());
        self
    }

    /// The call's id. Without: empty.
    pub fn request_id(mut self, id: &str) -> Self {
        self.context.request_id = id.into();
        self
    }

    /// The trace that it belongs to, as W3C has it. Without: none.
    pub fn traceparent(mut self, traceparent: &str) -> Self {
        self.context.traceparent = traceparent.into();
        self
    }

    /// How long the caller waits. The plugin is told, and its future is dropped then, as by the proxy.
    pub fn within(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }

    /// Makes a unary call.
    ///
    /// # Errors
    /// What the plugin says; `DEADLINE_EXCEEDED`.
    pub async fn send(mut self) -> Result<Data, Error> {
        let params = self.messages.drain(..).next().unwrap_or_default();
        let (instance, deadline) = (self.instance, self.deadline);
        let (context, request) = self.first(params);
        within(deadline, instance.plugin.execute(context, request)).await
    }

    /// Makes a unary call that is answered with a message.
    ///
    /// # Errors
    /// What the plugin says; `INTERNAL` for an answer of another type.
    pub async fn call<R: Message + Name + Default>(self) -> Result<R, Error> {
        reply(self.send().await?)
    }

    /// Makes a unary call that is answered with bytes.
    ///
    /// # Errors
    /// What the plugin says; `INTERNAL` for an answer that is not raw.
    pub async fn raw(self) -> Result<Bytes, Error> {
        match self.send().await? {
            Data::Raw(payload) => Ok(payload.into_bytes()),
            other => Err(Error::operation(Code::Internal, format!("a raw result was expected: {other:?}"))),
        }
    }

    /// Opens a stream. The parameters given are all of its messages.
    ///
    /// # Errors
    /// What the plugin says; later errors are items of the stream.
    pub async fn stream(mut self) -> Result<ResponseStream, Error> {
        let mut messages = std::mem::take(&mut self.messages).into_iter();
        let params = messages.next().unwrap_or_default();
        let (instance, deadline, operation) = (self.instance, self.deadline, self.operation.clone());
        let (context, first) = self.first(params);
        let rest = messages.map(move |params| {
            Ok(Request { operation: operation.clone().into(), params, metadata: Vec::new() })
        });
        let rest = Box::pin(futures_util::stream::iter(rest));
        within(deadline, instance.plugin.execute_stream(context, first, rest)).await
    }

    fn first(self, params: Data) -> (CallContext, Request) {
        let deadline = self.deadline.and_then(|time| now().checked_add(time));
        let metadata = self.metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let request = Request { operation: self.operation.into(), params, metadata };
        (CallContext { deadline, ..self.context }, request)
    }
}

/// By tokio's clock, which a test may have stopped.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn within<T>(
    deadline: Option<Duration>,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match deadline {
        None => call.await,
        Some(time) => tokio::time::timeout(time, call).await.unwrap_or_else(|_| {
            Err(Error::channel(
                Code::DeadlineExceeded,
                "the plugin did not answer within the call's deadline",
            ))
        }),
    }
}
