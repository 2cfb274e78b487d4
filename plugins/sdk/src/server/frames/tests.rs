//! One connection against clients that are slow, silent, rude or gone, with a plugin that is called directly.

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

    fn metrics(&self, _: InstanceId) -> Option<Metrics> {
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

#[test]
fn a_client_that_does_not_say_who_it_is_is_given_up() {
    for cut in 0..greeting().len() {
        paused(async {
            let (served, mut io) = Served::new();
            io.write_all(&greeting()[..cut]).await.unwrap();
            let began = Instant::now();
            served.ends().await;
            assert!(began.elapsed() >= Duration::from_secs(10), "cut at {cut}");
        });
    }
}

#[tokio::test]
async fn garbage_gets_a_goodbye_and_a_closed_connection() {
    let whole = greeting();
    for bytes in [
        b"\0PRISM/2 and what follows".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        [&PREFACE[..], &[0xff; 100]].concat(),
        [&whole[..], &[0xff; 100]].concat(),
        [&whole[..], &whole[8..]].concat(),
    ] {
        let (served, mut io) = Served::new();
        io.write_all(&bytes).await.unwrap();
        let mut said = Vec::new();
        timeout(HANG, io.read_to_end(&mut said)).await.expect("it stays open").unwrap();
        assert!(said.starts_with(&PREFACE));
        assert!(said.windows(4).any(|kind| kind[0] == 7), "no GOAWAY after {bytes:?}");
        drop(io);
        served.ends().await;
    }
}

#[tokio::test]
async fn a_panic_anywhere_in_the_plugin_ends_one_call() {
    let (served, io) = Served::new();
    let mut client = Client::new(io).await;
    let beside = client.execute("sleep");
    let empty = || Payload::from(Bytes::from_static(&[0; 5]));
    let calls = [
        client.execute("panic at once"),
        client.open(Method::ExecuteStream, message("panic at once", 1), true, None),
        client.open(Method::ExecuteStream, message("panic in poll", 1), true, None),
        client.open(Method::Initialize, empty(), true, None),
        client.open(Method::HealthCheck, empty(), true, None),
        client.open(Method::GetMetrics, empty(), true, None),
    ];
    for id in calls {
        assert_eq!(client.code(id).await, Some(Code::Internal));
    }
    // In drop, by cancel and by deadline.
    let id = client.execute("panic in drop");
    client.echoes().await;
    served.alive(2).await;
    client.session.cancel(id, CancelReason::Gone);
    let body = message("panic in drop", 1);
    let id = client.open(Method::Execute, body, true, Some(Duration::from_millis(10)));
    assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
    client.echoes().await;
    assert_eq!(served.alive.load(SeqCst), 1, "the one beside them");
    client.session.cancel(beside, CancelReason::Gone);
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[tokio::test]
async fn bodies_that_are_no_messages_are_refused() {
    let (served, io) = Served::new();
    let mut client = Client::new(io).await;
    let whole = message("echo", 10).into_bytes();
    let bytes = |bytes: &[u8]| Payload::from(Bytes::copy_from_slice(bytes));
    for (body, code) in [
        (bytes(b""), Code::InvalidArgument),
        (bytes(&whole[..4]), Code::InvalidArgument),
        (bytes(&whole[..whole.len() - 1]), Code::InvalidArgument),
        (bytes(&[&whole[..], b"\0"].concat()), Code::InvalidArgument),
        (bytes(&[&whole[..], &whole[..]].concat()), Code::InvalidArgument),
        (bytes(&[b"\x01", &whole[1..]].concat()), Code::InvalidArgument),
        (bytes(&[b"\x02", &whole[1..]].concat()), Code::InvalidArgument),
        (bytes(b"\0\0\0\0\x01\x0a"), Code::InvalidArgument),
        (bytes(b"\0\0\x10\0\x01"), Code::ResourceExhausted),
        (bytes(b"\0\xff\xff\xff\xff"), Code::ResourceExhausted),
    ] {
        for method in [Method::Execute, Method::ExecuteStream, Method::Shutdown] {
            // Of a stream, two messages are fine.
            let two = body.len() > whole.len();
            if method == Method::ExecuteStream && two {
                continue;
            }
            let id = client.open(method, body.clone(), true, None);
            assert_eq!(client.code(id).await, Some(code), "{method:?} {body:?}");
        }
    }
    // Refused by its prefix: the client need not even end its side.
    let id = client.open(Method::Execute, bytes(b"\0\xff\xff\xff\xff"), false, None);
    assert_eq!(client.code(id).await, Some(Code::ResourceExhausted));
    let id = client.open(Method::Other(200), Payload::new(), true, None);
    assert_eq!(client.code(id).await, Some(Code::Unimplemented));
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[test]
fn a_stream_without_its_first_message_is_ended() {
    paused(async {
        let (served, io) = Served::new();
        let mut client = Client::new(io).await;
        let began = Instant::now();
        let body = Payload::from(message("any", 10).into_bytes().slice(..7));
        let id = client.open(Method::ExecuteStream, body, false, None);
        assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
        assert!(began.elapsed() >= Duration::from_secs(30));
        // Its own deadline may come before.
        let body = Payload::from(message("any", 10).into_bytes().slice(..7));
        let id = client.open(Method::ExecuteStream, body, false, Some(Duration::from_secs(1)));
        assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
        assert!(began.elapsed() < Duration::from_secs(40));
        drop(client);
        served.ends().await;
    });
}

#[test]
fn deadlines_come_in_their_order_and_only_to_those_that_still_run() {
    paused(async {
        let (served, io) = Served::new();
        let mut client = Client::new(io).await;
        let began = Instant::now();
        let ids: Vec<_> = [30, 10, 20]
            .map(|seconds| {
                let time = Some(Duration::from_secs(seconds));
                (seconds, client.open(Method::Execute, message("sleep", 1), true, time))
            })
            .into_iter()
            .collect();
        client.echoes().await;
        served.alive(3).await;
        for (seconds, id) in [ids[1], ids[2], ids[0]] {
            assert_eq!(client.code(id).await, Some(Code::DeadlineExceeded));
            assert_eq!(began.elapsed().as_secs(), seconds);
        }
        drop(client);
        served.ends().await;
    });
}

#[tokio::test]
async fn a_storm_of_cancelled_calls_leaves_nothing_behind() {
    let (served, io) = Served::new();
    let mut client = Client::new(io).await;
    for round in 0..100 {
        let ids: Vec<_> = (0..200)
            .map(|number| match number % 5 {
                0 => client.execute("sleep"),
                1 => client.execute("echo"),
                2 => client.open(Method::ExecuteStream, message("any", 1000), false, None),
                3 => client.open(Method::ExecuteStream, message("flood", 10), true, None),
                _ => {
                    client.open(Method::Execute, message("echo", 20_000), true, Some(Duration::from_secs(9)))
                }
            })
            .collect();
        // Some before anything was sent, others in the midst of it.
        if round % 3 > 0 {
            let mut turns = round;
            client
                .drive(|_, cx| {
                    turns -= 1;
                    cx.waker().wake_by_ref();
                    if turns > 0 { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
        }
        for id in ids {
            client.session.cancel(id, CancelReason::Gone);
        }
        client
            .drive(|session, _| if session.open_calls() == 0 { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }
    assert_eq!(served.alive.load(SeqCst), 0);
    assert_eq!(client.session.leftovers(), [0; 4]);
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[tokio::test]
async fn who_is_gone_in_the_midst_of_it_leaves_nothing_behind() {
    for cut in 1..60 {
        let (served, io) = Served::with_buffer(1024);
        let mut client = Client::new(io).await;
        for _ in 0..20 {
            client.execute("sleep");
            client.open(Method::ExecuteStream, message("elsewhere", 3000), false, None);
            client.open(Method::ExecuteStream, message("flood", 3000), false, None);
        }
        let mut turns = cut;
        client
            .drive(|_, cx| {
                turns -= 1;
                cx.waker().wake_by_ref();
                if turns > 0 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        let alive = served.alive.clone();
        drop(client);
        timeout(HANG, served.task).await.expect("it does not end").unwrap();
        // Those that read in tasks of their own learn of it there.
        let wait = async {
            while alive.load(SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(HANG, wait).await.expect("calls are left");
    }
}

#[test]
fn a_client_that_never_reads_is_given_up_and_costs_little_until_then() {
    paused(async {
        let (served, mut io) = Served::new();
        io.write_all(&greeting()).await.unwrap();
        // As many calls as there may be, each with an answer as large as a call may have before it gets
        // credit; and no byte of any answer is read.
        let context = CallContext::default();
        let head = prism_plugin_frames::OpenHead { method: Method::Execute, timeout: None, context };
        let body = message("echo", 60_000).into_bytes();
        let mut sent = 0;
        let flood = async {
            for call in 0..10_000 {
                let mut frame = Vec::new();
                let (data, last) = (body.clone(), true);
                Frame::Open { call, head: head.clone(), data, last }.encode(&mut frame);
                io.write_all(&frame).await?;
                sent += 1;
            }
            Ok::<_, std::io::Error>(())
        };
        let refused = timeout(HANG, flood).await.expect("it reads on and on, or never gives up");
        assert!(refused.is_err(), "it took everything");
        assert!(sent < 1000, "{sent} calls were taken");
        served.ends().await;
    });
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_its_sender_and_nobody_else() {
    let (served, io) = Served::new();
    let mut client = Client::new(io).await;
    let flood = client.open(Method::ExecuteStream, message("flood", 1), false, None);
    let sink = client.open(Method::ExecuteStream, message("any", 1), false, None);
    let mut sent = 0;
    // Until the server takes no more: its credit and what the session keeps ahead.
    while let Poll::Ready(taken) =
        client.drive(|session, cx| Poll::Ready(session.poll_capacity(cx, sink))).await
    {
        let length = taken.unwrap();
        client.session.send(sink, Bytes::from(vec![0; length]), false).unwrap();
        sent += length;
        assert!(sent < 4 << 20, "a plugin that does not read takes on and on");
        client.echoes().await;
    }
    for _ in 0..1000 {
        client.echoes().await;
    }
    assert_eq!(served.alive.load(SeqCst), 2);
    for id in [flood, sink] {
        client.session.cancel(id, CancelReason::Gone);
    }
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[tokio::test]
async fn a_plugin_that_wakes_itself_all_the_time_lets_others_run() {
    let (served, io) = Served::new();
    let mut client = Client::new(io).await;
    let busy = client.execute("wake for ever");
    for _ in 0..100 {
        client.echoes().await;
    }
    client.session.cancel(busy, CancelReason::Gone);
    client.echoes().await;
    drop(client);
    served.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wake_ups_come_from_anywhere() {
    let (served, io) = Served::new();
    let mut client = Client::new(io).await;
    for round in 0..200 {
        let ids: Vec<_> = (0..5).map(|_| client.execute("thread")).collect();
        for id in ids {
            assert_eq!(client.code(id).await, None, "round {round}");
        }
    }
    let id = client.open(Method::ExecuteStream, message("elsewhere", 1), false, None);
    let mut deframer = Deframer::default();
    for length in [0, 1, 5000, 200_000, 1] {
        client.session.send(id, message("", length), false).unwrap();
        let answer = client
            .drive(|session, cx| {
                loop {
                    if let Some(message) = deframer.next_message().unwrap() {
                        return Poll::Ready(message);
                    }
                    match std::task::ready!(session.poll_recv(cx, id)) {
                        ClientEvent::Data(bytes) => deframer.push(bytes),
                        ClientEvent::Opened => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
            .await;
        assert!(answer.len() >= length);
    }
    client.session.send(id, Payload::new(), true).unwrap();
    assert_eq!(client.code(id).await, None);
    drop(client);
    served.ends().await;
}

#[test]
fn drain_takes_no_new_calls_and_cut_ends_the_old() {
    paused(async {
        let (served, io) = Served::new();
        let mut client = Client::new(io).await;
        let sleeping = client.execute("sleep");
        let stream = client.open(Method::ExecuteStream, message("any", 1), false, None);
        client.echoes().await;
        served.alive(2).await;
        served.phase.send_replace(Phase::Draining);
        client
            .drive(|session, _| if session.is_going_away() { Poll::Ready(()) } else { Poll::Pending })
            .await;
        served.phase.send_replace(Phase::Cut);
        for id in [sleeping, stream] {
            let (_, end) = client.answer(id).await;
            assert_eq!(end.code, Some(Code::Unavailable));
            assert!(end.message.contains("stopping"), "{end:?}");
        }
        drop(client);
        served.ends().await;
    });
}

#[test]
fn an_idle_connection_ends_with_the_drain() {
    paused(async {
        let (served, io) = Served::new();
        let mut client = Client::new(io).await;
        client.echoes().await;
        served.phase.send_replace(Phase::Draining);
        let began = Instant::now();
        client
            .drive(|session, cx| {
                let waiting = session.poll_ready(cx).is_pending() || !session.is_going_away();
                if waiting { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        drop(client);
        served.ends().await;
        assert!(began.elapsed() < Duration::from_secs(1), "nothing was waited for");
    });
}
