//! Our two sides against each other: what goes in comes out, where it was, and no panic crosses.

use super::{Functions, Woken, clock, next, now, poll, watching};
use crate::{
    CallContext, Code, Data, Error, InstanceId, Payload, Request, RequestStream, ResponseStream, Scope,
    ffi::{EncodedPlugin, Method, export, import},
};
use bytes::Bytes;
use bytestring::ByteString;
use futures_core::Stream;
use std::{
    cell::RefCell,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

fn imported(functions: Functions) -> import::Imported {
    import::linked(functions, clock, watching())
}

fn ready<T: Send + 'static>(value: T) -> Pin<Box<dyn Future<Output = T> + Send>> {
    Box::pin(std::future::ready(value))
}

thread_local! {
    static SEEN: RefCell<Vec<(CallContext, Request)>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_call_arrives_as_it_was_sent() {
    let plugin = imported(Functions {
        execute: |context, request| {
            SEEN.with_borrow_mut(|seen| seen.push((context, request)));
            ready(Ok(Data::Empty))
        },
        ..Functions::default()
    });
    let long = "ü".repeat(3000);
    for (principal, metadata) in [
        (None, vec![]),
        (Some(""), vec![("a", "")]),
        (Some("spiffe://x/y"), vec![("a", "1"), ("a", "2"), ("b", &long), ("c", "3"), ("d", "4")]),
    ] {
        let context = CallContext {
            instance: InstanceId(u64::MAX),
            namespace: "ns".into(),
            principal: principal.map(Into::into),
            request_id: "id".into(),
            traceparent: "00-1-2-01".into(),
            deadline: Some(clock() + Duration::from_secs(60)),
        };
        let request = Request {
            operation: "get".into(),
            params: Data::Typed { type_url: "t/x".into(), value: Bytes::from_static(b"abc").into() },
            metadata: metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        };
        now(plugin.execute(context.clone(), request.clone())).unwrap();
        let (seen, read) = SEEN.with_borrow_mut(|seen| seen.pop().unwrap());
        assert_eq!((seen.instance, &seen.namespace), (context.instance, &context.namespace));
        assert_eq!((&seen.principal, &seen.request_id), (&context.principal, &context.request_id));
        assert_eq!(seen.traceparent, context.traceparent);
        let left = seen.deadline.unwrap().saturating_duration_since(clock());
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(1), "{left:?}");
        assert_eq!((read.operation, read.metadata), (request.operation, request.metadata));
        let Data::Typed { type_url, value } = read.params else { panic!("not typed") };
        assert_eq!((&*type_url, &value.into_bytes()[..]), ("t/x", &b"abc"[..]));
    }
    now(plugin.execute(CallContext::default(), Request::default())).unwrap();
    let (seen, read) = SEEN.with_borrow_mut(|seen| seen.pop().unwrap());
    assert!(seen.deadline.is_none() && matches!(read.params, Data::Empty));
}

#[test]
fn buffers_stay_where_they_are_both_ways() {
    let plugin =
        imported(Functions { execute: |_, request| ready(Ok(request.params)), ..Functions::default() });
    for pieces in [0, 1, 2, 1024, crate::ffi::MAX_PIECES] {
        let payload: Payload = (0..pieces).map(|number| Bytes::from(number.to_be_bytes().to_vec())).collect();
        let places: Vec<*const u8> = payload.pieces().map(|piece| piece.as_ptr()).collect();
        let request = Request { params: Data::Raw(payload), ..Request::default() };
        let Data::Raw(back) = now(plugin.execute(CallContext::default(), request)).unwrap() else { panic!() };
        assert_eq!(back.pieces().map(|piece| piece.as_ptr()).collect::<Vec<_>>(), places, "{pieces}");
    }
    // One more is gathered: it arrives, and that is all that is promised.
    let payload: Payload = (0..=crate::ffi::MAX_PIECES).map(|_| Bytes::from_static(b"x")).collect();
    let request = Request { params: Data::Raw(payload), ..Request::default() };
    let Data::Raw(back) = now(plugin.execute(CallContext::default(), request)).unwrap() else { panic!() };
    assert_eq!(back.len(), crate::ffi::MAX_PIECES + 1);
}

#[test]
fn an_error_keeps_its_code_scope_and_text() {
    let plugin = imported(Functions {
        execute: |_, request| {
            ready(Err(match &*request.operation {
                "channel" => Error::channel(Code::Unavailable, "gone"),
                _ => Error::operation(Code::NotFound, String::from("no such ümlaut")),
            }))
        },
        ..Functions::default()
    });
    let ask = |operation: &'static str| {
        let request = Request { operation: operation.into(), ..Request::default() };
        now(plugin.execute(CallContext::default(), request)).unwrap_err()
    };
    assert_eq!(ask("channel"), Error::channel(Code::Unavailable, "gone"));
    assert_eq!(ask(""), Error::operation(Code::NotFound, "no such ümlaut"));
}

#[test]
fn control_calls_carry_bytes() {
    let plugin = imported(Functions {
        control: |method, message| {
            ready(match method {
                Method::Shutdown => Err(Error::channel(Code::Unavailable, "no")),
                _ => Ok(Bytes::from([format!("{method:?} ").as_bytes(), &message].concat())),
            })
        },
        ..Functions::default()
    });
    for method in [Method::Describe, Method::Initialize, Method::Health, Method::Metrics] {
        let answer = now(plugin.control(method, Bytes::from_static(b"asked"))).unwrap();
        assert_eq!(answer, format!("{method:?} asked"));
    }
    assert_eq!(now(plugin.control(Method::Describe, Bytes::new())).unwrap(), "Describe ");
    let refused = now(plugin.control(Method::Shutdown, Bytes::new())).unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
}

/// Answers each message with its parameters, until the client ends or fails.
struct Echo(RequestStream);

impl Stream for Echo {
    type Item = Result<Data, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx).map(|next| next.map(|message| Ok(message?.params)))
    }
}

type Said = Poll<Option<Result<Request, Error>>>;

/// Says what it is told to, and counts how often it is asked.
#[derive(Default)]
struct Client {
    says: Arc<Mutex<Vec<Said>>>,
    asked: Arc<AtomicUsize>,
    alive: Arc<()>,
}

impl Stream for Client {
    type Item = Result<Request, Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut says = self.says.lock().unwrap();
        if says.is_empty() { Poll::Pending } else { says.remove(0) }
    }
}

fn message(text: &'static str) -> Said {
    let params = Data::Raw(Bytes::from_static(text.as_bytes()).into());
    Poll::Ready(Some(Ok(Request { params, ..Request::default() })))
}

fn echo() -> (ResponseStream, Client) {
    let plugin = imported(Functions {
        stream: |_, first, rest| {
            assert_eq!(first.operation, "echo");
            ready(Ok(Box::pin(Echo(rest)) as ResponseStream))
        },
        ..Functions::default()
    });
    let client = Client::default();
    let lent = Client {
        says: Arc::clone(&client.says),
        asked: Arc::clone(&client.asked),
        alive: Arc::clone(&client.alive),
    };
    let first = Request { operation: "echo".into(), ..Request::default() };
    (now(plugin.execute_stream(CallContext::default(), first, Box::pin(lent))).unwrap(), client)
}

fn text(item: Poll<Option<Result<Data, Error>>>) -> String {
    match item {
        Poll::Ready(Some(Ok(Data::Raw(payload)))) => {
            String::from_utf8(payload.into_bytes().to_vec()).unwrap()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn streams_are_pulled_and_never_ahead() {
    let (mut answers, client) = echo();
    client.says.lock().unwrap().extend([message("a"), Poll::Pending, message("b"), Poll::Ready(None)]);
    assert_eq!(client.asked.load(Ordering::SeqCst), 0, "nobody pulled yet");
    assert_eq!(text(next(&mut answers)), "a");
    assert_eq!(client.asked.load(Ordering::SeqCst), 1);
    assert!(next(&mut answers).is_pending());
    assert_eq!(text(next(&mut answers)), "b");
    assert_eq!(client.asked.load(Ordering::SeqCst), 3);
    for _ in 0..3 {
        assert!(matches!(next(&mut answers), Poll::Ready(None)));
    }
    assert_eq!(client.asked.load(Ordering::SeqCst), 4, "not asked after its end");
    assert_eq!(Arc::strong_count(&client.alive), 1, "what has ended is let go");
}

#[test]
fn a_dropped_stream_drops_its_source() {
    let (mut answers, client) = echo();
    client.says.lock().unwrap().push(message("a"));
    assert_eq!(text(next(&mut answers)), "a");
    assert_eq!(Arc::strong_count(&client.alive), 2);
    drop(answers);
    assert_eq!(Arc::strong_count(&client.alive), 1);
}

#[test]
fn a_failed_client_fails_the_stream_once() {
    let (mut answers, client) = echo();
    let failed = Error::channel(Code::Cancelled, "the client's side failed");
    client.says.lock().unwrap().extend([Poll::Ready(Some(Err(failed.clone()))), message("never")]);
    let Poll::Ready(Some(Err(error))) = next(&mut answers) else { panic!() };
    assert_eq!(error, failed);
    assert!(matches!(next(&mut answers), Poll::Ready(None)));
    assert_eq!(Arc::strong_count(&client.alive), 1);
}

/// Panics when polled as often as told, and when dropped.
struct Bomb {
    polls: usize,
    in_drop: bool,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.in_drop, "in drop, as the test asks");
    }
}

/// What a panic carries may panic too.
struct Payloads;

impl Drop for Payloads {
    fn drop(&mut self) {
        panic!("in the panic's payload, as the test asks");
    }
}

impl Future for Bomb {
    type Output = Result<Data, Error>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.polls.checked_sub(1) {
            None => std::panic::panic_any(Payloads),
            Some(left) => self.polls = left,
        }
        Poll::Pending
    }
}

impl Stream for Bomb {
    type Item = Result<Data, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx).map(Some)
    }
}

fn assert_panicked(error: &Error) {
    assert_eq!((error.code, error.scope), (Code::Internal, Scope::Channel));
    assert!(error.message.contains("panicked"), "{}", error.message);
}

#[test]
fn panics_stay_on_their_side() {
    let plugin = imported(Functions {
        control: |_, _| panic!("as the test asks"),
        execute: |_, request| match &*request.operation {
            "begin" => panic!("as the test asks"),
            "poll" => Box::pin(Bomb { polls: 1, in_drop: true }),
            "drop" => Box::pin(Bomb { polls: 9, in_drop: true }),
            _ => ready(Ok(request.params)),
        },
        stream: |_, first, _| match &*first.operation {
            "begin" => panic!("as the test asks"),
            _ => ready(Ok(Box::pin(Bomb { polls: 1, in_drop: true }) as ResponseStream)),
        },
    });
    let call = |operation: &'static str| {
        plugin.execute(CallContext::default(), Request { operation: operation.into(), ..Request::default() })
    };
    assert_panicked(&now(plugin.control(Method::Health, Bytes::new())).unwrap_err());
    assert_panicked(&now(call("begin")).unwrap_err());

    let mut polled = call("poll");
    assert!(poll(&mut polled).is_pending());
    assert_panicked(&now(polled).unwrap_err());

    let mut dropped = call("drop");
    assert!(poll(&mut dropped).is_pending());
    drop(dropped);

    let stream = |operation: &'static str| {
        let first = Request { operation: operation.into(), ..Request::default() };
        now(plugin.execute_stream(CallContext::default(), first, Box::pin(Client::default())))
    };
    let Err(error) = stream("begin") else { panic!() };
    assert_panicked(&error);
    let mut polled = stream("").unwrap();
    assert!(next(&mut polled).is_pending());
    let Poll::Ready(Some(Err(error))) = next(&mut polled) else { panic!() };
    assert_panicked(&error);
    assert!(matches!(next(&mut polled), Poll::Ready(None)));
    drop(stream("").unwrap());

    now(call("fine")).unwrap();
}

struct Keeps(Arc<Mutex<Vec<Waker>>>);

impl Future for Keeps {
    type Output = Result<Data, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.lock().unwrap().push(cx.waker().clone());
        Poll::Pending
    }
}

thread_local! {
    static KEPT: Arc<Mutex<Vec<Waker>>> = Arc::default();
}

#[test]
fn a_waker_may_be_kept_cloned_and_woken_anywhere_at_any_time() {
    let plugin = imported(Functions {
        execute: |_, _| Box::pin(Keeps(KEPT.with(Arc::clone))),
        ..Functions::default()
    });
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut call = plugin.execute(CallContext::default(), Request::default());
    for _ in 0..3 {
        assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let kept = KEPT.with(|kept| std::mem::take(&mut *kept.lock().unwrap()));
    let other = std::thread::spawn(move || {
        for waker in &kept {
            waker.wake_by_ref();
            let twice = [waker.clone(), waker.clone()];
            twice.into_iter().for_each(Waker::wake);
        }
        kept
    });
    let kept = other.join().unwrap();
    assert_eq!(woken.count(), 9);
    drop(call);
    drop(plugin);
    kept.into_iter().for_each(Waker::wake);
    assert_eq!(woken.count(), 12, "a call that is gone may be woken");
    drop(waker);
    assert_eq!(Arc::strong_count(&woken), 1, "no clone is left");
}

/// Knows whether it is entered.
struct Counted {
    inside: Arc<AtomicUsize>,
    entries: Arc<AtomicUsize>,
}

impl export::Ambience for Counted {
    fn within<T>(&self, entry: impl FnOnce() -> T) -> T {
        self.entries.fetch_add(1, Ordering::SeqCst);
        self.inside.fetch_add(1, Ordering::SeqCst);
        let value = entry();
        self.inside.fetch_sub(1, Ordering::SeqCst);
        value
    }

    fn now(&self) -> std::time::Instant {
        clock()
    }
}

/// Must be polled and dropped inside.
struct Inside {
    inside: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Inside {
    fn check(&self) {
        assert_eq!(self.inside.load(Ordering::SeqCst), 1, "outside of the plugin's runtime");
    }
}

impl EncodedPlugin for Inside {
    fn control(&self, _: Method, _: Bytes) -> crate::Task<Result<Bytes, Error>> {
        self.check();
        ready(Ok(Bytes::new()))
    }

    fn execute(&self, _: CallContext, _: Request) -> crate::Call {
        self.check();
        Box::pin(Inside { inside: Arc::clone(&self.inside), dropped: Arc::clone(&self.dropped) })
    }

    fn execute_stream(&self, _: CallContext, _: Request, _: RequestStream) -> crate::Opening {
        self.check();
        let stream = Inside { inside: Arc::clone(&self.inside), dropped: Arc::clone(&self.dropped) };
        ready(Ok(Box::pin(stream) as ResponseStream))
    }
}

impl Future for Inside {
    type Output = Result<Data, Error>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.check();
        Poll::Pending
    }
}

impl Stream for Inside {
    type Item = Result<Data, Error>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.check();
        Poll::Pending
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Counted, because a panic here is contained.
        self.dropped.fetch_add(self.inside.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

#[test]
fn every_entry_is_in_the_plugins_runtime_and_it_ends_after_its_last_call() {
    let [inside, entries, dropped]: [Arc<AtomicUsize>; 3] = Default::default();
    let plugin = Inside { inside: Arc::clone(&inside), dropped: Arc::clone(&dropped) };
    let ambience = Counted { inside: Arc::clone(&inside), entries: Arc::clone(&entries) };
    let loaded = export::export(plugin, ambience);
    // SAFETY: `export` gives a whole table.
    let plugin = unsafe { import::Imported::new(&loaded, watching()) }.unwrap();
    now(plugin.control(Method::Health, Bytes::new())).unwrap();
    let mut call = plugin.execute(CallContext::default(), Request::default());
    assert!(poll(&mut call).is_pending());
    let mut stream =
        now(plugin.execute_stream(CallContext::default(), Request::default(), Box::pin(Client::default())))
            .unwrap();
    assert!(next(&mut stream).is_pending());
    drop(plugin);
    assert_eq!(dropped.load(Ordering::SeqCst), 0, "destroyed under a call");
    drop(call);
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "the call, and inside");
    drop(stream);
    assert_eq!(dropped.load(Ordering::SeqCst), 3, "the stream and then the plugin, and inside");
    assert_eq!(inside.load(Ordering::SeqCst), 0);
    assert!(entries.load(Ordering::SeqCst) >= 8);
}

#[test]
fn an_entry_that_takes_long_is_told() {
    let observer = watching();
    let functions = Functions { execute: |_, _| ready(Ok(Data::Empty)), ..Functions::default() };
    let plugin = import::linked(functions, clock, Arc::clone(&observer) as _);
    now(plugin.execute(CallContext::default(), Request::default())).unwrap();
    assert_eq!(observer.long.load(Ordering::SeqCst), 0);
    // From here on every reading of the clock is twice the one before.
    observer.skew.store(20, Ordering::SeqCst);
    now(plugin.execute(CallContext::default(), Request::default())).unwrap();
    assert_eq!(observer.long.load(Ordering::SeqCst), 2, "the entry and the poll");
}

#[test]
fn what_a_client_may_say_fits_whatever_its_shape() {
    let plugin = imported(Functions {
        execute: |_, request| {
            let bytes: usize = request.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
            ready(Ok(Data::Raw(Bytes::from(format!("{} {bytes}", request.metadata.len())).into())))
        },
        ..Functions::default()
    });
    for metadata in [vec![("k".into(), "x".repeat(4 << 20).into())], vec![("k".into(), "x".into()); 200_000]]
    {
        let bytes: usize =
            metadata.iter().map(|(key, value): &(ByteString, ByteString)| key.len() + value.len()).sum();
        let expected = format!("{} {bytes}", metadata.len());
        let request = Request { metadata, ..Request::default() };
        let Data::Raw(answer) = now(plugin.execute(CallContext::default(), request)).unwrap() else {
            panic!()
        };
        assert_eq!(answer.into_bytes(), expected);
    }
}
