//! A plugin over the C ABI, whose control calls travel encoded: the adapters of both ends.

use super::{messages, serve};
use bytes::Bytes;
use prism_plugin_abi::{
    Call, CallContext, Code, Description, Error, Health, Initialize, Initialized, InstanceId, Metrics,
    Opening, Plugin, Request, RequestStream, Task,
    ffi::{Clock, EncodedPlugin, Method, Observer, import},
};
use prism_proto::plugin::{
    DescribeRequest, DescribeResponse, GetMetricsRequest, HealthCheckRequest, HealthCheckResponse,
    InitializeRequest, InitializeResponse, PluginMetrics, ShutdownRequest, ShutdownResponse,
};
use prost::Message;
use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// The plugin's end.
pub struct Encoded(pub Arc<dyn Plugin>);

impl EncodedPlugin for Encoded {
    fn control(&self, method: Method, message: Bytes) -> Task<Result<Bytes, Error>> {
        let plugin = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match method {
                Method::Describe => {
                    read::<DescribeRequest>(message)?;
                    write(&serve::describe(&*plugin, &[]))
                }
                Method::Initialize => write(&serve::initialize(&*plugin, read(message)?).await),
                Method::Health => {
                    write(&serve::health(&*plugin, &read::<HealthCheckRequest>(message)?).await)
                }
                Method::Metrics => {
                    write(&serve::metrics(&*plugin, &read::<GetMetricsRequest>(message)?).await?)
                }
                Method::Shutdown => {
                    write(&serve::shutdown(&*plugin, &read::<ShutdownRequest>(message)?).await)
                }
            })
        })
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        self.0.execute(context, request)
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        self.0.execute_stream(context, first, rest)
    }
}

fn read<M: Message + Default>(message: Bytes) -> Result<M, Error> {
    M::decode(message).map_err(|error| Error::channel(Code::InvalidArgument, error.to_string()))
}

fn write(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// A plugin could not say what it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadDescription {
    /// It answered with an error.
    #[error("it does not say what it is: {0}")]
    Failed(#[from] Error),
    /// What it answered is no description.
    #[error("what it says it is cannot be read: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// The proxy's end.
pub struct Decoded<P> {
    plugin: Arc<P>,
    description: Arc<Description>,
}

impl<P: EncodedPlugin> Decoded<P> {
    /// Asks the plugin what it is. Without a deadline of its own.
    ///
    /// # Errors
    /// It does not say.
    pub async fn new(plugin: P) -> Result<Self, BadDescription> {
        let answer = plugin.control(Method::Describe, write(&DescribeRequest {})).await?;
        let description = messages::read_description(DescribeResponse::decode(answer)?);
        Ok(Self { plugin: Arc::new(plugin), description: Arc::new(description) })
    }

    /// Answers with what `answer` makes of the message, or of the error.
    fn ask<M: Message + Default, T: 'static>(
        &self,
        method: Method,
        message: &impl Message,
        answer: impl FnOnce(Result<M, Error>) -> T + Send + 'static,
    ) -> Task<T> {
        let message = write(message);
        let plugin = Arc::clone(&self.plugin);
        // Asked at the first poll, like any future.
        Box::pin(async move {
            let replied = plugin.control(method, message).await.and_then(|reply| {
                M::decode(reply).map_err(|error| {
                    Error::channel(Code::Internal, format!("the plugin's answer cannot be read: {error}"))
                })
            });
            answer(replied)
        })
    }
}

impl<P: EncodedPlugin> Plugin for Decoded<P> {
    fn describe(&self) -> Arc<Description> {
        Arc::clone(&self.description)
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        let asked = request.instance;
        let message: InitializeRequest = messages::write_initialize(request, env!("CARGO_PKG_VERSION"));
        self.ask(Method::Initialize, &message, move |answer: Result<InitializeResponse, Error>| {
            let (initialized, echoed) = serve::read_initialized(answer?, asked)?;
            if !echoed {
                let message = "it does not echo the instance's number, as every plugin in this process must";
                return Err(Error::channel(Code::Internal, message));
            }
            Ok(initialized)
        })
    }

    fn health(&self, instance: InstanceId) -> Task<Health> {
        let message = HealthCheckRequest { instance: instance.0, ..Default::default() };
        self.ask(Method::Health, &message, |answer: Result<HealthCheckResponse, Error>| {
            answer.map_or_else(|error| Health::unhealthy(error.to_string()), messages::read_health)
        })
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        self.plugin.execute(context, request)
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        self.plugin.execute_stream(context, first, rest)
    }

    fn metrics(&self, instance: InstanceId) -> Task<Result<Metrics, Error>> {
        let message = GetMetricsRequest { instance: instance.0 };
        self.ask(Method::Metrics, &message, |answer: Result<PluginMetrics, Error>| {
            answer.map(|metrics| messages::read_metrics(&metrics))
        })
    }

    fn shutdown(&self, instance: InstanceId) -> Task<()> {
        let message = ShutdownRequest { instance: instance.0 };
        self.ask(Method::Shutdown, &message, |_: Result<ShutdownResponse, Error>| ())
    }
}

/// A plugin that is linked in, over the same boundary as one that is loaded: what is true of the one is then true
/// of the other.
///
/// # Panics
/// When `plugin.describe()` does: that is a mistake in the binary it is linked into.
#[must_use]
pub fn linked(plugin: Arc<dyn Plugin>, clock: Clock, observer: Arc<dyn Observer>) -> Arc<dyn Plugin> {
    let decoding = std::pin::pin!(Decoded::new(import::linked(Encoded(plugin), clock, observer)));
    match decoding.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(decoded)) => Arc::new(decoded),
        Poll::Ready(Err(error)) => panic!("a plugin that is linked in: {error}"),
        Poll::Pending => unreachable!("`Encoded` describes a plugin without waiting"),
    }
}
