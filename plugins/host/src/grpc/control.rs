//! What the control plane says to a plugin: a handful of unary calls on a connection of their own.

use super::{
    reply,
    unary::{Fault, OneMessage},
};
use crate::{
    http2::{Opened, broken, dial},
    upstream::{PeerIdentity, Target, Who},
};
use bytes::{BufMut, Bytes, BytesMut};
use h2::{Reason, client::SendRequest};
use http::{HeaderValue, Method, Request, Version, header};
use prism_platform::{Platform, time};
use prism_plugin_abi::{Code, Error};
use prism_proto::{
    envelope::{PREFIX_LEN, Prefix},
    plugin::{
        DescribeRequest, DescribeResponse, GetMetricsRequest, HealthCheckRequest, HealthCheckResponse,
        InitializeRequest, InitializeResponse, PluginMetrics, ShutdownRequest, ShutdownResponse,
    },
};
use prost::Message;
use std::{future::poll_fn, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// Descriptors of a large plugin are a few hundred KiB; nothing else here comes near.
const ANSWER_LIMIT: usize = 16 << 20;

/// An instance's counts are asked for again and again, and few bytes. What gRPC libraries take by default.
const METRICS_LIMIT: usize = 4 << 20;

/// A connection for control calls. Dropping it closes it.
pub(crate) struct Control {
    send: SendRequest<Bytes>,
    authority: String,
    peer: Option<PeerIdentity>,
    ended: watch::Receiver<Option<Lost>>,
    driver: JoinHandle<()>,
}

/// How a control connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) reason: String,
    /// The plugin said goodbye (GOAWAY without an error): it may well take a new connection.
    pub(crate) graceful: bool,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Control {
    /// Connects.
    ///
    /// # Errors
    /// Why not, with the address.
    pub(crate) async fn connect(platform: &Platform, target: &Target) -> Result<Self, String> {
        let Opened { send, driver, peer, .. } = dial(platform, target, Who::Control).await?;
        let (ended, watcher) = watch::channel(None);
        let mut probe = send.clone();
        let shown = target.to_string();
        let driver = tokio::spawn(async move {
            let result = driver.await;
            let goodbye = poll_fn(|cx| probe.poll_ready(cx)).await.err();
            let graceful = result.is_ok()
                && goodbye
                    .is_some_and(|error| error.is_go_away() && error.reason() == Some(Reason::NO_ERROR));
            let reason = match result {
                Ok(()) if graceful => format!("{shown}: the plugin closed the connection"),
                Ok(()) => format!("{shown}: the connection was lost"),
                Err(error) => format!("{shown}: the connection broke: {error}"),
            };
            ended.send_replace(Some(Lost { reason, graceful }));
        });
        let authority = target.authority();
        Ok(Self { send, authority, peer, ended: watcher, driver })
    }

    /// The process at the other end, where that can be known.
    pub(crate) fn peer(&self) -> Option<PeerIdentity> {
        self.peer
    }

    /// Resolves when the connection is gone.
    pub(crate) async fn lost(&self) -> Lost {
        let gone = Lost { reason: "the connection was lost".to_owned(), graceful: false };
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(lost) => lost.clone().unwrap_or(gone),
            Err(_) => gone,
        }
    }

    /// What the plugin is; `None` when it cannot say.
    pub(crate) async fn describe(&self, deadline: Duration) -> Result<Option<DescribeResponse>, Error> {
        match self.unary("Describe", &DescribeRequest {}, deadline).await {
            Ok(description) => Ok(Some(description)),
            Err(error) if error.code == Code::Unimplemented => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Builds an instance.
    pub(crate) async fn initialize(
        &self,
        request: &InitializeRequest,
        deadline: Duration,
    ) -> Result<InitializeResponse, Error> {
        self.unary("Initialize", request, deadline).await
    }

    /// How an instance is.
    pub(crate) async fn health(
        &self,
        instance: u64,
        deadline: Duration,
    ) -> Result<HealthCheckResponse, Error> {
        self.unary("HealthCheck", &HealthCheckRequest { connection_id: None, instance }, deadline).await
    }

    /// What an instance counted.
    pub(crate) async fn metrics(&self, instance: u64, deadline: Duration) -> Result<PluginMetrics, Error> {
        self.limited("GetMetrics", &GetMetricsRequest { instance }, deadline, METRICS_LIMIT).await
    }

    /// Retires an instance.
    pub(crate) async fn shutdown(&self, instance: u64, deadline: Duration) -> Result<(), Error> {
        self.unary::<ShutdownResponse>("Shutdown", &ShutdownRequest { instance }, deadline).await.map(drop)
    }

    async fn unary<R: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
        deadline: Duration,
    ) -> Result<R, Error> {
        self.limited(method, message, deadline, ANSWER_LIMIT).await
    }

    async fn limited<R: Message + Default>(
        &self,
        method: &str,
        message: &impl Message,
        deadline: Duration,
        limit: usize,
    ) -> Result<R, Error> {
        let call = self.call(method, frame(message)?, limit);
        let answer = time::timeout(deadline, call).await.map_err(|_| {
            Error::channel(
                Code::DeadlineExceeded,
                format!("{method}: no answer within {} ms", deadline.as_millis()),
            )
        })??;
        R::decode(answer).map_err(|error| protocol(method, &error.to_string()))
    }

    async fn call(&self, method: &str, mut body: Bytes, limit: usize) -> Result<Bytes, Error> {
        let lost = |error: h2::Error| Error::channel(Code::Unavailable, broken(&error).to_string());
        let path = format!("http://{}/prism.plugin.BackendPlugin/{method}", self.authority);
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(path)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(header::TE, HeaderValue::from_static("trailers"))
            .body(())
            .map_err(|error| protocol(method, &error.to_string()))?;
        let mut send = self.send.clone();
        poll_fn(|cx| send.poll_ready(cx)).await.map_err(lost)?;
        let (response, mut upload) = send.send_request(request, false).map_err(lost)?;
        while !body.is_empty() {
            upload.reserve_capacity(body.len());
            let capacity = match upload.capacity() {
                // A stream that takes no more has an answer, or an error, on the other side.
                0 => match poll_fn(|cx| upload.poll_capacity(cx)).await {
                    Some(Ok(capacity)) => capacity,
                    Some(Err(_)) | None => break,
                },
                capacity => capacity,
            };
            let chunk = body.split_to(capacity.min(body.len()));
            let last = body.is_empty();
            if upload.send_data(chunk, last).is_err() {
                break;
            }
        }
        let (head, mut receive) = response.await.map_err(lost)?.into_parts();
        reply::check(head.status, &head.headers).map_err(|error| protocol(method, &error.to_string()))?;
        let named = |fault| match fault {
            Fault::Status(error) => error,
            Fault::Protocol(problem) => protocol(method, &problem),
        };
        let mut answer = OneMessage::default();
        while let Some(piece) = receive.data().await {
            let piece = piece.map_err(lost)?;
            let length = piece.len();
            answer.push(piece, limit).map_err(named)?;
            receive.flow_control().release_capacity(length).map_err(lost)?;
        }
        let trailers = receive.trailers().await.map_err(lost)?;
        answer.finish(trailers.as_ref().unwrap_or(&head.headers)).map_err(named)
    }
}

fn protocol(method: &str, problem: &str) -> Error {
    Error::channel(Code::Internal, format!("{method}: {problem}"))
}

fn frame(message: &impl Message) -> Result<Bytes, Error> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length).map_err(|_| protocol("request", "it is above 4 GiB"))?;
    let mut frame = BytesMut::with_capacity(PREFIX_LEN + length);
    frame.put_slice(&Prefix { compressed: false, length: prefix }.encode());
    message.encode(&mut frame).map_err(|error| protocol("request", &error.to_string()))?;
    Ok(frame.freeze())
}
