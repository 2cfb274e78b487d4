//! What the tests of this crate share: a body fed by hand, an echo plugin, and a plugin server on h2.

pub(crate) mod frames;
pub(crate) mod plugin;

use crate::{BoxError, ForwardError, ReplyBody, ReplySource, WireBody, WireReply, WireSource, WorkerLocal};
use bytes::Bytes;
use frames::Sessions;
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request};
use plugin::Serve;
use prism_platform::{Address, BindOptions, Platform};
use prism_plugin_abi::{
    ByteString, Call, CallContext, Code, Data, Description, Error, Health, Initialize, Initialized,
    InstanceId, Metrics, Opening, Payload, Plugin, Request as Message, RequestStream, Task,
};
use prism_plugin_envelope as envelope;
use prism_plugin_frames::{Config, PREFACE, ServerSession};
use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::mpsc,
    task::{JoinHandle, JoinSet, LocalSet},
};

/// Runs a test as a worker runs: on one thread, in a local set. The limit only keeps a hanging test from
/// hanging the suite.
pub(crate) fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs")
    })
}

pub(crate) fn worker() -> WorkerLocal {
    WorkerLocal::new(Platform::system())
}

/// The other end of a [`WireSource`].
pub(crate) struct Feed {
    pieces: mpsc::UnboundedSender<Result<Bytes, BoxError>>,
    pub(crate) taken: Arc<AtomicUsize>,
}

impl Feed {
    pub(crate) fn new() -> (Self, WireBody) {
        let (pieces, receiver) = mpsc::unbounded_channel();
        let taken = Arc::new(AtomicUsize::new(0));
        let source = Source { pieces: receiver, taken: Arc::clone(&taken) };
        (Self { pieces, taken }, WireBody::Stream(Box::new(source)))
    }

    pub(crate) fn send(&self, piece: impl Into<Bytes>) {
        drop(self.pieces.send(Ok(piece.into())));
    }

    pub(crate) fn fail(&self) {
        drop(self.pieces.send(Err("the client went away".into())));
    }

    /// Bytes that were asked for.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// The reader dropped its end.
    pub(crate) async fn abandoned(&self) {
        self.pieces.closed().await;
    }
}

struct Source {
    pieces: mpsc::UnboundedReceiver<Result<Bytes, BoxError>>,
    taken: Arc<AtomicUsize>,
}

impl WireSource for Source {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.pieces.poll_recv(cx).map(|piece| {
            if let Some(Ok(piece)) = &piece {
                self.taken.fetch_add(piece.len(), Ordering::Relaxed);
            }
            piece
        })
    }
}

pub(crate) fn message(operation: &'static str, payload: impl Into<Bytes>) -> Payload {
    let params = Data::Raw(Payload::from(payload.into()));
    envelope::encode_request(Message {
        operation: ByteString::from_static(operation),
        params,
        metadata: Vec::new(),
    })
    .unwrap()
}

pub(crate) async fn next_frame(
    source: &mut Box<dyn ReplySource>,
) -> Option<Result<http_body::Frame<Bytes>, ForwardError>> {
    poll_fn(|cx| source.poll_frame(cx)).await
}

/// All of an answer: its messages and its trailers (or headers, of a trailers-only one).
pub(crate) async fn all(mut reply: WireReply) -> Result<(Payload, HeaderMap), ForwardError> {
    let headers = reply.take_headers();
    match reply.body {
        ReplyBody::Succeeded(messages) => Ok((messages, crate::ok_trailers())),
        ReplyBody::Whole { messages, trailers } => Ok((messages, trailers.map_or(headers, |fields| *fields))),
        ReplyBody::Stream(mut source) => {
            let mut messages = Payload::new();
            let mut trailers = HeaderMap::new();
            while let Some(frame) = next_frame(&mut source).await {
                match frame?.into_data() {
                    Ok(piece) => messages.push(piece),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                }
            }
            Ok((messages, trailers))
        }
    }
}

/// Answers with what it was asked.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    pub(crate) initialized: AtomicUsize,
    pub(crate) shut_down: AtomicUsize,
    /// It panics when it is asked what it counted.
    pub(crate) panics_counting: AtomicBool,
}

impl Plugin for Echo {
    fn describe(&self) -> Arc<Description> {
        Arc::new(Description { name: "echo".into(), ..Default::default() })
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        self.initialized.fetch_add(1, Ordering::Relaxed);
        let panics = request.namespace == "panic";
        async move {
            assert!(!panics, "asked for by the test");
            Ok(Initialized::default())
        }
        .boxed()
    }

    fn health(&self, _: InstanceId) -> Task<Health> {
        async { Health::healthy() }.boxed()
    }

    fn execute(&self, _: CallContext, request: Message) -> Call {
        async move {
            match &*request.operation {
                "echo" => Ok(request.params),
                "fail" => Err(Error::operation(Code::NotFound, "no such key")),
                "refuse" => Err(Error::channel(Code::FailedPrecondition, "not initialized")),
                other => panic!("asked for by the test: {other}"),
            }
        }
        .boxed()
    }

    fn execute_stream(&self, _: CallContext, first: Message, rest: RequestStream) -> Opening {
        async move {
            match &*first.operation {
                "fail_opening" => return Err(Error::operation(Code::NotFound, "no such topic")),
                "refuse" => return Err(Error::channel(Code::Unavailable, "going down")),
                _ => {}
            }
            let answers = futures_util::stream::once(async { Ok(first) }).chain(rest).map(|message| {
                let message = message?;
                match &*message.operation {
                    "fail" => Err(Error::operation(Code::Aborted, "half way")),
                    "break" => Err(Error::channel(Code::DataLoss, "100 % gone\n")),
                    "panic" => panic!("asked for by the test"),
                    _ => Ok(message.params),
                }
            });
            Ok(answers.boxed())
        }
        .boxed()
    }

    fn metrics(&self, _: InstanceId) -> Task<Result<Metrics, Error>> {
        assert!(!self.panics_counting.load(Ordering::Relaxed), "asked for by the test");
        Box::pin(std::future::ready(Err(Error::channel(Code::Unimplemented, "it counts nothing"))))
    }

    fn shutdown(&self, _: InstanceId) -> Task<()> {
        self.shut_down.fetch_add(1, Ordering::Relaxed);
        async {}.boxed()
    }
}

pub(crate) type Handler = Rc<dyn Fn(Request<RecvStream>, SendResponse<Bytes>) -> LocalBoxFuture<'static, ()>>;

/// A plugin's server on a unix socket. Dropping it kills it with all its connections.
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) connections: Rc<Cell<usize>>,
    /// Connections that are open now.
    pub(crate) open: Rc<Cell<usize>>,
    /// The sessions of all connections that carried frames, in the order in which they came.
    pub(crate) sessions: Sessions,
    task: JoinHandle<()>,
}

/// What a server speaks.
#[derive(Clone)]
pub(crate) struct Speaks {
    pub(crate) grpc: Option<(h2::server::Builder, Handler)>,
    pub(crate) frames: Option<(Config, Serve)>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        if let Address::Unix(path) = &self.address {
            drop(std::fs::remove_file(path));
        }
    }
}

impl Server {
    pub(crate) async fn start<F>(
        address: &Address,
        builder: h2::server::Builder,
        handler: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let handler: Handler = Rc::new(move |request, respond| handler(request, respond).boxed_local());
        Self::speaking(address, Speaks { grpc: Some((builder, handler)), frames: None }).await
    }

    pub(crate) async fn speaking(address: &Address, speaks: Speaks) -> Self {
        let listener = Platform::system().bind(address, BindOptions::default()).await.unwrap();
        let (connections, sessions) = (Rc::new(Cell::new(0)), Sessions::default());
        let (accepted, opened) = (Rc::clone(&connections), Rc::clone(&sessions));
        let open = Rc::new(Cell::new(0));
        let now_open = Rc::clone(&open);
        let task = tokio::task::spawn_local(async move {
            let mut tasks = JoinSet::new();
            loop {
                let io = listener.accept().await.unwrap().io;
                accepted.set(accepted.get() + 1);
                now_open.set(now_open.get() + 1);
                let (serve, now_open) =
                    (detect(io, speaks.clone(), Rc::clone(&opened)), Rc::clone(&now_open));
                tasks.spawn_local(async move {
                    serve.await;
                    now_open.set(now_open.get() - 1);
                });
            }
        });
        Self { address: address.clone(), connections, open, sessions, task }
    }

    /// Kills it, and waits until it is dead.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

/// Serves a connection by its first byte.
async fn detect(mut io: prism_platform::Io, speaks: Speaks, sessions: Sessions) {
    let mut first = [0];
    if io.read_exact(&mut first).await.is_err() {
        return;
    }
    let (read, write) = tokio::io::split(io);
    let io = tokio::io::join(std::io::Cursor::new(first).chain(read), write);
    let is_frames = first == PREFACE[..1];
    match speaks {
        Speaks { frames: Some((config, handler)), .. } if is_frames => {
            let session = Rc::new(RefCell::new(ServerSession::new(config)));
            sessions.borrow_mut().push(Rc::clone(&session));
            frames::drive(io, session, handler).await;
        }
        Speaks { grpc: Some((builder, handler)), .. } => serve(io, builder, handler).await,
        Speaks { .. } => {}
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, builder: h2::server::Builder, handler: Handler) {
    let Ok(mut connection) = builder.handshake(io).await else { return };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        // A handler may ask for a graceful goodbye.
        if request.headers().contains_key("x-test-goodbye") {
            connection.graceful_shutdown();
        }
        calls.spawn_local(handler(request, respond));
    }
}

/// Everything that a request carries; the error if it was reset.
pub(crate) async fn read(body: &mut RecvStream) -> Result<Payload, h2::Error> {
    let mut payload = Payload::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len()).unwrap();
        payload.push(piece);
    }
    Ok(payload)
}

pub(crate) fn grpc_head() -> http::Response<()> {
    http::Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

/// A whole answer: headers, one message, trailers.
pub(crate) fn answer(mut respond: SendResponse<Bytes>, messages: Payload) {
    let mut stream = respond.send_response(grpc_head(), false).unwrap();
    stream.send_data(messages.into_bytes(), false).unwrap();
    stream.send_trailers(crate::ok_trailers()).unwrap();
}

/// A trailers-only answer.
pub(crate) fn refuse(mut respond: SendResponse<Bytes>, code: Code, message: &str) {
    let mut head = grpc_head();
    head.headers_mut().extend(crate::error_trailers(code, message));
    respond.send_response(head, true).unwrap();
}

/// A socket path of its own.
pub(crate) fn socket() -> (tempfile::TempDir, Address) {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("plugin.sock"));
    (directory, address)
}
