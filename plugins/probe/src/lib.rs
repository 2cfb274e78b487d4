//! What a plugin may do at the boundary to the proxy, done on purpose: calls that are woken from threads of the
//! plugin's own, wakers that outlive their calls, payloads that outlive them, streams fed by the plugin's runtime,
//! panics. For `plugins/loader/tests/boundary.rs`, above all under sanitizers.
//!
//! Operations, on raw bytes: `echo`; `woken` (by itself, once); `later` (ready after some wakes from another thread); `sleep` (on the plugin's
//! timer); `block` (its thread); `keep` (answers, and keeps what it was sent until a thread lets it go); `never` (and is
//! woken all the same); `panic`; `alive` (how many calls and streams there are); `hold`, `held`, `give`, `given` (where
//! payloads lie, see `places.rs`). Streams: `echo_stream`, `ticks` (three messages from a task of the plugin's).
#![cfg_attr(not(feature = "planted"), forbid(unsafe_code))]

mod calls;
mod places;
#[cfg(feature = "planted")]
mod planted;

use bytes::Bytes;
use calls::{Alive, Later};
use futures_util::StreamExt;
use places::Places;
use prism_plugin_abi::{
    CallContext, Code, Data, Description, Error, Health, Kind, OperationInfo, Request, RequestStream,
    ResponseStream,
};
use prism_plugin_sdk::{BackendPlugin, InitContext};
use std::{collections::HashMap, sync::Arc, thread, time::Duration};
use tokio::sync::mpsc;

/// An instance.
#[derive(Debug, Default)]
pub struct Probe {
    places: Places,
}

/// What the library is called.
pub const NAME: &str = "probe";

#[cfg(feature = "library")]
prism_plugin_abi::plugin_library! {
    prism_plugin_entry_probe,
    NAME,
    env!("CARGO_PKG_VERSION"),
    prism_plugin_sdk::library::begin::<Probe>
}

// The library's own: whoever has the plugin linked in has an allocator already.
#[cfg(all(feature = "counting", feature = "library"))]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

impl BackendPlugin for Probe {
    type Config = HashMap<String, String>;

    fn descriptor() -> Description {
        let operation = |name: &str, streaming| OperationInfo {
            name: name.into(),
            kind: Kind::Read,
            raw: true,
            server_streaming: streaming,
            client_streaming: streaming,
            ..OperationInfo::default()
        };
        let unary = [
            "echo", "woken", "later", "sleep", "block", "keep", "never", "panic", "alive", "hold", "held",
            "give", "given",
        ];
        let mut operations: Vec<_> = unary.map(|name| operation(name, false)).into();
        operations.extend(["echo_stream", "ticks"].map(|name| operation(name, true)));
        if cfg!(feature = "counting") {
            operations.push(operation("allocations", false));
        }
        if cfg!(feature = "planted") {
            operations.extend(["use_after_release", "race"].map(|name| operation(name, false)));
        }
        Description {
            name: NAME.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            operations,
            ..Description::default()
        }
    }

    async fn initialize(_: InitContext<Self::Config>) -> Result<Self, Error> {
        Ok(Self::default())
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }

    async fn execute(self: &Arc<Self>, _: &CallContext, request: Request) -> Result<Data, Error> {
        let alive = Alive::new();
        match &*request.operation {
            "echo" => Ok(request.params),
            "woken" => {
                calls::woken_once().await;
                Ok(request.params)
            }
            "later" => {
                Later::start(3, true).await;
                Ok(request.params)
            }
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(request.params)
            }
            "block" => {
                thread::sleep(Duration::from_millis(2));
                Ok(request.params)
            }
            "keep" => {
                let kept = request.params.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(1));
                    drop(kept);
                });
                Ok(request.params)
            }
            "never" => {
                Later::start(20, false).await;
                Ok(Data::Empty)
            }
            "panic" => panic!("as the test asks"),
            "alive" => {
                drop(alive);
                Ok(Data::Raw(Bytes::from(Alive::count().to_string()).into()))
            }
            "hold" => self.places.hold(request.params),
            "held" => self.places.held(request.params),
            "give" => self.places.give(request.params),
            "given" => Ok(self.places.given()),
            #[cfg(all(feature = "counting", feature = "library"))]
            "allocations" => {
                let stats = ALLOCATOR.stats();
                let count = stats.allocations + stats.reallocations;
                Ok(Data::Raw(Bytes::from(count.to_string()).into()))
            }
            #[cfg(feature = "planted")]
            "use_after_release" => planted::use_after_release(request.params),
            #[cfg(feature = "planted")]
            "race" => Ok(planted::race().await),
            other => Err(Error::operation(Code::Unimplemented, format!("no operation {other}"))),
        }
    }

    async fn execute_stream(
        self: &Arc<Self>,
        _: &CallContext,
        first: Request,
        rest: RequestStream,
    ) -> Result<ResponseStream, Error> {
        let alive = Alive::new();
        if first.operation == "ticks" {
            let (send, receive) = mpsc::channel(1);
            tokio::spawn(async move {
                for number in 0..3_u8 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let _ = send.send(Ok(Data::Raw(Bytes::from(vec![number; 1000]).into()))).await;
                }
            });
            let ticks = futures_util::stream::unfold((receive, alive), |(mut receive, alive)| async move {
                Some((receive.recv().await?, (receive, alive)))
            });
            return Ok(Box::pin(ticks));
        }
        let all = futures_util::stream::once(std::future::ready(Ok(first))).chain(rest);
        Ok(Box::pin(all.map(move |message| {
            let _ = &alive;
            message.map(|message: Request| message.params)
        })))
    }
}
