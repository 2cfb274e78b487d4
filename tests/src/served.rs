//! A namespace of a running proxy as a plugin, so that a suite for plugins runs through the whole of it.

mod http;
mod typed;

pub use http::Http;
pub use typed::Typed;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use prism_plugin_abi::{
    ByteString, Call, CallContext, Code, Data, Description, Error, Health, Initialize, Initialized,
    InstanceId, Metrics, Opening, Payload, Plugin, Request, RequestStream, ResponseStream, Task,
};
use prism_plugin_sdk::{
    implements,
    testing::{Instance, KvCapabilities, kv_suite},
};
use prism_proto::{
    data::v1::data_service_client::DataServiceClient,
    google::protobuf::Any,
    plugin::{
        ExecuteRequest, StreamRequest, execute_request, execute_response, stream_request, stream_response,
    },
};
use std::{
    collections::HashMap,
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};
use tonic::{
    Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

/// The key-value suite on namespace `kv` of the proxy that listens on this port, by every way in: `Execute`, typed calls,
/// JSON and octet streams. Results and errors must be the same by each.
///
/// # Panics
/// When something is not as it should be.
pub async fn kv_by_every_way_in(port: u16) {
    let ways: [Arc<dyn Plugin>; 4] = [
        Arc::new(Served::new(port, "kv")),
        Arc::new(Typed::new(port, "kv")),
        Arc::new(Http::json(port, "kv").await),
        Arc::new(Http::raw(port, "kv").await),
    ];
    for plugin in ways {
        let instance = Instance { plugin, id: InstanceId(1), namespace: "kv".into() };
        kv_suite(&instance, KvCapabilities { watch: true, proxied: true }).await;
    }
}

/// One namespace, reached over gRPC.
#[derive(Debug, Clone)]
pub struct Served {
    client: DataServiceClient<Channel>,
    namespace: MetadataValue<tonic::metadata::Ascii>,
}

impl Served {
    /// The namespace of the proxy that listens on this port.
    ///
    /// # Panics
    /// When the name is no header value.
    #[must_use]
    pub fn new(port: u16, namespace: &str) -> Self {
        Self { client: DataServiceClient::new(channel(port)), namespace: namespace.parse().unwrap() }
    }

    fn request<T>(&self, context: &CallContext, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(deadline) = context.deadline {
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        }
        request.metadata_mut().insert("x-prism-namespace", self.namespace.clone());
        request
    }
}

fn channel(port: u16) -> Channel {
    Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy()
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` gives it
fn refused(status: Status) -> Error {
    Error::channel(Code::from_number(status.code() as i32), status.message().to_owned())
}

fn typed(type_url: &str, value: Payload) -> Any {
    Any { type_url: type_url.to_owned(), value: value.into_bytes() }
}

fn pairs(metadata: Vec<(ByteString, ByteString)>) -> HashMap<String, String> {
    metadata.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn result(typed: Option<Any>, raw: Option<Bytes>) -> Data {
    match (typed, raw) {
        (Some(Any { type_url, value }), _) => Data::Typed { type_url: type_url.into(), value: value.into() },
        (None, Some(raw)) => Data::Raw(raw.into()),
        (None, None) => Data::Empty,
    }
}

fn message(request: Request) -> StreamRequest {
    StreamRequest {
        operation: request.operation.to_string(),
        params: match request.params {
            Data::Empty => None,
            Data::Typed { type_url, value } => {
                Some(stream_request::Params::TypedParams(typed(&type_url, value)))
            }
            Data::Raw(payload) => Some(stream_request::Params::RawParams(payload.into_bytes())),
        },
        metadata: pairs(request.metadata),
    }
}

/// The client's side of a stream. One that breaks off ends here: that is what reaches a proxy of it.
struct Messages {
    first: Option<StreamRequest>,
    rest: RequestStream,
}

impl Stream for Messages {
    type Item = StreamRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StreamRequest>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.rest.poll_next_unpin(cx).map(|item| item?.ok().map(message)),
        }
    }
}

impl Plugin for Served {
    fn describe(&self) -> Arc<Description> {
        Arc::new(implements("served", "1", &["prism.kv.v1"]))
    }

    fn initialize(&self, _: Initialize) -> Task<Result<Initialized, Error>> {
        Box::pin(ready(Ok(Initialized::default())))
    }

    fn health(&self, _: InstanceId) -> Task<Health> {
        Box::pin(ready(Health::healthy()))
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let params = match request.params {
            Data::Empty => None,
            Data::Typed { type_url, value } => {
                Some(execute_request::Params::TypedParams(typed(&type_url, value)))
            }
            Data::Raw(payload) => Some(execute_request::Params::RawParams(payload.into_bytes())),
        };
        let message = ExecuteRequest {
            operation: request.operation.to_string(),
            params,
            metadata: pairs(request.metadata),
        };
        let (mut client, request) = (self.client.clone(), self.request(&context, message));
        Box::pin(async move {
            let answer = client.execute(request).await.map_err(refused)?.into_inner();
            if !answer.success {
                return Err(Error::operation(Code::from_number(answer.error_code), answer.error));
            }
            Ok(match answer.result {
                None => Data::Empty,
                Some(execute_response::Result::TypedResult(any)) => result(Some(any), None),
                Some(execute_response::Result::RawResult(raw)) => result(None, Some(raw)),
            })
        })
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let messages = Messages { first: Some(message(first)), rest };
        let (mut client, request) = (self.client.clone(), self.request(&context, messages));
        Box::pin(async move {
            let answers = client.execute_stream(request).await.map_err(refused)?.into_inner();
            let answers = answers.map(|answer| {
                let answer = answer.map_err(refused)?;
                if answer.error_code != 0 {
                    return Err(Error::operation(Code::from_number(answer.error_code), answer.error));
                }
                Ok(match answer.result {
                    None => Data::Empty,
                    Some(stream_response::Result::TypedResult(any)) => result(Some(any), None),
                    Some(stream_response::Result::RawResult(raw)) => result(None, Some(raw)),
                })
            });
            Ok(Box::pin(answers) as ResponseStream)
        })
    }

    fn metrics(&self, _: InstanceId) -> Task<Result<Metrics, Error>> {
        Box::pin(ready(Err(Error::channel(Code::Unimplemented, "it counts nothing"))))
    }

    fn shutdown(&self, _: InstanceId) -> Task<()> {
        Box::pin(ready(()))
    }
}
