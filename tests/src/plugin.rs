//! A plugin on a bare h2 server and a bare frames session, so that it sees what really arrives: every header,
//! every byte, and whether a message ever ended. It records each call before it answers.
//!
//! Operations, all on raw bytes: `echo` (after `metadata["sleep_ms"]`), `source` (so many bytes), `sink` (how
//! many bytes came), `echo_stream` (both ways). And one on typed parameters, `answer` ([`ANSWER`]), which answers with
//! exactly the bytes that it is sent, whatever they are.

mod frames;

use crate::{client::http2, wire};
use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, request};
use prism_proto::plugin::{
    DescribeResponse, ExecuteRequest, ExecuteResponse, HealthCheckResponse, InitializeRequest,
    InitializeResponse, OperationInfo, PluginMetrics, ShutdownResponse, StreamRequest, StreamResponse,
    execute_request::Params, execute_response, operation_info::Kind, stream_request, stream_response,
};
use prost::Message;
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
    sync::oneshot,
};

/// The typed method that is operation `answer`. Its parameters are the bytes of a framed `ExecuteResponse`, or of what is
/// none.
pub const ANSWER: &str = "test.v1.Test/Answer";
/// URL of the type of its result.
pub const ANSWER_URL: &str = "type.googleapis.com/test.v1.Result";

/// Where a plugin's methods lie.
const SERVICE: &str = "/prism.plugin.BackendPlugin/";
/// Windows wide enough that the plugin is never what holds a large body up.
const WINDOW: u32 = 4 << 20;

/// A call of `Execute` or `ExecuteStream`, as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    /// `Execute` or `ExecuteStream`.
    pub method: String,
    /// The request's headers, in their order.
    pub headers: HeaderMap,
    /// What came of its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: HeaderMap,
    /// The body ended in order: the plugin had a whole request before it, and could have acted on it.
    pub complete: bool,
}

impl Call {
    fn new(method: String, headers: HeaderMap, received: &Received) -> Self {
        Self {
            method,
            headers,
            body: received.body.clone(),
            trailers: received.trailers.clone(),
            complete: received.complete,
        }
    }

    /// The operation that the plugin would run.
    #[must_use]
    pub fn operation(&self) -> String {
        let message = self.body.get(5..).unwrap_or_default();
        ExecuteRequest::decode(message).map(|message| message.operation).unwrap_or_default()
    }

    /// A header's values.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<String> {
        let values = self.headers.get_all(name).iter();
        values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }
}

/// What a plugin was asked.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    calls: Arc<Mutex<Vec<Call>>>,
    initialized: Arc<Mutex<Vec<InitializeRequest>>>,
    off: bool,
}

impl Recorder {
    /// A recorder that records nothing.
    #[must_use]
    pub fn off() -> Self {
        Self { off: true, ..Self::default() }
    }

    /// Every call so far, complete or not.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The calls that reached the plugin whole.
    #[must_use]
    pub fn complete(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.complete).collect()
    }

    /// What each instance was built from, in their order.
    #[must_use]
    pub fn initialized(&self) -> Vec<InitializeRequest> {
        self.initialized.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn initialize(&self, message: &[u8]) {
        if let Some(request) = InitializeRequest::decode(message).ok().filter(|_| !self.off) {
            self.initialized.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        }
    }

    /// Forgets what was.
    pub fn clear(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn add(&self, call: Call) {
        if !self.off {
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        }
    }
}

/// A plugin in the test's own process.
#[derive(Debug)]
pub struct Plugin {
    /// What it was asked.
    pub recorder: Recorder,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Plugin {
    /// Starts one on this socket that speaks gRPC and Prism frames.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn start(socket: &Path) -> Self {
        Self::speaking(socket, Speaks::Both)
    }

    /// Starts one that has never heard of Prism frames, as one in any other language.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn start_on_grpc_alone(socket: &Path) -> Self {
        Self::speaking(socket, Speaks::Grpc)
    }

    fn speaking(socket: &Path, speaks: Speaks) -> Self {
        let recorder = Recorder::default();
        let (stop, stopped) = oneshot::channel();
        let (up, is_up) = std::sync::mpsc::channel();
        let (path, record) = (socket.to_path_buf(), recorder.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = listen(&path);
                up.send(()).unwrap();
                tokio::select! { () = serve(listener, record, speaks) => {}, _ = stopped => {} }
            });
        });
        is_up.recv().expect("the plugin listens");
        Self { recorder, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Listens on a socket, in place of whoever left it behind.
///
/// # Panics
/// When that is impossible.
#[must_use]
pub fn listen(socket: &Path) -> UnixListener {
    let _ = fs::remove_file(socket);
    UnixListener::bind(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()))
}

/// What a plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// gRPC, and Prism frames on the same socket.
    Both,
    /// gRPC alone.
    Grpc,
}

/// Serves for ever.
pub async fn serve(listener: UnixListener, recorder: Recorder, speaks: Speaks) {
    while let Ok((socket, _)) = listener.accept().await {
        let recorder = recorder.clone();
        tokio::spawn(async move {
            if speaks == Speaks::Both && first_byte(&socket).await == Some(0) {
                frames::connection(socket, recorder).await;
            } else {
                let _ = connection(socket, recorder, speaks).await;
            }
        });
    }
}

/// What a connection begins with, left where it is: 0 for Prism frames.
async fn first_byte(socket: &UnixStream) -> Option<u8> {
    let mut byte = [0];
    let peek = || Ok(rustix::net::recv(socket, &mut byte, rustix::net::RecvFlags::PEEK)?);
    let (count, _) = socket.async_io(Interest::READABLE, peek).await.ok()?;
    (count > 0).then_some(byte[0])
}

async fn connection(socket: UnixStream, recorder: Recorder, speaks: Speaks) -> Result<(), h2::Error> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_concurrent_streams(1000);
    let mut connection = builder.handshake(socket).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(call(request, respond, recorder.clone(), speaks));
    }
    Ok(())
}

async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    recorder: Recorder,
    speaks: Speaks,
) -> Result<(), h2::Error> {
    let (head, body) = request.into_parts();
    let method = head.uri.path().strip_prefix(SERVICE).unwrap_or_default().to_owned();
    if method == "ExecuteStream" {
        return echo_stream(head, body, respond, &recorder).await;
    }
    let received = receive(body).await;
    if method == "Execute" {
        recorder.add(Call::new(method.clone(), head.headers, &received));
    }
    let Received { body, complete: true, .. } = received else { return Ok(()) };
    let message = body.get(5..).unwrap_or_default();
    if method == "Initialize" {
        recorder.initialize(message);
    }
    let Some(reply) = answer(&method, message, speaks).await else {
        return refuse(&mut respond);
    };
    let mut stream = open(&mut respond)?;
    http2::send_all(&mut stream, reply, false).await?;
    stream.send_trailers(ok())
}

/// The framed answer; `None` for a method or a message that is none.
async fn answer(method: &str, message: &[u8], speaks: Speaks) -> Option<Bytes> {
    Some(wire::framed(&match method {
        "Describe" => describe(speaks).encode_to_vec(),
        "Initialize" => {
            let instance = InitializeRequest::decode(message).ok()?.instance;
            let operations =
                describe(speaks).operations.into_iter().map(|operation| operation.name).collect();
            InitializeResponse {
                success: true,
                instance,
                plugin_version: "1.0.0".to_owned(),
                supported_operations: operations,
                ..Default::default()
            }
            .encode_to_vec()
        }
        "HealthCheck" => HealthCheckResponse::default().encode_to_vec(),
        "GetMetrics" => PluginMetrics::default().encode_to_vec(),
        "Shutdown" => ShutdownResponse::default().encode_to_vec(),
        "Execute" => {
            let request = ExecuteRequest::decode(message).ok()?;
            match request.params {
                Some(Params::TypedParams(given)) if request.operation == "answer" => {
                    return Some(given.value);
                }
                _ => execute(request).await.encode_to_vec(),
            }
        }
        _ => return None,
    }))
}

fn describe(speaks: Speaks) -> DescribeResponse {
    let operation = |name: &str, streaming: bool| OperationInfo {
        name: name.to_owned(),
        kind: Kind::Read.into(),
        raw: true,
        server_streaming: streaming,
        client_streaming: streaming,
        ..Default::default()
    };
    DescribeResponse {
        name: "test".to_owned(),
        version: "1.0.0".to_owned(),
        operations: vec![
            operation("echo", false),
            operation("source", false),
            operation("sink", false),
            operation("echo_stream", true),
            OperationInfo {
                raw: false,
                service_method: ANSWER.to_owned(),
                params_type: "test.v1.Answer".to_owned(),
                result_type: "test.v1.Result".to_owned(),
                ..operation("answer", false)
            },
        ],
        transports: match speaks {
            Speaks::Both => vec!["grpc".to_owned(), "frames/1".to_owned()],
            Speaks::Grpc => vec!["grpc".to_owned()],
        },
        protocol: 1,
        ..Default::default()
    }
}

async fn execute(request: ExecuteRequest) -> ExecuteResponse {
    let raw = match request.params {
        Some(Params::RawParams(raw)) => raw,
        _ => Bytes::new(),
    };
    if let Some(pause) = request.metadata.get("sleep_ms").and_then(|text| text.parse().ok()) {
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let result = match request.operation.as_str() {
        "echo" => raw,
        "sink" => raw.len().to_string().into(),
        "source" => {
            let length = std::str::from_utf8(&raw).ok().and_then(|text| text.parse().ok());
            vec![7; length.unwrap_or(0)].into()
        }
        other => {
            let error = format!("no operation {other}");
            return ExecuteResponse { success: false, error, error_code: 12, ..Default::default() };
        }
    };
    let result = Some(execute_response::Result::RawResult(result));
    ExecuteResponse { success: true, result, ..Default::default() }
}

/// Sends each message back before it reads the next: it can be held up by a reader, as any real one can.
async fn echo_stream(
    head: request::Parts,
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    recorder: &Recorder,
) -> Result<(), h2::Error> {
    let mut stream = open(&mut respond)?;
    let mut all = BytesMut::new();
    let mut pending = BytesMut::new();
    let outcome = async {
        while let Some(piece) = http2::next(&mut body).await? {
            all.extend_from_slice(&piece);
            pending.extend_from_slice(&piece);
            while let Some(message) = take_message(&mut pending) {
                http2::send_all(&mut stream, wire::framed(&echoed(&message)), false).await?;
            }
        }
        body.trailers().await
    }
    .await;
    let complete = outcome.is_ok();
    let trailers = outcome.ok().flatten().unwrap_or_default();
    let method = "ExecuteStream".to_owned();
    let received = Received { body: all.freeze(), trailers, complete };
    recorder.add(Call::new(method, head.headers, &received));
    if complete { stream.send_trailers(ok()) } else { Ok(()) }
}

fn echoed(message: &[u8]) -> Vec<u8> {
    let raw = match StreamRequest::decode(message).unwrap_or_default().params {
        Some(stream_request::Params::RawParams(raw)) => raw,
        _ => Bytes::new(),
    };
    let result = Some(stream_response::Result::RawResult(raw));
    StreamResponse { result, ..Default::default() }.encode_to_vec()
}

fn take_message(pending: &mut BytesMut) -> Option<BytesMut> {
    let length = u32::from_be_bytes(pending.get(1..5)?.try_into().ok()?) as usize;
    if pending.len() < 5 + length {
        return None;
    }
    pending.advance(5);
    Some(pending.split_to(length))
}

struct Received {
    body: Bytes,
    trailers: HeaderMap,
    complete: bool,
}

async fn receive(mut body: RecvStream) -> Received {
    let mut all = BytesMut::new();
    let outcome = async {
        while let Some(piece) = http2::next(&mut body).await? {
            all.extend_from_slice(&piece);
        }
        body.trailers().await
    }
    .await;
    let complete = outcome.is_ok();
    Received { body: all.freeze(), trailers: outcome.ok().flatten().unwrap_or_default(), complete }
}

fn open(respond: &mut SendResponse<Bytes>) -> Result<SendStream<Bytes>, h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    respond.send_response(head, false)
}

fn refuse(respond: &mut SendResponse<Bytes>) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", "12");
    respond.send_response(head.body(()).unwrap(), true).map(drop)
}

fn ok() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}
