//! The gRPC service around a plugin.
//!
//! A stream says its end by ending; `is_final` is set on the message that carries an operation's failure,
//! which is always the last. Peers must take either for the end.

use super::convert;
use futures_util::{Stream, StreamExt};
use prism_plugin_abi::{
    Code, Error, Initialized, InstanceId, Plugin, Request as Message, RequestStream, ResponseStream, Scope,
};
use prism_proto::plugin::{
    DescribeRequest, DescribeResponse, ExecuteRequest, ExecuteResponse, GetMetricsRequest,
    HealthCheckRequest, HealthCheckResponse, InitializeRequest, InitializeResponse, PluginMetrics,
    ShutdownRequest, ShutdownResponse, StreamRequest, StreamResponse, backend_plugin_server::BackendPlugin,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

/// `prism.plugin.BackendPlugin` around a [`Plugin`].
pub struct Adapter {
    plugin: Arc<dyn Plugin>,
    /// Turns true when calls in flight have had their time.
    cut: watch::Receiver<bool>,
}

impl Adapter {
    /// Around this plugin.
    #[must_use]
    pub fn new(plugin: Arc<dyn Plugin>) -> Self {
        Self::cut_by(plugin, watch::channel(false).1)
    }

    pub(super) fn cut_by(plugin: Arc<dyn Plugin>, cut: watch::Receiver<bool>) -> Self {
        Self { plugin, cut }
    }

    /// Resolves when calls in flight have had their time.
    fn cut(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut cut = self.cut.clone();
        async move {
            let never = cut.wait_for(|cut| *cut).await.is_err();
            if never {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// How long a stream's first message may take to follow its headers. The proxy sends both at once; a
/// stream without it would stay for ever.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

type Responses = Pin<Box<dyn Stream<Item = Result<StreamResponse, Status>> + Send>>;

#[tonic::async_trait]
impl BackendPlugin for Adapter {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(convert::description(&self.plugin.describe())))
    }

    async fn initialize(
        &self,
        request: Request<InitializeRequest>,
    ) -> Result<Response<InitializeResponse>, Status> {
        let request = convert::initialize(request.into_inner());
        let instance = request.instance.0;
        // Every failure is reported in the message, the channel's too: only there it has a place beside
        // the instance that it is about.
        Ok(Response::new(match self.plugin.initialize(request).await {
            Ok(Initialized { plugin_version, supported_operations }) => InitializeResponse {
                success: true,
                plugin_version,
                supported_operations,
                instance,
                ..Default::default()
            },
            Err(error) => InitializeResponse {
                success: false,
                error: error.message.to_string(),
                error_code: error.code.number(),
                instance,
                ..Default::default()
            },
        }))
    }

    async fn health_check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let instance = InstanceId(request.into_inner().instance);
        Ok(Response::new(convert::health(self.plugin.health(instance).await)))
    }

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let context = convert::context(request.metadata())?;
        let call = self.plugin.execute(context, convert::request(request.into_inner()));
        let outcome = tokio::select! {
            outcome = call => outcome,
            () = self.cut() => return Err(stopping()),
        };
        match outcome {
            Ok(data) => Ok(Response::new(convert::response(Ok(data)))),
            Err(error) if error.scope == Scope::Operation => {
                Ok(Response::new(convert::response(Err(&error))))
            }
            Err(error) => Err(convert::status(&error)),
        }
    }

    type ExecuteStreamStream = Responses;

    async fn execute_stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let context = convert::context(request.metadata())?;
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(FIRST_MESSAGE, messages.message());
        let first = first
            .await
            .map_err(|_| Status::deadline_exceeded("the stream's first message did not come"))??;
        let first =
            first.ok_or_else(|| Status::invalid_argument("the stream ended before its first message"))?;
        let first = convert::stream_request(first);
        let rest = rest(first.operation.to_string(), messages);
        let opened = tokio::select! {
            opened = self.plugin.execute_stream(context, first, rest) => opened,
            () = self.cut() => return Err(stopping()),
        };
        match opened {
            Ok(stream) => {
                let cut = Box::pin(self.cut());
                Ok(Response::new(Box::pin(Cuttable { inner: Some(responses(stream)), cut })))
            }
            Err(error) if error.scope == Scope::Operation => {
                let last = convert::stream_response(Err(&error));
                Ok(Response::new(Box::pin(futures_util::stream::iter([Ok(last)]))))
            }
            Err(error) => Err(convert::status(&error)),
        }
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<PluginMetrics>, Status> {
        let instance = InstanceId(request.into_inner().instance);
        let metrics = self.plugin.metrics(instance);
        let metrics =
            metrics.ok_or_else(|| convert::status(&prism_plugin_abi::unknown_instance(instance)))?;
        Ok(Response::new(convert::metrics(metrics)))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        self.plugin.shutdown(InstanceId(request.into_inner().instance)).await;
        Ok(Response::new(ShutdownResponse {}))
    }
}

/// The messages after the first, for the plugin. One that names another operation ends them.
fn rest(operation: String, messages: Streaming<StreamRequest>) -> RequestStream {
    Box::pin(messages.map(move |message| -> Result<Message, Error> {
        let message = message.map_err(|status| {
            Error::channel(Code::from_number(status.code() as i32), status.message().to_owned())
        })?;
        if !message.operation.is_empty() && message.operation != operation {
            return Err(Error::invalid(format!(
                "the stream is `{operation}`; a later message names `{}`",
                message.operation
            )));
        }
        Ok(convert::stream_request(message))
    }))
}

fn responses(stream: ResponseStream) -> Responses {
    Box::pin(stream.map(|item| match item {
        Ok(data) => Ok(convert::stream_response(Ok(data))),
        Err(error) if error.scope == Scope::Operation => Ok(convert::stream_response(Err(&error))),
        Err(error) => Err(convert::status(&error)),
    }))
}

fn stopping() -> Status {
    Status::unavailable("the plugin is stopping and the time for calls in flight is over")
}

/// A response stream that ends when the time for calls in flight is over.
struct Cuttable {
    inner: Option<Responses>,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream for Cuttable {
    type Item = Result<StreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        // Before the stream: one that always has something must end too.
        if this.cut.as_mut().poll(cx).is_ready() {
            this.inner = None;
            return Poll::Ready(Some(Err(stopping())));
        }
        inner.poll_next_unpin(cx)
    }
}
