//! The same by typed calls: `prism.kv.v1.KeyValueService/Get` in place of `Execute("get")`.

use super::{Served, refused};
use bytes::Bytes;
use futures_util::StreamExt;
use http::uri::PathAndQuery;
use prism_plugin_abi::{
    Call, CallContext, Code, Data, Description, Error, Health, Initialize, Initialized, InstanceId, Metrics,
    Opening, Payload, Plugin, Request, RequestStream, ResponseStream, Task,
};
use prism_plugin_sdk::testing::Bare;
use prism_proto::Method;
use std::sync::Arc;
use tonic::{Status, client::Grpc, transport::Channel};
use tonic_types::StatusExt;

/// A namespace, reached by typed calls; what has no type goes by `Execute`.
#[derive(Debug, Clone)]
pub struct Typed(Served, Channel);

impl Typed {
    /// The namespace of the proxy that listens on this port.
    ///
    /// # Panics
    /// When the name is no header value.
    #[must_use]
    pub fn new(port: u16, namespace: &str) -> Self {
        Self(Served::new(port, namespace), super::channel(port))
    }
}

/// The method that an operation with typed parameters is.
fn method(request: &Request) -> Option<&'static Method> {
    let Data::Typed { type_url, .. } = &request.params else { return None };
    let methods = prism_proto::interface("prism.kv.v1").unwrap().methods;
    // Of another type it would be another method's parameters: that is for `Execute` to refuse.
    methods.iter().find(|method| {
        *method.operation == *request.operation && **type_url == prism_proto::type_url(method.params_type)
    })
}

fn path(method: &Method) -> PathAndQuery {
    format!("/{}", method.service_method).parse().unwrap()
}

fn parameters(data: Data) -> Bytes {
    match data {
        Data::Empty => Bytes::new(),
        Data::Typed { value, .. } | Data::Raw(value) => value.into_bytes(),
    }
}

fn result(method: &Method, message: Bytes) -> Data {
    let type_url = prism_proto::type_url(method.result_type);
    Data::Typed { type_url: type_url.into(), value: Payload::from(message) }
}

/// A failed operation is the call's status, and says so in its details.
#[allow(clippy::needless_pass_by_value)] // as `map_err` gives it
fn failed(status: Status) -> Error {
    let details = status.get_error_details();
    match details.error_info() {
        Some(info) if info.reason == "OPERATION_FAILED" => {
            assert!(
                info.metadata.contains_key("namespace") && info.metadata.contains_key("plugin"),
                "{info:?}"
            );
            Error::operation(Code::from_number(status.code() as i32), status.message().to_owned())
        }
        _ => refused(status),
    }
}

impl Plugin for Typed {
    fn describe(&self) -> Arc<Description> {
        self.0.describe()
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        self.0.initialize(request)
    }

    fn health(&self, instance: InstanceId) -> Task<Health> {
        self.0.health(instance)
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let Some(method) = method(&request) else { return self.0.execute(context, request) };
        let message = self.0.request(&context, parameters(request.params));
        let mut client = Grpc::new(self.1.clone());
        Box::pin(async move {
            client.ready().await.map_err(|error| refused(Status::unavailable(error.to_string())))?;
            let answer = client.unary(message, path(method), Bare).await.map_err(failed)?;
            Ok(result(method, answer.into_inner()))
        })
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let Some(method) = method(&first) else { return self.0.execute_stream(context, first, rest) };
        // All there are take one message.
        assert!(!method.client_streaming, "{method:?}");
        let message = self.0.request(&context, parameters(first.params));
        let mut client = Grpc::new(self.1.clone());
        Box::pin(async move {
            client.ready().await.map_err(|error| refused(Status::unavailable(error.to_string())))?;
            let answers =
                client.server_streaming(message, path(method), Bare).await.map_err(failed)?.into_inner();
            let answers = answers.map(move |answer| answer.map(|item| result(method, item)).map_err(failed));
            Ok(Box::pin(answers) as ResponseStream)
        })
    }

    fn metrics(&self, instance: InstanceId) -> Task<Result<Metrics, Error>> {
        self.0.metrics(instance)
    }

    fn shutdown(&self, instance: InstanceId) -> Task<()> {
        self.0.shutdown(instance)
    }
}
