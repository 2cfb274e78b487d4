//! The proxy's side: a plugin behind the function table of the ABI, as an [`EncodedPlugin`].

use super::{
    Clock, EncodedPlugin, LONG_POLL, MAX_TEXT_BYTES, Method, Observer, broken,
    data::Incoming,
    handle::Handle,
    layout::{
        Call as FfiCall, Loaded, PRISM_CHANNEL, PRISM_END, PRISM_OPERATION, PRISM_PENDING, PRISM_READY,
        Plugin as FfiPlugin, PluginVtable, Reply, Str, Stream as FfiStream,
    },
    message::{OutgoingRequest, lend_context},
    text::{self, Broken, Texts},
    waker,
};
use crate::{Call, CallContext, Code, Data, Error, Opening, Request, RequestStream, ResponseStream, Task};
use bytes::Bytes;
use futures_core::Stream;
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

mod source;

/// What a library gave is no plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// Its entry function filled nothing in.
    #[error("its entry function gave no function table")]
    NoTable,
    /// The table ends before functions that version 1.0 has.
    #[error(
        "its function table has {got} bytes where at least {needed} are needed; build it against this ABI's header"
    )]
    ShortTable {
        /// Bytes that it says it has.
        got: usize,
        /// Bytes of version 1.0.
        needed: usize,
    },
    /// A function that every plugin needs is null.
    #[error("its function table has a null pointer for `{0}`")]
    NoFunction(&'static str),
}

/// A plugin of the other side. It is destroyed when its last call, stream and handle is gone.
pub struct Imported(Arc<Inner>);

struct Inner {
    plugin: *mut FfiPlugin,
    vtable: &'static PluginVtable,
    observer: Arc<dyn Observer>,
}

// SAFETY: the ABI has every function of a plugin called on any thread, and many at a time.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Imported {
    /// Takes what an entry function gave, to be watched over by `observer`.
    ///
    /// # Safety
    /// `loaded.vtable` is null or points to a table that begins with its size and lives as long as the process; its
    /// functions keep to what [`super::layout`] says, and `loaded.plugin` is theirs.
    pub unsafe fn new(loaded: &Loaded, observer: Arc<dyn Observer>) -> Result<Self, Unusable> {
        // SAFETY: the caller's promise; the size comes first, and is all that is looked at before it is checked.
        let got = unsafe { loaded.vtable.cast::<usize>().as_ref() }.copied().ok_or(Unusable::NoTable)?;
        let needed = size_of::<PluginVtable>();
        if got < needed {
            return Err(Unusable::ShortTable { got, needed });
        }
        // SAFETY: not null, and as long as we know it.
        let vtable = unsafe { &*loaded.vtable };
        for (name, missing) in [
            ("describe", vtable.describe.is_none()),
            ("initialize", vtable.initialize.is_none()),
            ("health", vtable.health.is_none()),
            ("execute", vtable.execute.is_none()),
        ] {
            if missing {
                return Err(Unusable::NoFunction(name));
            }
        }
        Ok(Self(Arc::new(Inner { plugin: loaded.plugin, vtable, observer })))
    }

    fn call(&self, call: *mut FfiCall) -> ForeignCall {
        // SAFETY: one of the plugin's functions gave it, which is to hand it over.
        ForeignCall { call: unsafe { Handle::new(call) }, plugin: Arc::clone(&self.0) }
    }
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Imported")
    }
}

impl Inner {
    /// Enters the plugin, and says so when that took too long.
    fn watch<T>(&self, enter: impl FnOnce() -> T) -> T {
        let began = self.observer.tick();
        let value = enter();
        let took = self.observer.tick().saturating_sub(began);
        if took > LONG_POLL {
            self.observer.long_poll(took);
        }
        value
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(destroy) = self.vtable.destroy {
            // SAFETY: calls and streams hold this, so the last of them is gone.
            self.watch(|| unsafe { destroy(self.plugin) });
        }
    }
}

impl EncodedPlugin for Imported {
    fn control(&self, method: Method, message: Bytes) -> Task<Result<Bytes, Error>> {
        let vtable = self.0.vtable;
        let (name, function) = match method {
            Method::Describe => ("Describe", vtable.describe),
            Method::Initialize => ("Initialize", vtable.initialize),
            Method::Health => ("HealthCheck", vtable.health),
            Method::Metrics => ("GetMetrics", vtable.metrics),
            Method::Shutdown => ("Shutdown", vtable.shutdown),
        };
        let Some(function) = function else {
            let message = format!("the plugin has no {name}");
            return Box::pin(std::future::ready(Err(Error::channel(Code::Unimplemented, message))));
        };
        // SAFETY: `self` keeps the plugin; the message outlives the call of the function.
        let call = self.call(self.0.watch(|| unsafe { function(self.0.plugin, Str::of(&message)) }));
        Box::pin(Unary(call, |answer| match answer {
            Data::Raw(payload) => Ok(payload.into_bytes()),
            Data::Empty => Ok(Bytes::new()),
            Data::Typed { .. } => Err(broken("the plugin answered a control call with typed data")),
        }))
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let Some(execute) = self.0.vtable.execute else { return Box::pin(std::future::ready(Err(absent()))) };
        let mut outgoing = OutgoingRequest::new();
        let mut lent = outgoing.lend(request);
        let context = lend_context(&context, || self.0.observer.now());
        // SAFETY: `self` keeps the plugin; the others outlive the call of the function.
        let call = self.0.watch(|| unsafe { execute(self.0.plugin, &raw const context, &raw mut lent) });
        Box::pin(Unary(self.call(call), Ok))
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let Some(execute_stream) = self.0.vtable.execute_stream else {
            return Box::pin(std::future::ready(Err(absent())));
        };
        let mut outgoing = OutgoingRequest::new();
        let mut lent = outgoing.lend(first);
        let source = source::give(rest);
        let context = lend_context(&context, || self.0.observer.now());
        // SAFETY: as in `execute`; the source is the plugin's from now on.
        let call = self
            .0
            .watch(|| unsafe { execute_stream(self.0.plugin, &raw const context, &raw mut lent, source) });
        Box::pin(Starting(self.call(call)))
    }
}

fn absent() -> Error {
    Error::channel(Code::Unimplemented, "the plugin has no operations of this kind")
}

/// A call of theirs.
struct ForeignCall {
    /// Before the plugin, which is destroyed after its last call.
    call: Handle<FfiCall>,
    plugin: Arc<Inner>,
}

impl ForeignCall {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        let Some(poll) = self.call.vtable().and_then(|vtable| vtable.poll) else {
            return Poll::Ready(Err(broken("the plugin gave a null pointer for a call")));
        };
        let lent = waker::Lent::new(cx.waker());
        let mut reply = Reply::unwritten();
        // SAFETY: the call is alive and this thread's alone; the others are lent for the poll.
        let polled = self.plugin.watch(|| unsafe { poll(self.call.as_ptr(), lent.as_ffi(), &raw mut reply) });
        let outcome = match polled {
            PRISM_PENDING => return Poll::Pending,
            // SAFETY: written by the poll above, and read before anything else is done with the call.
            PRISM_READY => unsafe { read(&reply, &self.plugin) },
            _ => Err(broken("the plugin answered a poll with an unknown code")),
        };
        self.call.end();
        Poll::Ready(outcome)
    }
}

/// What a call or a stream answered. The stream is null for most.
struct Answer {
    data: Data,
    stream: Option<ForeignStream>,
}

/// # Safety
/// The reply was written by a poll that returned READY, and the object has not been used since.
unsafe fn read(reply: &Reply, plugin: &Arc<Inner>) -> Result<Answer, Error> {
    // Whatever else there is, these two are ours now.
    // SAFETY: the caller's promise; a stream in a reply is handed over.
    let stream = unsafe { Handle::new(reply.stream) };
    let stream = (!stream.is_null()).then(|| ForeignStream { stream, plugin: Arc::clone(plugin) });
    let mut texts = Texts::new(MAX_TEXT_BYTES);
    // SAFETY: the caller's promise.
    let data = unsafe { Incoming::read(reply.data, &mut texts) };
    if reply.code != 0 {
        // SAFETY: the caller's promise.
        let message = unsafe { text::read(reply.message, MAX_TEXT_BYTES) }.map_err(refuse)?;
        let message = String::from_utf8_lossy(message.unwrap_or_default()).into_owned();
        let code = Code::from_number(reply.code);
        return Err(match reply.scope {
            PRISM_OPERATION => Error::operation(code, message),
            PRISM_CHANNEL => Error::channel(code, message),
            _ => broken("the plugin answered with an error of an unknown scope"),
        });
    }
    let data = data.map_err(refuse)?.finish(&texts.copy());
    Ok(Answer { data, stream })
}

fn refuse(Broken(what): Broken) -> Error {
    Error::channel(Code::Internal, format!("the plugin broke the ABI: {what}"))
}

/// A unary call, and what its answer becomes.
struct Unary<F>(ForeignCall, F);

impl<T, F: Fn(Data) -> Result<T, Error> + Unpin> Future for Unary<F> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|outcome| match outcome? {
            Answer { data, stream: None } => (self.1)(data),
            Answer { stream: Some(_), .. } => Err(broken("the plugin answered a unary call with a stream")),
        })
    }
}

/// A streaming call until there is a stream.
struct Starting(ForeignCall);

impl Future for Starting {
    type Output = Result<ResponseStream, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map(|outcome| match outcome?.stream {
            Some(stream) => Ok(Box::pin(stream) as ResponseStream),
            None => Err(broken("the plugin gave a null pointer for a stream")),
        })
    }
}

/// A stream of theirs.
struct ForeignStream {
    /// Null once it is over. Before the plugin, as in a call.
    stream: Handle<FfiStream>,
    plugin: Arc<Inner>,
}

impl Stream for ForeignStream {
    type Item = Result<Data, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stream.is_null() {
            return Poll::Ready(None);
        }
        let next = match self.stream.vtable().and_then(|vtable| vtable.poll_next) {
            None => Some(Err(broken("the plugin gave a null pointer for a stream's functions"))),
            Some(poll_next) => {
                let lent = waker::Lent::new(cx.waker());
                let mut reply = Reply::unwritten();
                // SAFETY: the stream is alive and this thread's alone; the others are lent for the poll.
                let polled = self
                    .plugin
                    .watch(|| unsafe { poll_next(self.stream.as_ptr(), lent.as_ffi(), &raw mut reply) });
                match polled {
                    PRISM_PENDING => return Poll::Pending,
                    PRISM_END => None,
                    // SAFETY: written by the poll above, and read before anything else is done with the stream.
                    PRISM_READY => Some(match unsafe { read(&reply, &self.plugin) } {
                        Ok(Answer { data, stream: None }) => Ok(data),
                        Ok(_) => Err(broken("the plugin answered an item with a stream")),
                        Err(error) => Err(error),
                    }),
                    _ => Some(Err(broken("the plugin answered a poll with an unknown code"))),
                }
            }
        };
        if !matches!(next, Some(Ok(_))) {
            self.stream.end();
        }
        Poll::Ready(next)
    }
}

/// A plugin that is linked in, over the same boundary as one that is loaded.
pub fn linked(plugin: impl EncodedPlugin, clock: Clock, observer: Arc<dyn Observer>) -> Imported {
    let loaded = super::export::export(plugin, super::export::Plain(clock));
    // SAFETY: `export` gives a whole table and the plugin that belongs to it.
    match unsafe { Imported::new(&loaded, observer) } {
        Ok(imported) => imported,
        Err(error) => unreachable!("our own table: {error}"),
    }
}
