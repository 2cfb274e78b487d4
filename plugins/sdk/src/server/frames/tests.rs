//! One connection with a plugin that is called directly: what its tests have in common.

use super::*;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use prism_plugin_abi::{
    self as abi, CallContext, Code, Data, Description, Error, Health, Initialize, Initialized, InstanceId,
    Metrics, Opening, Payload, Request, RequestStream, Task,
};
use prism_plugin_envelope::{Deframer, decode_reply, encode_request};
use prism_plugin_frames::{
    CallHead, CallId, CancelReason, ClientEvent, ClientSession, Config, End, Frame, Method, PREFACE, Settings,
};
use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
    time::Instant,
};

mod calls;
mod clients;
mod drain;

/// Panics wherever it is told to, and counts what is under way.
#[derive(Default)]
struct Probe {
    alive: Arc<AtomicUsize>,
}

struct Alive(Arc<AtomicUsize>, bool);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone(), false)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
        assert!(!self.1, "asked for by the test");
    }
}

fn done<T: Send + 'static>(value: T) -> Task<T> {
    Box::pin(std::future::ready(value))
}

impl Plugin for Probe {
    fn describe(&self) -> Arc<Description> {
        Arc::new(Description { name: "probe".into(), ..Default::default() })
    }

    fn initialize(&self, _: Initialize) -> Task<Result<Initialized, Error>> {
        panic!("asked for by the test")
    }

    fn health(&self, _: InstanceId) -> Task<Health> {
        Box::pin(async { panic!("asked for by the test") })
    }

    fn execute(&self, _: CallContext, request: Request) -> abi::Call {
        let mut alive = Alive::new(&self.alive);
        match &*request.operation {
            "echo" => Box::pin(async move {
                let _alive = alive;
                Ok(request.params)
            }),
            "panic at once" => panic!("asked for by the test"),
            "panic in drop" => {
                alive.1 = true;
                Box::pin(async move {
                    let _alive = alive;
                    std::future::pending().await
                })
            }
            "wake for ever" => Box::pin(poll_fn(move |cx| {
                let _ = &alive;
                cx.waker().wake_by_ref();
                Poll::Pending
            })),
            "thread" => Box::pin(async move {
                let _alive = alive;
                // Woken from elsewhere.
                let (sender, receiver) = tokio::sync::oneshot::channel();
                std::thread::spawn(move || sender.send(()));
                let _ = receiver.await;
                Ok(request.params)
            }),
            _ => Box::pin(async move {
                let _alive = alive;
                std::future::pending().await
            }),
        }
    }

    fn execute_stream(&self, _: CallContext, first: Request, rest: RequestStream) -> Opening {
        let alive = Alive::new(&self.alive);
        match &*first.operation {
            "panic at once" => panic!("asked for by the test"),
            "panic in poll" => done(Ok(Box::pin(stream::poll_fn(|_| panic!("asked for by the test"))) as _)),
            "flood" => done(Ok(Box::pin(stream::repeat_with(move || {
                let _ = &alive;
                Ok(Data::Raw(Bytes::from(vec![0; 1000]).into()))
            })) as _)),
            // Reads in a task of its own.
            "elsewhere" => {
                let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
                tokio::spawn(async move {
                    let _alive = alive;
                    let mut rest = rest;
                    while let Some(message) = rest.next().await {
                        if sender.send(message.map(|message| message.params)).await.is_err() {
                            return;
                        }
                    }
                });
                done(Ok(Box::pin(stream::poll_fn(move |cx| receiver.poll_recv(cx))) as _))
            }
            // Reads nothing.
            _ => done(Ok(Box::pin(stream::pending().map(move |()| {
                let _ = (&alive, &rest);
                Ok(Data::Empty)
            })) as _)),
        }
    }

    fn metrics(&self, _: InstanceId) -> Task<Result<Metrics, Error>> {
        panic!("asked for by the test")
    }

    fn shutdown(&self, _: InstanceId) -> Task<()> {
        done(())
    }
}

/// A served connection.
struct Served {
    alive: Arc<AtomicUsize>,
    phase: watch::Sender<Phase>,
    task: JoinHandle<()>,
}

/// Only keeps a hanging test from hanging the suite.
const HANG: Duration = Duration::from_secs(100);

impl Served {
    fn new() -> (Self, DuplexStream) {
        Self::with_buffer(64 << 10)
    }

    async fn with_client() -> (Self, Client) {
        let (served, io) = Self::new();
        (served, Client::new(io).await)
    }

    /// Neither side may be more than so many bytes ahead of the other.
    fn with_buffer(buffer: usize) -> (Self, DuplexStream) {
        let (near, far) = duplex(buffer);
        let (phase, phases) = watch::channel(Phase::Serving);
        let plugin = Arc::new(Probe::default());
        let alive = plugin.alive.clone();
        let options = ServeOptions { max_message_bytes: 1 << 20, ..ServeOptions::default() };
        let task = tokio::spawn(Server::new(plugin, &options, phases).serve(far));
        (Self { alive, phase, task }, near)
    }

    /// It must end by itself.
    async fn ends(self) {
        timeout(HANG, self.task).await.expect("it does not end").expect("it panicked");
        assert_eq!(self.alive.load(SeqCst), 0, "calls are left");
    }

    async fn alive(&self, count: usize) {
        let wait = async {
            while self.alive.load(SeqCst) != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(HANG, wait).await.unwrap_or_else(|_| panic!("{} alive", self.alive.load(SeqCst)));
    }
}

/// A client that does what it is told.
struct Client {
    io: DuplexStream,
    session: ClientSession,
}

impl Client {
    async fn new(io: DuplexStream) -> Self {
        let mut client = Self { io, session: ClientSession::new(Config::default()) };
        client
            .drive(|session, _| if session.is_established() { Poll::Ready(()) } else { Poll::Pending })
            .await;
        client
    }

    /// Moves the connection along until `until` is ready.
    async fn drive<T>(
        &mut self,
        mut until: impl FnMut(&mut ClientSession, &mut Context<'_>) -> Poll<T>,
    ) -> T {
        let driven = poll_fn(|cx| {
            loop {
                let read = self.session.poll_read(cx, &mut self.io);
                let outcome = until(&mut self.session, cx);
                let _ = self.session.poll_write(cx, &mut self.io);
                if outcome.is_ready() || !matches!(read, Poll::Ready(Ok(()))) {
                    return outcome;
                }
            }
        });
        timeout(HANG, driven).await.expect("the client hangs")
    }

    fn open(&mut self, method: Method, body: Payload, last: bool, timeout: Option<Duration>) -> CallId {
        let context = CallContext::default();
        self.session.open(&CallHead { method, timeout, context: &context }, body, last).unwrap()
    }

    fn execute(&mut self, operation: &'static str) -> CallId {
        self.open(Method::Execute, message(operation, 10), true, None)
    }

    /// The answer's bytes and its end.
    async fn answer(&mut self, id: CallId) -> (Payload, End) {
        let mut body = Payload::new();
        let end = self
            .drive(|session, cx| {
                loop {
                    match std::task::ready!(session.poll_recv(cx, id)) {
                        ClientEvent::Opened => {}
                        ClientEvent::Data(bytes) => body.push(bytes),
                        ClientEvent::End(end) => return Poll::Ready(end),
                        ClientEvent::Broken(broken) => {
                            let text = format!("broken: {}", broken.reason);
                            return Poll::Ready(End::error(Code::Unavailable, text));
                        }
                    }
                }
            })
            .await;
        (body, end)
    }

    async fn code(&mut self, id: CallId) -> Option<Code> {
        self.answer(id).await.1.code
    }

    async fn echoes(&mut self) {
        let id = self.execute("echo");
        let (body, end) = self.answer(id).await;
        assert!(end.is_ok(), "{end:?}");
        assert!(matches!(decode_reply(body).unwrap().unwrap(), Data::Raw(raw) if raw.len() == 10));
    }
}

fn message(operation: &'static str, length: usize) -> Payload {
    let params = Data::Raw(Bytes::from(vec![1; length]).into());
    encode_request(Request { operation: operation.into(), params, metadata: Vec::new() }).unwrap()
}

fn greeting() -> Vec<u8> {
    let settings = Settings { minor: 0, max_calls: 0, initial_credit: 1 << 16, max_frame: 1 << 17 };
    let mut bytes = PREFACE.to_vec();
    Frame::Settings(settings).encode(&mut bytes);
    bytes
}

fn paused<F: Future<Output = ()>>(test: F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test);
}
