//! A gRPC client that looks at the answer: the load generator does not.

use crate::{call::Call, error::Error};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, StatusCode};
use prism_platform::{Address, Platform, time::timeout};
use prism_proto::{
    google::protobuf::Any,
    plugin::{ExecuteRequest, InitializeRequest, InitializeResponse, execute_request::Params},
};
use prost::Message;
use std::{path::Path, time::Duration};

/// The number of the instance that this program has initialized in a plugin.
pub(crate) const INSTANCE: u64 = 1;
/// The namespace of every call.
pub(crate) const NAMESPACE: &str = "echo";
/// Longest wait for one answer. 16 MiB through the slowest peer take a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Window per stream and connection (RFC 9113, section 6.9.1, allows no more): this client limits nobody.
const WINDOW: u32 = (1 << 31) - 1;

/// An HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Client {
    send: SendRequest<Bytes>,
}

impl Client {
    /// Connects, on a task of the current runtime.
    pub(crate) async fn open(address: &Address) -> Result<Self, String> {
        bounded(async {
            let io = Platform::system().connect(address).await.map_err(|error| error.to_string())?;
            let (send, connection) = h2::client::Builder::new()
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .handshake(io)
                .await
                .map_err(|error| error.to_string())?;
            // Ends with the connection, which ends when `send` is dropped.
            tokio::spawn(connection);
            Ok(Self { send })
        })
        .await
    }

    /// Opens a call: its answer's headers, and the stream to send messages on.
    pub(crate) async fn start(
        &mut self,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>), String> {
        let mut request = Request::post(format!("http://compare{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(()).map_err(|error| error.to_string())?;
        let mut send = self.send.clone().ready().await.map_err(|error| error.to_string())?;
        send.send_request(request, false).map_err(|error| error.to_string())
    }

    /// One unary call, from the first byte out to the trailers.
    pub(crate) async fn unary(
        &mut self,
        path: &str,
        headers: &[(&'static str, String)],
        message: Bytes,
    ) -> Result<Bytes, String> {
        bounded(async {
            let (response, mut body) = self.start(path, headers).await?;
            body.send_data(message, true).map_err(|error| error.to_string())?;
            let response = response.await.map_err(|error| error.to_string())?;
            let mut body = accepted(response)?;
            let mut bytes = BytesMut::new();
            while let Some(data) = body.data().await {
                let data = data.map_err(|error| error.to_string())?;
                body.flow_control().release_capacity(data.len()).map_err(|error| error.to_string())?;
                bytes.put(data);
            }
            let trailers = body.trailers().await.map_err(|error| error.to_string())?;
            ok(&trailers.unwrap_or_default())?;
            unframe(bytes.freeze())
        })
        .await
    }

    /// How a unary call ends: its `grpc-status`, whatever the answer is besides.
    pub(crate) async fn status(&mut self, call: &Call, payload: usize) -> Result<String, String> {
        bounded(async {
            let (response, mut body) = self.start(&call.unary, &call.headers).await?;
            // Who refuses a call by its head may have reset the stream by now, and that is no matter here.
            let _ = body.send_data(call.form.request(payload), true);
            let response = response.await.map_err(|error| error.to_string())?;
            if let Some(status) = response.headers().get("grpc-status") {
                return Ok(String::from_utf8_lossy(status.as_bytes()).into_owned());
            }
            let http = response.status();
            let mut body = response.into_body();
            while let Some(data) = body.data().await {
                let data = data.map_err(|error| error.to_string())?;
                body.flow_control().release_capacity(data.len()).map_err(|error| error.to_string())?;
            }
            let trailers = body.trailers().await.map_err(|error| error.to_string())?.unwrap_or_default();
            let status =
                trailers.get("grpc-status").ok_or_else(|| format!("no grpc-status, HTTP status {http}"))?;
            Ok(String::from_utf8_lossy(status.as_bytes()).into_owned())
        })
        .await
    }

    /// One echo of `payload`; anything but the same bytes under status OK is an error.
    pub(crate) async fn check(&mut self, call: &Call, payload: usize) -> Result<(), String> {
        let answer = self.unary(&call.unary, &call.headers, call.form.request(payload)).await?;
        call.form.check(answer, payload)
    }
}

/// Builds the instance that calls to a plugin without a prism-edge in front name.
pub(crate) async fn initialize(socket: &Path) -> Result<(), String> {
    let mut client = Client::open(&Address::Unix(socket.to_path_buf())).await?;
    let request = InitializeRequest {
        namespace: NAMESPACE.to_owned(),
        backend_type: "echo".to_owned(),
        config: Some(Any {
            type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(),
            value: Bytes::new(),
        }),
        instance: INSTANCE,
        ..Default::default()
    };
    let answer = client.unary("/prism.plugin.BackendPlugin/Initialize", &[], frame(&request)).await?;
    let answer = InitializeResponse::decode(answer).map_err(|error| error.to_string())?;
    if answer.success { Ok(()) } else { Err(answer.error) }
}

/// A request of the operation `operation`.
pub(crate) fn echo(operation: &str, payload: Bytes) -> ExecuteRequest {
    ExecuteRequest {
        operation: operation.to_owned(),
        params: Some(Params::RawParams(payload)),
        ..Default::default()
    }
}

/// Bytes that differ from their neighbours, so that a piece in the wrong place shows.
pub(crate) fn pattern(length: usize) -> Bytes {
    (0..length).map(|index| (index ^ (index >> 8) ^ (index >> 16)).to_le_bytes()[0]).collect()
}

/// A message behind gRPC's length prefix.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    frame_bytes(&message.encode_to_vec())
}

/// The same for a message that is encoded already.
pub(crate) fn frame_bytes(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    // The largest message here has 16 MiB.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

fn unframe(mut bytes: Bytes) -> Result<Bytes, String> {
    if bytes.len() < 5 {
        return Err(format!("the answer has {} bytes", bytes.len()));
    }
    let (compressed, length) = (bytes.get_u8(), bytes.get_u32());
    if compressed == 0 && usize::try_from(length).is_ok_and(|length| length == bytes.len()) {
        Ok(bytes)
    } else {
        Err(format!("the answer is no single message: prefix {compressed} {length}, {} bytes", bytes.len()))
    }
}

/// The body of an answer that is a gRPC answer and has not failed at once.
pub(crate) fn accepted(response: Response<h2::RecvStream>) -> Result<h2::RecvStream, String> {
    if response.status() != StatusCode::OK {
        return Err(format!("HTTP status {}", response.status()));
    }
    if response.headers().contains_key("grpc-status") {
        ok(response.headers())?;
    }
    Ok(response.into_body())
}

/// Whether these trailers say OK.
pub(crate) fn ok(trailers: &HeaderMap) -> Result<(), String> {
    let text = |name| trailers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        status => Err(format!("grpc-status {status:?}, grpc-message {:?}", text("grpc-message"))),
    }
}

async fn bounded<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// The same as an error of the comparison.
pub(crate) fn answer<T>(peer: &str, result: Result<T, String>) -> Result<T, Error> {
    result.map_err(|problem| Error::Answer { peer: peer.to_owned(), problem })
}
