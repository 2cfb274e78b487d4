//! The plugin's side: an [`EncodedPlugin`] behind the function table of the ABI.

use super::{
    Clock, EncodedPlugin, MAX_MESSAGE_BYTES, Method, broken, contain,
    data::Outgoing,
    layout::{
        Call as FfiCall, CallVtable, Context as FfiContext, Loaded, PRISM_CHANNEL, PRISM_END,
        PRISM_OPERATION, PRISM_PENDING, PRISM_READY, Plugin as FfiPlugin, PluginVtable, Reply,
        Request as FfiRequest, Source, Str, Stream as FfiStream, StreamVtable, Waker,
    },
    message::read_call,
    panicked, text, waker,
};
use crate::{Call, Data, Error, Opening, ResponseStream, Scope, Task};
use bytes::Bytes;
use std::{
    borrow::Cow,
    ptr,
    task::{Context, Poll},
    time::Instant,
};

mod entry;
mod source;

pub use entry::{Level, Log, enter};

use source::Requests;

/// What surrounds every entry into a plugin, drops included: a runtime that its futures may count on.
pub trait Ambience: Send + Sync + 'static {
    /// Runs `entry` in it.
    fn within<T>(&self, entry: impl FnOnce() -> T) -> T;

    /// What deadlines are counted from.
    fn now(&self) -> Instant;
}

/// Nothing but a clock: for plugins that run on whatever runtime polls them.
#[derive(Clone, Copy, Debug)]
pub struct Plain(pub Clock);

impl Ambience for Plain {
    fn within<T>(&self, entry: impl FnOnce() -> T) -> T {
        entry()
    }

    fn now(&self) -> Instant {
        (self.0)()
    }
}

/// Puts a plugin behind the ABI. It lives until `destroy`.
pub fn export<P: EncodedPlugin, A: Ambience>(plugin: P, ambience: A) -> Loaded {
    let plugin = Box::new(Exported { plugin, ambience });
    Loaded {
        size: size_of::<Loaded>(),
        plugin: Box::into_raw(plugin).cast(),
        vtable: &raw const *Exported::<P, A>::VTABLE,
    }
}

struct Exported<P, A> {
    plugin: P,
    ambience: A,
}

impl<P: EncodedPlugin, A: Ambience> Exported<P, A> {
    const VTABLE: &'static PluginVtable = &PluginVtable {
        size: size_of::<PluginVtable>(),
        describe: Some(Self::describe),
        initialize: Some(Self::initialize),
        health: Some(Self::health),
        metrics: Some(Self::metrics),
        shutdown: Some(Self::shutdown),
        execute: Some(Self::execute),
        execute_stream: Some(Self::execute_stream),
        destroy: Some(Self::destroy),
    };

    unsafe extern "C" fn describe(plugin: *mut FfiPlugin, message: Str) -> *mut FfiCall {
        // SAFETY: the proxy's promise, as for all of these: `plugin` is what `export` gave and not destroyed.
        unsafe { Self::control(plugin, Method::Describe, message) }
    }

    unsafe extern "C" fn initialize(plugin: *mut FfiPlugin, message: Str) -> *mut FfiCall {
        // SAFETY: as above.
        unsafe { Self::control(plugin, Method::Initialize, message) }
    }

    unsafe extern "C" fn health(plugin: *mut FfiPlugin, message: Str) -> *mut FfiCall {
        // SAFETY: as above.
        unsafe { Self::control(plugin, Method::Health, message) }
    }

    unsafe extern "C" fn metrics(plugin: *mut FfiPlugin, message: Str) -> *mut FfiCall {
        // SAFETY: as above.
        unsafe { Self::control(plugin, Method::Metrics, message) }
    }

    unsafe extern "C" fn shutdown(plugin: *mut FfiPlugin, message: Str) -> *mut FfiCall {
        // SAFETY: as above.
        unsafe { Self::control(plugin, Method::Shutdown, message) }
    }

    /// # Safety
    /// `plugin` is what `export` gave, and not destroyed yet. `message` is lent for this call.
    unsafe fn control(plugin: *mut FfiPlugin, method: Method, message: Str) -> *mut FfiCall {
        // SAFETY: the caller's promise.
        let exported = unsafe { &*plugin.cast::<Self>() };
        exported.call(|| {
            // SAFETY: lent for this call, and copied before it returns.
            let message = match unsafe { text::read(message, MAX_MESSAGE_BYTES) } {
                Ok(message) => Bytes::copy_from_slice(message.unwrap_or_default()),
                Err(error) => return Running::Failed(error.0),
            };
            Running::Control(exported.plugin.control(method, message))
        })
    }

    unsafe extern "C" fn execute(
        plugin: *mut FfiPlugin,
        context: *const FfiContext,
        request: *mut FfiRequest,
    ) -> *mut FfiCall {
        // SAFETY: as in `control`.
        let exported = unsafe { &*plugin.cast::<Self>() };
        exported.call(|| {
            // SAFETY: both are lent for this call, and the buffers handed over.
            match unsafe { read_call(&*context, &*request, || exported.ambience.now()) } {
                Ok((context, request)) => Running::Unary(exported.plugin.execute(context, request)),
                Err(error) => Running::Failed(error.0),
            }
        })
    }

    unsafe extern "C" fn execute_stream(
        plugin: *mut FfiPlugin,
        context: *const FfiContext,
        request: *mut FfiRequest,
        source: *mut Source,
    ) -> *mut FfiCall {
        // SAFETY: as in `control`.
        let exported = unsafe { &*plugin.cast::<Self>() };
        // SAFETY: ours from now on.
        let requests = unsafe { Requests::new(source) };
        exported.call(|| {
            // SAFETY: as in `execute`.
            match unsafe { read_call(&*context, &*request, || exported.ambience.now()) } {
                Ok((context, first)) => {
                    let rest = Box::pin(requests);
                    Running::Opening(exported.plugin.execute_stream(context, first, rest))
                }
                Err(error) => Running::Failed(error.0),
            }
        })
    }

    unsafe extern "C" fn destroy(plugin: *mut FfiPlugin) {
        contain(|| {
            // SAFETY: `export` made it with `Box::into_raw`, and the proxy calls this once, as the last thing.
            let exported = unsafe { Box::from_raw(plugin.cast::<Self>()) };
            let Self { plugin, ambience } = *exported;
            ambience.within(|| drop(plugin));
        });
    }

    /// A call, begun by `begin`. Its panic is the call's failure.
    fn call(&self, begin: impl FnOnce() -> Running) -> *mut FfiCall {
        let running = contain(|| self.ambience.within(begin)).unwrap_or(Running::Failed(Running::PANICKED));
        Box::into_raw(Box::new(ExportedCall {
            head: FfiCall { vtable: &raw const *ExportedCall::<P, A>::VTABLE },
            exported: self,
            running,
            outgoing: Outgoing::new(),
            message: Cow::Borrowed(""),
        }))
        .cast()
    }
}

enum Running {
    Control(Task<Result<Bytes, Error>>),
    Unary(Call),
    Opening(Opening),
    Failed(&'static str),
    Over,
}

enum Outcome {
    Data(Data),
    Stream(ResponseStream),
}

impl Running {
    /// Stands for [`panicked`], whose text is elsewhere.
    const PANICKED: &'static str = "";

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Outcome, Error>> {
        match self {
            Self::Control(task) => {
                task.as_mut().poll(cx).map_ok(|message| Outcome::Data(Data::Raw(message.into())))
            }
            Self::Unary(call) => call.as_mut().poll(cx).map_ok(Outcome::Data),
            Self::Opening(opening) => opening.as_mut().poll(cx).map_ok(Outcome::Stream),
            Self::Failed(Self::PANICKED) => Poll::Ready(Err(panicked())),
            Self::Failed(what) => Poll::Ready(Err(broken(what))),
            Self::Over => Poll::Ready(Err(broken("the call was polled after its answer"))),
        }
    }
}

/// A call of ours in the proxy's hands.
#[repr(C)]
struct ExportedCall<P, A> {
    head: FfiCall,
    exported: *const Exported<P, A>,
    running: Running,
    outgoing: Outgoing,
    message: Cow<'static, str>,
}

impl<P: EncodedPlugin, A: Ambience> ExportedCall<P, A> {
    const VTABLE: &'static CallVtable =
        &CallVtable { size: size_of::<CallVtable>(), poll: Some(Self::poll), drop: Some(Self::drop) };

    unsafe extern "C" fn poll(call: *mut FfiCall, waker: *const Waker, reply: *mut Reply) -> i32 {
        // SAFETY: only `Exported::call` names this function, for what it made; one thread at a time polls it, and
        // it is not dropped.
        let this = unsafe { &mut *call.cast::<Self>() };
        // SAFETY: the plugin outlives its calls.
        let exported = unsafe { &*this.exported };
        // SAFETY: lent for this poll.
        let waker = unsafe { waker::lent(waker) };
        let mut cx = Context::from_waker(waker.get());
        let polled = contain(|| {
            exported.ambience.within(|| {
                let polled = this.running.poll(&mut cx);
                if polled.is_ready() {
                    this.running = Running::Over;
                }
                polled
            })
        });
        let outcome = match polled {
            Some(Poll::Pending) => return PRISM_PENDING,
            Some(Poll::Ready(outcome)) => outcome,
            None => {
                this.end(exported);
                Err(panicked())
            }
        };
        let mut written = Reply::unwritten();
        match outcome {
            Ok(Outcome::Data(data)) => written.data = this.outgoing.lend(data),
            Ok(Outcome::Stream(responses)) => written.stream = ExportedStream::start(exported, responses),
            Err(error) => fail(&mut written, &mut this.message, error),
        }
        // SAFETY: the proxy's place for it.
        unsafe { write(reply, &written) };
        PRISM_READY
    }

    unsafe extern "C" fn drop(call: *mut FfiCall) {
        // SAFETY: as in `poll`; this is its last use.
        let mut this = unsafe { Box::from_raw(call.cast::<Self>()) };
        // SAFETY: the plugin outlives its calls.
        let exported = unsafe { &*this.exported };
        this.end(exported);
    }

    fn end(&mut self, exported: &Exported<P, A>) {
        let running = std::mem::replace(&mut self.running, Running::Over);
        if !matches!(running, Running::Over) {
            contain(|| exported.ambience.within(|| drop(running)));
        }
    }
}

/// A plugin's answers in the proxy's hands.
#[repr(C)]
struct ExportedStream<P, A> {
    head: FfiStream,
    exported: *const Exported<P, A>,
    responses: Option<ResponseStream>,
    outgoing: Outgoing,
    message: Cow<'static, str>,
}

impl<P: EncodedPlugin, A: Ambience> ExportedStream<P, A> {
    const VTABLE: &'static StreamVtable = &StreamVtable {
        size: size_of::<StreamVtable>(),
        poll_next: Some(Self::poll_next),
        drop: Some(Self::drop),
    };

    fn start(exported: &Exported<P, A>, responses: ResponseStream) -> *mut FfiStream {
        Box::into_raw(Box::new(Self {
            head: FfiStream { vtable: &raw const *Self::VTABLE },
            exported,
            responses: Some(responses),
            outgoing: Outgoing::new(),
            message: Cow::Borrowed(""),
        }))
        .cast()
    }

    unsafe extern "C" fn poll_next(stream: *mut FfiStream, waker: *const Waker, reply: *mut Reply) -> i32 {
        // SAFETY: as in `ExportedCall::poll`.
        let this = unsafe { &mut *stream.cast::<Self>() };
        // SAFETY: the plugin outlives its streams.
        let exported = unsafe { &*this.exported };
        // SAFETY: lent for this poll.
        let waker = unsafe { waker::lent(waker) };
        let mut cx = Context::from_waker(waker.get());
        let Some(responses) = &mut this.responses else { return PRISM_END };
        let polled = contain(|| exported.ambience.within(|| responses.as_mut().poll_next(&mut cx)));
        let mut written = Reply::unwritten();
        match polled.unwrap_or_else(|| Poll::Ready(Some(Err(panicked())))) {
            Poll::Pending => return PRISM_PENDING,
            Poll::Ready(None) => {
                this.end(exported);
                return PRISM_END;
            }
            Poll::Ready(Some(Ok(data))) => written.data = this.outgoing.lend(data),
            Poll::Ready(Some(Err(error))) => {
                this.end(exported);
                fail(&mut written, &mut this.message, error);
            }
        }
        // SAFETY: the proxy's place for it.
        unsafe { write(reply, &written) };
        PRISM_READY
    }

    unsafe extern "C" fn drop(stream: *mut FfiStream) {
        // SAFETY: as in `poll_next`; this is its last use.
        let mut this = unsafe { Box::from_raw(stream.cast::<Self>()) };
        // SAFETY: the plugin outlives its streams.
        let exported = unsafe { &*this.exported };
        this.end(exported);
    }

    fn end(&mut self, exported: &Exported<P, A>) {
        if let Some(responses) = self.responses.take() {
            contain(|| exported.ambience.within(|| drop(responses)));
        }
    }
}

/// Writes an error; `kept` is what its text points to.
fn fail(reply: &mut Reply, kept: &mut Cow<'static, str>, error: Error) {
    *kept = error.message;
    reply.code = error.code.number();
    reply.scope = match error.scope {
        Scope::Operation => PRISM_OPERATION,
        Scope::Channel => PRISM_CHANNEL,
    };
    reply.message = Str::of(kept.as_bytes());
}

/// Fills as much of the proxy's reply as it has.
///
/// # Safety
/// `reply` points to a reply that begins with its size.
unsafe fn write(reply: *mut Reply, written: &Reply) {
    // SAFETY: the caller's promise. An older proxy has a shorter one, whose size stays what it is.
    unsafe {
        let size = (*reply).size.min(size_of::<Reply>());
        let skip = size_of::<usize>();
        ptr::copy_nonoverlapping(
            ptr::from_ref(written).cast::<u8>().add(skip),
            reply.cast::<u8>().add(skip),
            size.saturating_sub(skip),
        );
    }
}
