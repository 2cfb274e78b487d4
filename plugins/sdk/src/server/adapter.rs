//! The gRPC service around a plugin.
//!
//! A stream says its end by ending; `is_final` is set on the message that carries an operation's failure,
//! which is always the last. Peers must take either for the end.

use super::{
    TRANSPORTS, convert,
    outcome::{self, FIRST_MESSAGE, in_band},
    phase::{Phase, reached},
};
use futures_util::{Stream, StreamExt};
use prism_plugin_abi::{Code, Error, Plugin, RequestStream, ResponseStream};
use prism_plugin_envelope::control;
use prism_proto::plugin::{
    DescribeRequest, DescribeResponse, ExecuteRequest, ExecuteResponse, GetMetricsRequest,
    HealthCheckRequest, HealthCheckResponse, InitializeRequest, InitializeResponse, PluginMetrics,
    ShutdownRequest, ShutdownResponse, StreamRequest, StreamResponse, backend_plugin_server::BackendPlugin,
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

/// `prism.plugin.BackendPlugin` around a [`Plugin`].
pub struct Adapter {
    plugin: Arc<dyn Plugin>,
    phases: watch::Receiver<Phase>,
}

impl Adapter {
    /// Around this plugin.
    #[must_use]
    pub fn new(plugin: Arc<dyn Plugin>) -> Self {
        Self::until(plugin, watch::channel(Phase::Serving).1)
    }

    /// Calls are cut when that phase has come.
    pub(super) fn until(plugin: Arc<dyn Plugin>, phases: watch::Receiver<Phase>) -> Self {
        Self { plugin, phases }
    }

    /// Resolves when calls in flight have had their time.
    fn cut(&self) -> impl Future<Output = ()> + Send + 'static {
        reached(&self.phases, Phase::Cut)
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<StreamResponse, Status>> + Send>>;

#[tonic::async_trait]
impl BackendPlugin for Adapter {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(control::describe(&*self.plugin, &TRANSPORTS)))
    }

    async fn initialize(
        &self,
        request: Request<InitializeRequest>,
    ) -> Result<Response<InitializeResponse>, Status> {
        Ok(Response::new(control::initialize(&*self.plugin, request.into_inner()).await))
    }

    async fn health_check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(control::health(&*self.plugin, &request.into_inner()).await))
    }

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let context = convert::context(request.metadata())?;
        let call = self.plugin.execute(context, convert::request(request.into_inner()));
        let outcome = tokio::select! {
            outcome = call => outcome,
            () = self.cut() => Err(outcome::stopping()),
        };
        let outcome = in_band(outcome).map_err(|error| convert::status(&error))?;
        Ok(Response::new(convert::response(outcome)))
    }

    type ExecuteStreamStream = Responses;

    async fn execute_stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let context = convert::context(request.metadata())?;
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(FIRST_MESSAGE, messages.message()).await;
        let first = first.map_err(|_| convert::status(&outcome::first_message_late()))??;
        let first = first.ok_or_else(|| convert::status(&outcome::first_message_missing()))?;
        let first = convert::stream_request(first);
        let rest = rest(first.operation.to_string(), messages);
        let opened = tokio::select! {
            opened = self.plugin.execute_stream(context, first, rest) => opened,
            () = self.cut() => Err(outcome::stopping()),
        };
        let responses: Responses = match opened {
            Ok(stream) => Box::pin(Cuttable { inner: Some(responses(stream)), cut: Box::pin(self.cut()) }),
            Err(error) => {
                let failed = in_band(Err(error)).map_err(|error| convert::status(&error))?;
                Box::pin(futures_util::stream::iter([Ok(convert::stream_response(failed))]))
            }
        };
        Ok(Response::new(responses))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<PluginMetrics>, Status> {
        let metrics = control::metrics(&*self.plugin, &request.into_inner()).await;
        Ok(Response::new(metrics.map_err(|error| convert::status(&error))?))
    }

    async fn shutdown(
        &self,
        request: Request<ShutdownRequest>,
    ) -> Result<Response<ShutdownResponse>, Status> {
        Ok(Response::new(control::shutdown(&*self.plugin, &request.into_inner()).await))
    }
}

/// The messages after the first, for the plugin. One that names another operation ends them.
fn rest(operation: String, messages: Streaming<StreamRequest>) -> RequestStream {
    Box::pin(messages.map(move |message| {
        let message = message.map_err(|status| {
            Error::channel(Code::from_number(status.code() as i32), status.message().to_owned())
        })?;
        outcome::later(&operation, convert::stream_request(message))
    }))
}

fn responses(stream: ResponseStream) -> Responses {
    Box::pin(
        stream
            .map(|item| in_band(item).map(convert::stream_response).map_err(|error| convert::status(&error))),
    )
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
            return Poll::Ready(Some(Err(convert::status(&outcome::stopping()))));
        }
        inner.poll_next_unpin(cx)
    }
}
