//! The same over HTTP: typed operations in JSON, or raw ones as octet streams.

use super::{Served, refused};
use crate::client::http2::{self, Connection};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prism_plugin_abi::{
    Call, CallContext, Code, Data, Description, Error, Health, Initialize, Initialized, InstanceId, Metrics,
    Opening, Payload, Plugin, Request, RequestStream, ResponseStream, Task,
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};
use tonic::Status;

/// How parameters and results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Raw,
}

/// A namespace, reached over HTTP; what has no such form goes by `Execute`.
#[derive(Debug, Clone)]
pub struct Http {
    served: Served,
    connection: Arc<Connection>,
    namespace: String,
    form: Form,
}

impl Http {
    /// In JSON, what is typed.
    pub async fn json(port: u16, namespace: &str) -> Self {
        Self::new(port, namespace, Form::Json).await
    }

    /// As octet streams, what is raw.
    pub async fn raw(port: u16, namespace: &str) -> Self {
        Self::new(port, namespace, Form::Raw).await
    }

    async fn new(port: u16, namespace: &str, form: Form) -> Self {
        let connection = Arc::new(http2::connect(port).await);
        Self { served: Served::new(port, namespace), connection, namespace: namespace.to_owned(), form }
    }

    /// A request of this operation, and its body.
    fn request(
        &self,
        context: &CallContext,
        operation: &str,
        content_type: &str,
        metadata: &[(impl AsRef<str>, impl AsRef<str>)],
    ) -> http::Request<()> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let query: Vec<_> = metadata
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name.as_ref()), encode(value.as_ref())))
            .collect();
        let url = format!("http://127.0.0.1/v1/{}/{operation}?{}", self.namespace, query.join("&"));
        let mut request = http::Request::post(url).header("content-type", content_type);
        if let Some(deadline) = context.deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            request = request.header("grpc-timeout", format!("{left}m"));
        }
        request.body(()).unwrap()
    }
}

/// The messages of an operation, if its parameters are of that type: of another they are for `Execute` to refuse.
fn types(operation: &str, type_url: &str) -> Option<(MessageDescriptor, MessageDescriptor)> {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(prism_proto::FILE_DESCRIPTOR_SET).unwrap());
    let methods = prism_proto::interface("prism.kv.v1").unwrap().methods;
    let method = methods.iter().find(|method| method.operation == operation)?;
    let find = |name| POOL.get_message_by_name(name).unwrap();
    (type_url == format!("type.googleapis.com/{}", method.params_type))
        .then(|| (find(method.params_type), find(method.result_type)))
}

/// A message as JSON; `None` of bytes that are no such message, which have none.
fn json(value: Payload, message: &MessageDescriptor) -> Option<Bytes> {
    let message = DynamicMessage::decode(message.clone(), value).ok()?;
    Some(serde_json::to_vec(&message).unwrap().into())
}

fn result(json: &Value, message: &MessageDescriptor) -> Data {
    let decoded = DynamicMessage::deserialize(message.clone(), json);
    let decoded = decoded.unwrap_or_else(|error| panic!("{json}: {error}"));
    let type_url = format!("type.googleapis.com/{}", message.full_name());
    Data::Typed { type_url: type_url.into(), value: Bytes::from(decoded.encode_to_vec()).into() }
}

/// An error's JSON.
fn failed(error: &Value) -> Error {
    let text = |name: &str| -> String {
        error[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {error}")).to_owned()
    };
    assert!(!text("request_id").is_empty(), "{error}");
    let code = Code::ALL.iter().copied().find(|code| {
        let plain = format!("{code:?}").to_lowercase();
        plain == text("code").replace('_', "").to_lowercase()
    });
    let code = code.unwrap_or_else(|| panic!("no such code: {error}"));
    match &*text("reason") {
        "OPERATION_FAILED" => Error::operation(code, text("message")),
        _ => Error::channel(code, text("message")),
    }
}

fn broken(error: &h2::Error) -> Error {
    refused(Status::unavailable(error.to_string()))
}

impl Plugin for Http {
    fn describe(&self) -> Arc<Description> {
        self.served.describe()
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        self.served.initialize(request)
    }

    fn health(&self, instance: InstanceId) -> Task<Health> {
        self.served.health(instance)
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let (operation, metadata) = (&request.operation, &request.metadata);
        let (head, body, result_type) = match (self.form, &request.params) {
            (Form::Json, Data::Typed { type_url, value }) => {
                let types = types(operation, type_url);
                let Some((body, types)) =
                    types.and_then(|types| Some((json(value.clone(), &types.0)?, types)))
                else {
                    return self.served.execute(context, request);
                };
                (self.request(&context, operation, "application/json", metadata), body, Some(types.1))
            }
            // What a path has no plain form of is called over gRPC.
            (Form::Raw, Data::Raw(payload))
                if operation.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && !operation.is_empty() =>
            {
                let head = self.request(&context, operation, "application/octet-stream", metadata);
                (head, payload.clone().into_bytes(), None)
            }
            _ => return self.served.execute(context, request),
        };
        let connection = Arc::clone(&self.connection);
        Box::pin(async move {
            let answer = connection.call(head, body).await.map_err(|error| broken(&error))?;
            if answer.status != 200 {
                return Err(failed(&serde_json::from_slice(&answer.body).unwrap()));
            }
            match result_type {
                Some(message) => {
                    assert_eq!(answer.headers["content-type"], "application/json");
                    Ok(result(&serde_json::from_slice(&answer.body).unwrap(), &message))
                }
                None => Ok(Data::Raw(Bytes::from(answer.body).into())),
            }
        })
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let described = match (self.form, &first.params) {
            (Form::Json, Data::Typed { type_url, value }) => types(&first.operation, type_url)
                .and_then(|types| Some((json(value.clone(), &types.0)?, types.1))),
            _ => None,
        };
        let Some((body, message)) = described else {
            return self.served.execute_stream(context, first, rest);
        };
        let head = self.request(&context, &first.operation, "application/json", &first.metadata);
        let connection = Arc::clone(&self.connection);
        Box::pin(async move {
            let mut send = connection.send.clone().ready().await.map_err(|error| broken(&error))?;
            let (response, mut upload) = send.send_request(head, false).map_err(|error| broken(&error))?;
            http2::send_all(&mut upload, body, true).await.map_err(|error| broken(&error))?;
            let (head, mut body) = response.await.map_err(|error| broken(&error))?.into_parts();
            if head.status != 200 {
                let mut text = BytesMut::new();
                while let Some(piece) = http2::next(&mut body).await.unwrap() {
                    text.extend_from_slice(&piece);
                }
                return Err(failed(&serde_json::from_slice(&text).unwrap()));
            }
            assert_eq!(head.headers["content-type"], "application/x-ndjson");
            let lines = stream::unfold((body, BytesMut::new()), move |(mut body, mut text)| {
                let message = message.clone();
                async move {
                    let line = loop {
                        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                            break text.split_to(end + 1);
                        }
                        match http2::next(&mut body).await {
                            Ok(Some(piece)) => text.extend_from_slice(&piece),
                            Ok(None) => {
                                assert!(text.is_empty(), "half a line: {text:?}");
                                return None;
                            }
                            Err(error) => return Some((Err(broken(&error)), (body, text))),
                        }
                    };
                    let line: Value = serde_json::from_slice(&line).unwrap();
                    let item = match line.get("error") {
                        Some(error) => Err(failed(error)),
                        None => Ok(result(&line["result"], &message)),
                    };
                    Some((item, (body, text)))
                }
            });
            Ok(Box::pin(lines) as ResponseStream)
        })
    }

    fn metrics(&self, instance: InstanceId) -> Task<Result<Metrics, Error>> {
        self.served.metrics(instance)
    }

    fn shutdown(&self, instance: InstanceId) -> Task<()> {
        self.served.shutdown(instance)
    }
}
