//! The proxy's side against function tables that no plugin should have: each harms its own call and nothing else.

use super::{next, now, poll, watching};
use crate::{
    CallContext, Code, Data, Error, Request, RequestStream, ResponseStream, Scope,
    ffi::{
        EncodedPlugin, Method,
        import::{Imported, Unusable},
        layout::{
            Buffer, BufferVtable, Call, CallVtable, Context as FfiContext, Data as FfiData, Loaded, Plugin,
            PluginVtable, Reply, Request as FfiRequest, Source, Str, Stream, StreamVtable, Waker,
        },
    },
};
use bytes::Bytes;
use std::{
    cell::{Cell, RefCell},
    ptr,
    task::Poll,
};

type Answer = fn(&mut Reply) -> i32;

thread_local! {
    /// What the next poll does.
    static ANSWER: Cell<Answer> = const { Cell::new(|_| 0) };
    static RELEASED: Cell<usize> = const { Cell::new(0) };
    static CALLS_DROPPED: Cell<usize> = const { Cell::new(0) };
    static STREAMS_DROPPED: Cell<usize> = const { Cell::new(0) };
    static BUFFERS: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

static CALL: CallVtable =
    CallVtable { size: size_of::<CallVtable>(), poll: Some(poll_call), drop: Some(drop_call) };
static STREAM: StreamVtable =
    StreamVtable { size: size_of::<StreamVtable>(), poll_next: Some(poll_stream), drop: Some(drop_stream) };
static BUFFER: BufferVtable = BufferVtable { size: size_of::<BufferVtable>(), release: Some(release) };

unsafe extern "C" fn poll_call(_: *mut Call, _: *const Waker, reply: *mut Reply) -> i32 {
    // SAFETY: the proxy's, for the length of the poll.
    ANSWER.get()(unsafe { &mut *reply })
}

unsafe extern "C" fn poll_stream(_: *mut Stream, _: *const Waker, reply: *mut Reply) -> i32 {
    // SAFETY: as above.
    ANSWER.get()(unsafe { &mut *reply })
}

unsafe extern "C" fn drop_call(call: *mut Call) {
    CALLS_DROPPED.set(CALLS_DROPPED.get() + 1);
    // SAFETY: made by `call` below.
    drop(unsafe { Box::from_raw(call) });
}

unsafe extern "C" fn drop_stream(stream: *mut Stream) {
    STREAMS_DROPPED.set(STREAMS_DROPPED.get() + 1);
    // SAFETY: made by `stream` below.
    drop(unsafe { Box::from_raw(stream) });
}

unsafe extern "C" fn release(_: *mut Buffer) {
    RELEASED.set(RELEASED.get() + 1);
}

fn call(vtable: *const CallVtable) -> *mut Call {
    Box::into_raw(Box::new(Call { vtable }))
}

fn stream(vtable: *const StreamVtable) -> *mut Stream {
    Box::into_raw(Box::new(Stream { vtable }))
}

unsafe extern "C" fn control(_: *mut Plugin, _: Str) -> *mut Call {
    call(&raw const CALL)
}

unsafe extern "C" fn null_control(_: *mut Plugin, _: Str) -> *mut Call {
    ptr::null_mut()
}

unsafe extern "C" fn execute(_: *mut Plugin, _: *const FfiContext, _: *mut FfiRequest) -> *mut Call {
    call(&raw const CALL)
}

unsafe extern "C" fn null_execute(_: *mut Plugin, _: *const FfiContext, _: *mut FfiRequest) -> *mut Call {
    ptr::null_mut()
}

unsafe extern "C" fn hollow_execute(_: *mut Plugin, _: *const FfiContext, _: *mut FfiRequest) -> *mut Call {
    Box::into_raw(Box::new(Call { vtable: ptr::null() }))
}

unsafe extern "C" fn execute_stream(
    _: *mut Plugin,
    _: *const FfiContext,
    _: *mut FfiRequest,
    source: *mut Source,
) -> *mut Call {
    // SAFETY: ours to drop.
    unsafe { (*(*source).vtable).drop.unwrap()(source) };
    call(&raw const CALL)
}

const fn table() -> PluginVtable {
    PluginVtable {
        size: size_of::<PluginVtable>(),
        describe: Some(control),
        initialize: Some(control),
        health: Some(control),
        metrics: None,
        shutdown: None,
        execute: Some(execute),
        execute_stream: Some(execute_stream),
        destroy: None,
    }
}

fn import(table: PluginVtable) -> Result<Imported, Unusable> {
    let vtable = Box::leak(Box::new(table));
    let loaded = Loaded { size: size_of::<Loaded>(), plugin: ptr::null_mut(), vtable };
    // SAFETY: the functions do what the tests are about, none of which is beyond what is contained.
    unsafe { Imported::new(&loaded, watching()) }
}

fn ask(answer: Answer) -> Result<Data, Error> {
    ANSWER.set(answer);
    let plugin = import(table()).unwrap();
    now(plugin.execute(CallContext::default(), Request::default()))
}

fn buffer(bytes: &'static [u8]) -> Buffer {
    Buffer { data: bytes.as_ptr(), len: bytes.len(), vtable: &raw const BUFFER, owner: [0; 4] }
}

/// Has `reply` point to `buffers`, of which there are said to be `count`.
fn give(reply: &mut Reply, buffers: Vec<Buffer>, count: usize) {
    BUFFERS.with_borrow_mut(|kept| {
        *kept = buffers;
        reply.data = FfiData { kind: 2, type_url: Str::NONE, buffers: kept.as_mut_ptr(), count };
    });
}

fn assert_broken(outcome: Result<Data, Error>, words: &str) {
    let error = outcome.unwrap_err();
    assert_eq!((error.code, error.scope), (Code::Internal, Scope::Channel), "{words}");
    assert!(error.message.contains(words), "{words}: {}", error.message);
}

#[test]
fn tables_that_cannot_be_used_are_refused() {
    let loaded = Loaded { size: size_of::<Loaded>(), plugin: ptr::null_mut(), vtable: ptr::null() };
    // SAFETY: null is allowed.
    assert_eq!(unsafe { Imported::new(&loaded, watching()) }.unwrap_err(), Unusable::NoTable);
    let short = PluginVtable { size: 16, ..table() };
    assert!(matches!(import(short).unwrap_err(), Unusable::ShortTable { got: 16, .. }));
    for (name, table) in [
        ("describe", PluginVtable { describe: None, ..table() }),
        ("initialize", PluginVtable { initialize: None, ..table() }),
        ("health", PluginVtable { health: None, ..table() }),
        ("execute", PluginVtable { execute: None, ..table() }),
    ] {
        assert_eq!(import(table).unwrap_err(), Unusable::NoFunction(name));
    }
    // One of a later minor version is longer, and is taken.
    import(PluginVtable { size: 4096, ..table() }).unwrap();
}

#[test]
fn what_a_plugin_does_not_have_is_unimplemented() {
    let plugin = import(PluginVtable { execute_stream: None, ..table() }).unwrap();
    for method in [Method::Metrics, Method::Shutdown] {
        assert_eq!(now(plugin.control(method, Bytes::new())).unwrap_err().code, Code::Unimplemented);
    }
    let rest: RequestStream = Box::pin(Nothing);
    let opened = now(plugin.execute_stream(CallContext::default(), Request::default(), rest));
    assert_eq!(opened.map(|_| ()).unwrap_err().code, Code::Unimplemented);
}

struct Nothing;

impl futures_core::Stream for Nothing {
    type Item = Result<Request, Error>;

    fn poll_next(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}

#[test]
fn null_pointers_fail_their_call() {
    let hollow = import(PluginVtable { execute: Some(hollow_execute), ..table() }).unwrap();
    let null =
        import(PluginVtable { execute: Some(null_execute), health: Some(null_control), ..table() }).unwrap();
    for plugin in [&hollow, &null] {
        let outcome = now(plugin.execute(CallContext::default(), Request::default()));
        assert_broken(outcome, "a null pointer for a call");
    }
    assert_broken(now(null.control(Method::Health, Bytes::new())).map(|_| Data::Empty), "a null pointer");
    assert_broken(
        ask(|reply| {
            reply.data.kind = 2;
            reply.data.count = 3;
            1
        }),
        "a null pointer stands for buffers",
    );
    assert_broken(
        ask(|reply| {
            give(reply, vec![Buffer { data: ptr::null(), ..buffer(b"abc") }], 1);
            1
        }),
        "a null pointer stands for bytes",
    );
    assert_broken(
        ask(|reply| {
            reply.data = FfiData { kind: 1, type_url: Str { data: ptr::null(), len: 9 }, ..FfiData::EMPTY };
            1
        }),
        "a null pointer stands for text",
    );
    assert_eq!(RELEASED.get(), 1, "a buffer that is refused is given back");
}

#[test]
fn lengths_and_counts_above_their_bounds_fail_their_call() {
    for len in [usize::MAX, isize::MAX as usize, (1 << 32)] {
        RELEASED.set(0);
        LEN.set(len);
        assert_broken(
            ask(|reply| {
                give(reply, vec![buffer(b"fine"), Buffer { len: LEN.get(), ..buffer(b"abc") }], 2);
                1
            }),
            "longer than any may be",
        );
        assert_eq!(RELEASED.get(), 2);
        assert_broken(
            ask(|reply| {
                reply.code = 13;
                reply.message = Str { data: b"abc".as_ptr(), len: LEN.get() };
                1
            }),
            "a text is longer",
        );
    }
    assert_broken(
        ask(|reply| {
            give(reply, vec![buffer(b"abc")], usize::MAX);
            1
        }),
        "more buffers than a message may have",
    );
}

thread_local! {
    static LEN: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn unknown_codes_kinds_and_scopes_fail_their_call() {
    for answer in [(|_| 2) as Answer, |_| 3, |_| -1, |_| i32::MAX] {
        assert_broken(ask(answer), "an unknown code");
    }
    assert_broken(
        ask(|reply| {
            reply.data.kind = 77;
            1
        }),
        "unknown kind",
    );
    assert_broken(
        ask(|reply| {
            (reply.code, reply.scope) = (5, 9);
            1
        }),
        "unknown scope",
    );
    // An error is never read as success, whatever its number.
    for code in [-1, 17, i32::MIN] {
        CODE.set(code);
        let error = ask(|reply| {
            reply.code = CODE.get();
            1
        });
        assert_eq!(error.unwrap_err().code, Code::Unknown);
    }
    assert_broken(
        ask(|reply| {
            reply.data = FfiData { kind: 1, type_url: Str::of(b"\xff"), ..FfiData::EMPTY };
            1
        }),
        "not UTF-8",
    );
    // In an error's text it is no reason to lose the rest.
    let error = ask(|reply| {
        (reply.code, reply.message) = (5, Str::of(b"a\xff"));
        1
    });
    assert_eq!(error.unwrap_err(), Error::operation(Code::NotFound, "a\u{fffd}"));
}

thread_local! {
    static CODE: Cell<i32> = const { Cell::new(0) };
}

#[test]
fn streams_where_none_belongs_and_none_where_one_does() {
    CALLS_DROPPED.set(0);
    assert_broken(
        ask(|reply| {
            reply.stream = stream(&raw const STREAM);
            1
        }),
        "a unary call with a stream",
    );
    assert_eq!((CALLS_DROPPED.get(), STREAMS_DROPPED.get()), (1, 1));

    // An error with a stream: the error counts, and the stream is dropped.
    let error = ask(|reply| {
        (reply.code, reply.stream) = (5, stream(&raw const STREAM));
        give(reply, vec![buffer(b"x")], 1);
        1
    });
    assert_eq!((error.unwrap_err().code, STREAMS_DROPPED.get(), RELEASED.get()), (Code::NotFound, 2, 1));

    assert_broken(open(|_| 1).map(|_| Data::Empty), "a null pointer for a stream");
}

fn open(answer: Answer) -> Result<ResponseStream, Error> {
    ANSWER.set(answer);
    let plugin = import(table()).unwrap();
    now(plugin.execute_stream(CallContext::default(), Request::default(), Box::pin(Nothing)))
}

#[test]
fn items_are_checked_like_answers_and_the_first_bad_one_is_the_last() {
    let open = || {
        open(|reply| {
            reply.stream = stream(&raw const STREAM);
            1
        })
        .unwrap()
    };
    for (answer, words) in [
        ((|_| 5) as Answer, "an unknown code"),
        (
            |reply| {
                reply.data.kind = 9;
                1
            },
            "unknown kind",
        ),
        (
            |reply| {
                reply.stream = stream(&raw const STREAM);
                1
            },
            "an item with a stream",
        ),
    ] {
        let mut items = open();
        ANSWER.set(|_| 0);
        assert!(next(&mut items).is_pending());
        ANSWER.set(|reply| {
            give(reply, vec![buffer(b"item")], 1);
            1
        });
        assert!(matches!(next(&mut items), Poll::Ready(Some(Ok(Data::Raw(_))))));
        ANSWER.set(answer);
        let Poll::Ready(Some(bad)) = next(&mut items) else { panic!("{words}") };
        assert_broken(bad, words);
        let dropped = STREAMS_DROPPED.get();
        assert!(matches!(next(&mut items), Poll::Ready(None)));
        drop(items);
        assert_eq!(STREAMS_DROPPED.get(), dropped, "dropped once, with its bad item");
    }
    let mut hollow = super::wicked::open(|reply| {
        reply.stream = stream(ptr::null());
        1
    })
    .unwrap();
    let Poll::Ready(Some(bad)) = next(&mut hollow) else { panic!() };
    assert_broken(bad, "a stream's functions");
}

#[test]
fn a_call_is_not_polled_after_its_answer_and_dropped_once() {
    CALLS_DROPPED.set(0);
    ANSWER.set(|_| 1);
    let plugin = import(table()).unwrap();
    let mut call = plugin.execute(CallContext::default(), Request::default());
    assert!(poll(&mut call).is_ready());
    assert_eq!(CALLS_DROPPED.get(), 1);
    assert!(poll(&mut call).is_ready());
    drop(call);
    let mut cancelled = plugin.execute(CallContext::default(), Request::default());
    ANSWER.set(|_| 0);
    assert!(poll(&mut cancelled).is_pending());
    drop(cancelled);
    assert_eq!(CALLS_DROPPED.get(), 2);
}
