//! A plugin library that panics: in each operation of that name, in each control call of a namespace whose `backend`
//! says so, and when it is asked what it is, where a file of that name lies in the process's folder, or is ended.
//!
//! On the ABI itself and not on the SDK, whose own wall around panics would stand before that of the ABI.

use bytes::Bytes;
use futures_util::stream;
use prism_plugin_abi::{
    Call, CallContext, Code, Data, Description, Error, Health, Initialize, Initialized, InstanceId, Kind,
    Metrics, Opening, OperationInfo, Plugin, Request, RequestStream, ResponseStream, Task,
};
use std::{
    collections::HashMap,
    fs,
    future::{pending, ready},
    panic::panic_any,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// Panics in these are each the failure of the call.
pub const UNARY: [&str; 4] = ["begin", "poll", "payload", "drop"];
/// Panics when nobody waits for the call any more, or after there was an answer.
pub const LATE: [&str; 2] = ["drop_pending", "release"];
/// Panics in streams.
pub const STREAMS: [&str; 4] = ["stream_begin", "stream_open", "stream_poll", "stream_drop"];

/// See the crate.
#[derive(Debug, Default)]
pub struct Panics {
    backends: Mutex<HashMap<InstanceId, String>>,
}

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        // A second panic on top of a first ends the process, and nothing can contain that.
        assert!(std::thread::panicking(), "{} panics as it is dropped", self.0);
    }
}

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// A future, or a stream, that does as `poll` says and then panics as it is dropped.
struct Late<F> {
    poll: F,
    _bomb: Bomb,
}

impl<T, F: FnMut() -> Poll<T> + Unpin> Future for Late<F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        (self.poll)()
    }
}

impl<T, F: FnMut() -> Poll<Option<T>> + Unpin> stream::Stream for Late<F> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        (self.poll)()
    }
}

fn text(words: &'static str) -> Data {
    Data::Raw(Bytes::from_static(words.as_bytes()).into())
}

impl Panics {
    fn is(&self, instance: InstanceId, backend: &str) -> bool {
        let backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.get(&instance).is_some_and(|its| its == backend)
    }
}

impl Plugin for Panics {
    fn describe(&self) -> Arc<Description> {
        assert!(!Path::new("panic_in_describe").exists(), "as the file says");
        let operation = |name: &&str, streaming| OperationInfo {
            name: (*name).to_owned(),
            kind: Kind::Read,
            raw: true,
            server_streaming: streaming,
            ..OperationInfo::default()
        };
        let unary = UNARY.iter().chain(&LATE).chain(&["echo"]).map(|name| operation(name, false));
        Arc::new(Description {
            name: "panics".into(),
            version: "1.0.0".into(),
            operations: unary.chain(STREAMS.iter().map(|name| operation(name, true))).collect(),
            ..Description::default()
        })
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        assert_ne!(request.backend_type, "initialize", "as the backend says");
        if request.backend_type == "initialize-poll" {
            return Box::pin(async { panic!("as the backend says") });
        }
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.insert(request.instance, request.backend_type);
        Box::pin(ready(Ok(Initialized::default())))
    }

    fn health(&self, instance: InstanceId) -> Task<Health> {
        assert!(!self.is(instance, "health"), "as the backend says");
        if self.is(instance, "health-poll") {
            return Box::pin(async { panic!("as the backend says") });
        }
        Box::pin(ready(Health::healthy()))
    }

    fn execute(&self, _: CallContext, request: Request) -> Call {
        match &*request.operation {
            "begin" => panic!("as the operation says"),
            "poll" => Box::pin(async { panic!("as the operation says") }),
            // What a panic carries may panic in its turn when it is dropped.
            "payload" => Box::pin(async { panic_any(Bomb("a payload")) }),
            "drop" => Box::pin(Late { poll: || Poll::Ready(Ok(text("for nobody"))), _bomb: Bomb("a call") }),
            "drop_pending" => Box::pin(Late { poll: || Poll::Pending, _bomb: Bomb("a call under way") }),
            "release" => Box::pin(ready(Ok(Data::Raw(Bytes::from_owner(Bomb("bytes")).into())))),
            _ => Box::pin(ready(Ok(request.params))),
        }
    }

    fn execute_stream(&self, _: CallContext, first: Request, _: RequestStream) -> Opening {
        let opened = |stream: ResponseStream| -> Opening { Box::pin(ready(Ok(stream))) };
        let mut items = 0;
        let mut one_and_then = move |then: fn() -> Poll<Option<Result<Data, Error>>>| {
            items += 1;
            if items == 1 { Poll::Ready(Some(Ok(text("one")))) } else { then() }
        };
        match &*first.operation {
            "stream_begin" => panic!("as the operation says"),
            "stream_open" => Box::pin(async { panic!("as the operation says") }),
            "stream_poll" => {
                opened(Box::pin(stream::poll_fn(move |_| one_and_then(|| panic!("as the operation says")))))
            }
            "stream_drop" => opened(Box::pin(Late {
                poll: move || one_and_then(|| Poll::Pending),
                _bomb: Bomb("a stream"),
            })),
            _ => Box::pin(pending()),
        }
    }

    fn metrics(&self, instance: InstanceId) -> Task<Result<Metrics, Error>> {
        assert!(!self.is(instance, "metrics"), "as the backend says");
        Box::pin(ready(Err(Error::channel(Code::Unimplemented, "it counts nothing"))))
    }

    fn shutdown(&self, instance: InstanceId) -> Task<()> {
        assert!(!self.is(instance, "shutdown"), "as the backend says");
        Box::pin(ready(()))
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        // Says that it is ended, for the tests to see.
        let _ = fs::write("destroyed", "");
        panic!("the plugin panics as it is ended");
    }
}

#[cfg(feature = "library")]
mod library {
    use super::Panics;
    use prism_plugin_abi::ffi::export::{Plain, export};
    use prism_plugin_envelope::control::Encoded;
    use std::{sync::Arc, time::Instant};

    prism_plugin_abi::plugin_library! {
        prism_panics_entry,
        "panics",
        "1.0.0",
        |_| Some(export(Encoded(Arc::new(Panics::default())), Plain(Instant::now)))
    }
}
