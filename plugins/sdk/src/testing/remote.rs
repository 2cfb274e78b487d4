//! A plugin behind a unix socket as a [`Plugin`], over either transport: so that a suite runs against a
//! sidecar exactly as it runs in memory. For tests; it copies without shame.

mod frames;
mod grpc;

pub use grpc::{Bare, connect};

use bytes::Buf;
use futures_util::{Stream, StreamExt, stream};
use prism_plugin_abi::{
    Call, CallContext, Code, Description, Error, Health, HealthStatus, Initialize, Initialized, InstanceId,
    Metrics, Opening, Payload, Plugin, Request, RequestStream, Task,
};
use prism_plugin_envelope::{decode_reply, decode_stream_reply, encode_request};
use prism_proto::{
    google::protobuf::Any,
    plugin::{
        DescribeRequest, DescribeResponse, GetMetricsRequest, HealthCheckRequest, HealthCheckResponse,
        InitializeRequest, InitializeResponse, PluginMetrics, ShutdownRequest, ShutdownResponse,
    },
};
use prost::Message;
use std::{path::PathBuf, pin::Pin, sync::Arc};

/// What carries the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// gRPC, through tonic's stock client.
    Grpc,
    /// Prism frames.
    Frames,
}

impl Transport {
    /// Every one: what holds for a plugin holds over each.
    pub const ALL: [Self; 2] = [Self::Grpc, Self::Frames];
}

/// Messages without their prefix.
type Messages = Pin<Box<dyn Stream<Item = Payload> + Send>>;
type Replies = Pin<Box<dyn Stream<Item = Result<Payload, Error>> + Send>>;

/// One connection.
#[derive(Clone)]
enum Wire {
    Grpc(grpc::Wire),
    Frames(frames::Wire),
}

impl Wire {
    async fn unary(&self, method: &str, context: &CallContext, message: Payload) -> Result<Payload, Error> {
        match self {
            Self::Grpc(wire) => wire.unary(method, context, message).await,
            Self::Frames(wire) => wire.unary(method, context, message).await,
        }
    }

    async fn stream(&self, context: &CallContext, messages: Messages) -> Result<Replies, Error> {
        match self {
            Self::Grpc(wire) => wire.stream(context, messages).await,
            Self::Frames(wire) => wire.stream(context, messages).await,
        }
    }

    async fn control<R: Message + Default>(&self, method: &str, message: &impl Message) -> Result<R, Error> {
        let message = Payload::from(bytes::Bytes::from(message.encode_to_vec()));
        let answer = self.unary(method, &CallContext::default(), message).await?;
        R::decode(answer).map_err(|error| Error::channel(Code::Internal, error.to_string()))
    }
}

/// A plugin behind a unix socket.
#[derive(Clone)]
pub struct RemotePlugin {
    wire: Wire,
    description: Arc<Description>,
}

/// The prefix of a message that was made for the wire.
const PREFIX: usize = 5;

fn message(request: Request) -> Result<Payload, Error> {
    let mut framed =
        encode_request(request).map_err(|error| Error::channel(Code::Internal, error.to_string()))?;
    framed.advance(PREFIX);
    Ok(framed)
}

fn with_prefix(message: &Payload) -> Payload {
    let mut framed = vec![0; PREFIX];
    framed[1..].copy_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    let mut framed = Payload::from(bytes::Bytes::from(framed));
    message.pieces().for_each(|piece| framed.push(piece.clone()));
    framed
}

fn protocol(error: &prism_plugin_envelope::ProtocolError) -> Error {
    Error::channel(Code::Internal, error.to_string())
}

impl RemotePlugin {
    /// Connects.
    ///
    /// # Panics
    /// When nobody answers there.
    pub async fn connect(path: PathBuf, description: Arc<Description>, transport: Transport) -> Self {
        let wire = match transport {
            Transport::Grpc => Wire::Grpc(grpc::Wire::connect(path).await),
            Transport::Frames => Wire::Frames(frames::Wire::connect(path).await),
        };
        Self { wire, description }
    }

    /// What the plugin is, as it says itself.
    ///
    /// # Errors
    /// What the plugin says.
    pub async fn fetch_description(&self) -> Result<DescribeResponse, Error> {
        self.wire.control("Describe", &DescribeRequest {}).await
    }

    /// What the plugin counted, over the wire.
    ///
    /// # Errors
    /// What the plugin says.
    pub async fn fetch_metrics(&self, instance: InstanceId) -> Result<PluginMetrics, Error> {
        self.wire.control("GetMetrics", &GetMetricsRequest { instance: instance.0 }).await
    }

    /// Builds an instance and returns the whole answer.
    ///
    /// # Errors
    /// What the plugin says.
    pub async fn initialize_with(&self, request: &InitializeRequest) -> Result<InitializeResponse, Error> {
        self.wire.control("Initialize", request).await
    }
}

impl Plugin for RemotePlugin {
    fn describe(&self) -> Arc<Description> {
        self.description.clone()
    }

    fn initialize(&self, mut request: Initialize) -> Task<Result<Initialized, Error>> {
        let this = self.clone();
        Box::pin(async move {
            let message = InitializeRequest {
                namespace: request.namespace,
                backend_type: request.backend_type,
                config: Some(Any { type_url: request.config_type_url, value: request.config }),
                credentials: std::mem::take(&mut request.credentials.0).into_iter().collect(),
                capabilities: None,
                instance: request.instance.0,
            };
            let answer = this.initialize_with(&message).await?;
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
        let wire = self.wire.clone();
        Box::pin(async move {
            let message = HealthCheckRequest { connection_id: None, instance: instance.0 };
            match wire.control::<HealthCheckResponse>("HealthCheck", &message).await {
                Err(error) => Health::unhealthy(error.message),
                Ok(answer) => Health {
                    status: match answer.status {
                        0 => HealthStatus::Healthy,
                        1 => HealthStatus::Degraded,
                        _ => HealthStatus::Unhealthy,
                    },
                    message: answer.message,
                    details: answer.details.into_iter().collect(),
                },
            }
        })
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let wire = self.wire.clone();
        Box::pin(async move {
            let answer = wire.unary("Execute", &context, message(request)?).await?;
            decode_reply(with_prefix(&answer)).map_err(|error| protocol(&error))?
        })
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let wire = self.wire.clone();
        let messages = stream::iter([Ok(first)])
            .chain(rest)
            .filter_map(|request| std::future::ready(request.and_then(message).ok()));
        Box::pin(async move {
            let answers = wire.stream(&context, Box::pin(messages)).await?;
            // An operation that failed to open says so in the first message.
            Ok(Box::pin(
                answers.map(|answer| decode_stream_reply(answer?).map_err(|error| protocol(&error))?.outcome),
            ) as _)
        })
    }

    fn metrics(&self, _: InstanceId) -> Task<Result<Metrics, Error>> {
        Box::pin(std::future::ready(Err(Error::channel(Code::Unimplemented, "it counts nothing"))))
    }

    fn shutdown(&self, instance: InstanceId) -> Task<()> {
        let wire = self.wire.clone();
        Box::pin(async move {
            // As of every caller: an instance that is gone is retired.
            let message = ShutdownRequest { instance: instance.0 };
            let _ = wire.control::<ShutdownResponse>("Shutdown", &message).await;
        })
    }
}
