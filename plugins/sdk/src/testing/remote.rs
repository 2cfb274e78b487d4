//! A plugin behind a unix socket as a [`Plugin`], through tonic's stock client: so that a suite runs
//! against a sidecar exactly as it runs in memory. For tests; it buffers and copies without shame.

use futures_util::{Stream, StreamExt, stream};
use prism_plugin_abi::{
    Call, CallContext, Code, Data, Description, Error, Health, HealthStatus, Initialize, Initialized,
    InstanceId, Metrics, Opening, Plugin, Request, RequestStream, Task,
};
use prism_proto::{
    google::protobuf::Any,
    plugin::{
        ExecuteRequest, GetMetricsRequest, HealthCheckRequest, InitializeRequest, ShutdownRequest,
        StreamRequest, backend_plugin_client::BackendPluginClient, execute_request, execute_response,
        stream_request, stream_response,
    },
};
use std::{
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tonic::{
    Status,
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

/// A plugin behind a unix socket.
pub struct RemotePlugin {
    client: BackendPluginClient<Channel>,
    description: Arc<Description>,
}

impl RemotePlugin {
    /// Connects.
    ///
    /// # Panics
    /// When nobody answers there.
    pub async fn connect(path: PathBuf, description: Arc<Description>) -> Self {
        let client = BackendPluginClient::new(connect(path).await).max_decoding_message_size(usize::MAX);
        Self { client, description }
    }
}

fn channel(status: &Status) -> Error {
    Error::channel(Code::from_number(status.code() as i32), status.message().to_owned())
}

fn with_context<T>(message: T, context: &CallContext) -> Result<tonic::Request<T>, Error> {
    let mut request = tonic::Request::new(message);
    let mut insert = |name: &'static str, value: &str| {
        let value = value.parse().map_err(|_| Error::invalid(format!("`{name}` is no header value")))?;
        request.metadata_mut().insert(name, value);
        Ok(())
    };
    insert("x-prism-instance", &context.instance.0.to_string())?;
    insert("x-prism-namespace", &context.namespace)?;
    if let Some(principal) = &context.principal {
        insert("x-prism-principal", principal)?;
    }
    Ok(request)
}

fn pairs(request: &Request) -> std::collections::HashMap<String, String> {
    request.metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn stream_request(request: Request) -> StreamRequest {
    StreamRequest {
        operation: request.operation.to_string(),
        metadata: pairs(&request),
        params: match request.params {
            Data::Empty => None,
            Data::Typed { type_url, value } => {
                Some(stream_request::Params::TypedParams(any(&type_url, value)))
            }
            Data::Raw(payload) => Some(stream_request::Params::RawParams(payload.into_bytes())),
        },
    }
}

fn any(type_url: &str, value: prism_plugin_abi::Payload) -> Any {
    Any { type_url: type_url.to_owned(), value: value.into_bytes() }
}

fn typed(any: Any) -> Data {
    Data::Typed { type_url: any.type_url.into(), value: any.value.into() }
}

/// A type with a name: the compiler cannot prove a boxed stream `Send` through tonic's generics.
struct Messages(Pin<Box<dyn Stream<Item = StreamRequest> + Send>>);

impl Stream for Messages {
    type Item = StreamRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StreamRequest>> {
        self.0.poll_next_unpin(cx)
    }
}

impl Plugin for RemotePlugin {
    fn describe(&self) -> Arc<Description> {
        self.description.clone()
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        let mut client = self.client.clone();
        Box::pin(async move {
            let message = InitializeRequest {
                namespace: request.namespace,
                backend_type: request.backend_type,
                config: Some(Any { type_url: request.config_type_url, value: request.config }),
                credentials: request.credentials.0.into_iter().collect(),
                capabilities: None,
                instance: request.instance.0,
            };
            let answer = client.initialize(message).await.map_err(|status| channel(&status))?.into_inner();
            if !answer.success {
                return Err(Error::operation(Code::from_number(answer.error_code), answer.error));
            }
            Ok(Initialized {
                plugin_version: answer.plugin_version,
                supported_operations: answer.supported_operations,
            })
        })
    }

    fn health(&self, instance: InstanceId) -> Task<Health> {
        let mut client = self.client.clone();
        Box::pin(async move {
            let message = HealthCheckRequest { connection_id: None, instance: instance.0 };
            match client.health_check(message).await {
                Err(status) => Health::unhealthy(status.message()),
                Ok(answer) => {
                    let answer = answer.into_inner();
                    Health {
                        status: match answer.status {
                            0 => HealthStatus::Healthy,
                            1 => HealthStatus::Degraded,
                            _ => HealthStatus::Unhealthy,
                        },
                        message: answer.message,
                        details: answer.details.into_iter().collect(),
                    }
                }
            }
        })
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let mut client = self.client.clone();
        Box::pin(async move {
            let message = ExecuteRequest {
                operation: request.operation.to_string(),
                metadata: pairs(&request),
                params: match request.params {
                    Data::Empty => None,
                    Data::Typed { type_url, value } => {
                        Some(execute_request::Params::TypedParams(any(&type_url, value)))
                    }
                    Data::Raw(payload) => Some(execute_request::Params::RawParams(payload.into_bytes())),
                },
            };
            let call = client.execute(with_context(message, &context)?);
            let answer = call.await.map_err(|status| channel(&status))?.into_inner();
            if !answer.success {
                return Err(Error::operation(Code::from_number(answer.error_code), answer.error));
            }
            Ok(match answer.result {
                None => Data::Empty,
                Some(execute_response::Result::TypedResult(any)) => typed(any),
                Some(execute_response::Result::RawResult(bytes)) => Data::Raw(bytes.into()),
            })
        })
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let mut client = self.client.clone();
        let rest = rest.filter_map(|message| std::future::ready(message.ok().map(stream_request)));
        let messages = Messages(Box::pin(stream::iter([stream_request(first)]).chain(rest)));
        Box::pin(async move {
            let call = client.execute_stream(with_context(messages, &context)?);
            let mut answers = call.await.map_err(|status| channel(&status))?.into_inner();
            let answers = stream::poll_fn(move |cx| {
                let next = ready!(answers.poll_next_unpin(cx));
                Poll::Ready(next.map(|answer| {
                    let answer = answer.map_err(|status| channel(&status))?;
                    if answer.error_code != 0 {
                        return Err(Error::operation(Code::from_number(answer.error_code), answer.error));
                    }
                    Ok(match answer.result {
                        None => Data::Empty,
                        Some(stream_response::Result::TypedResult(any)) => typed(any),
                        Some(stream_response::Result::RawResult(bytes)) => Data::Raw(bytes.into()),
                    })
                }))
            });
            // An operation that failed to open says so in the first message.
            Ok(Box::pin(answers) as _)
        })
    }

    fn metrics(&self, _: InstanceId) -> Option<Metrics> {
        None
    }

    fn shutdown(&self, instance: InstanceId) -> Task<()> {
        let mut client = self.client.clone();
        Box::pin(async move {
            // As of every caller: an instance that is gone is retired.
            let _ = client.shutdown(ShutdownRequest { instance: instance.0 }).await;
        })
    }
}

impl RemotePlugin {
    /// What the plugin counted, over the wire.
    ///
    /// # Errors
    /// What the plugin says.
    pub async fn fetch_metrics(
        &self,
        instance: InstanceId,
    ) -> Result<prism_proto::plugin::PluginMetrics, Error> {
        let call = self.client.clone().get_metrics(GetMetricsRequest { instance: instance.0 }).await;
        call.map(tonic::Response::into_inner).map_err(|status| channel(&status))
    }
}
