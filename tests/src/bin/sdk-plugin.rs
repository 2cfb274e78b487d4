//! A plugin on the project's own SDK, for tests of what every plugin built on it gets.
//!
//! Operations, on raw bytes: `echo`, `sleep` (until it is given up), `alive` (how many calls of `sleep` and
//! `echo_stream` are under way), `echo_stream` (both ways). Configured with `figures`, an instance says so many of
//! its own when it is asked what it counted, beside cache hits and misses. `instances` answers how many instances the
//! process has, those included that are being built; one that is configured with `wait_for` is built when there is a
//! file of that name. `allocated` answers how many bytes the process has allocated so far.

use clap::Parser;
use futures_util::StreamExt;
use prism_plugin_abi::{
    CallContext, Code, CustomMetrics, Data, Description, Error, Health, Kind, MetricKind, Metrics,
    OperationInfo, Request, RequestStream, ResponseStream,
};
use prism_plugin_sdk::{
    BackendPlugin, Hosted, InitContext,
    server::{Address, ServeError, ServeOptions, serve},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{
    alloc::System,
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicI64, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
struct Options {
    /// The unix socket to listen on.
    #[arg(long)]
    socket: PathBuf,
}

/// Instances of this process.
static INSTANCES: LazyLock<Arc<AtomicI64>> = LazyLock::new(Arc::default);

struct Echo {
    _counted: Alive,
    alive: Arc<AtomicI64>,
    figures: u64,
    asked: AtomicU64,
}

/// A call under way, or an instance.
struct Alive(Arc<AtomicI64>);

impl Alive {
    fn new(count: &Arc<AtomicI64>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl BackendPlugin for Echo {
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
        let unary = ["echo", "sleep", "alive", "instances", "allocated"].map(|name| operation(name, false));
        Description {
            name: "sdk".into(),
            version: "1.0.0".into(),
            operations: unary.into_iter().chain([operation("echo_stream", true)]).collect(),
            ..Description::default()
        }
    }

    async fn initialize(context: InitContext<Self::Config>) -> Result<Self, Error> {
        let counted = Alive::new(&INSTANCES);
        if let Some(file) = context.config.get("wait_for") {
            while !Path::new(file).exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let figures = context.config.get("figures").map_or(Ok(0), |number| number.parse());
        let figures = figures.map_err(|_| Error::invalid("config.figures: not a number"))?;
        Ok(Self { _counted: counted, alive: Arc::default(), figures, asked: AtomicU64::new(0) })
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }

    /// Three of four look-ups are hits, however often it is asked. The last figures are none at all.
    fn metrics(&self) -> Metrics {
        let asked = self.asked.fetch_add(1, SeqCst) + 1;
        let mut custom = CustomMetrics::new();
        for number in 0..self.figures {
            custom.add(MetricKind::Counter, &format!("Odd\"name}}\n {number}"), [("namespace", "x\"")], 2.0);
        }
        custom.add(MetricKind::Gauge, "nan", [], f64::NAN);
        custom.add(MetricKind::Counter, "fell", [], -1.0);
        Metrics { cache_hits: 3 * asked, cache_misses: asked, custom, ..Metrics::default() }
    }

    async fn execute(self: &Arc<Self>, _: &CallContext, request: Request) -> Result<Data, Error> {
        match &*request.operation {
            "echo" => Ok(request.params),
            "sleep" => {
                let _alive = Alive::new(&self.alive);
                std::future::pending().await
            }
            "alive" => Ok(Data::Raw(bytes::Bytes::from(self.alive.load(SeqCst).to_string()).into())),
            "instances" => Ok(Data::Raw(bytes::Bytes::from(INSTANCES.load(SeqCst).to_string()).into())),
            "allocated" => {
                let stats = ALLOCATOR.stats();
                Ok(Data::Raw(bytes::Bytes::from(stats.bytes_allocated.to_string()).into()))
            }
            other => Err(Error::operation(Code::Unimplemented, format!("no operation {other}"))),
        }
    }

    async fn execute_stream(
        self: &Arc<Self>,
        _: &CallContext,
        first: Request,
        rest: RequestStream,
    ) -> Result<ResponseStream, Error> {
        let alive = Alive::new(&self.alive);
        let all = futures_util::stream::once(std::future::ready(Ok(first))).chain(rest);
        Ok(Box::pin(all.map(move |message| {
            let _ = &alive;
            message.map(|message: Request| message.params)
        })))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    let socket = Options::parse().socket;
    let options = ServeOptions { address: Address::Unix(socket), ..ServeOptions::default() };
    let mut term = signal(SignalKind::terminate()).expect("SIGTERM can be waited for");
    let stopped = async {
        term.recv().await;
    };
    serve(Arc::new(Hosted::<Echo>::new()), options, stopped).await
}
