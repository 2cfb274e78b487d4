//! Whole calls: the proxy as it is, between a client that does nothing and the echo.

use super::{Scenario, Work, parts::SMALL, pipes::Pipes, platform, runtime, wire::Client};
use crate::{
    client::{echo_request, framed},
    echo,
    filters::{LOG_BUFFER, authorization, secrets},
};
use bytes::Bytes;
use http::HeaderValue;
use prism_config::Source;
use prism_edge::{Builtins, Options, Proxy};
use prism_filters::registry;
use prism_proto::plugin::{ExecuteResponse, execute_response};
use prost::Message;
use std::{
    future,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    task::{LocalSet, yield_now},
    time::advance,
};

/// How the echo is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Builtin,
    Frames,
    /// By frames, through `trace`, `audit`, `auth` with a token that was seen before, and `authz`.
    Secured,
    Grpc,
}

/// How a client calls it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Execute,
    Typed,
}

pub(super) const SCENARIOS: [Scenario; 12] = [
    Scenario { name: "call: builtin, alone", iterations: 2_000, prepare: || calls(Way::Builtin, 1) },
    Scenario { name: "call: builtin, 32 at once", iterations: 4_000, prepare: || calls(Way::Builtin, 32) },
    Scenario {
        name: "call: frames sidecar (both sides), alone",
        iterations: 2_000,
        prepare: || calls(Way::Frames, 1),
    },
    Scenario {
        name: "call: frames sidecar (both sides), 32 at once",
        iterations: 4_000,
        prepare: || calls(Way::Frames, 32),
    },
    Scenario {
        name: "call: secured, frames sidecar (both sides), alone",
        iterations: 2_000,
        prepare: || calls(Way::Secured, 1),
    },
    Scenario {
        name: "call: secured, frames sidecar (both sides), 32 at once",
        iterations: 4_000,
        prepare: || calls(Way::Secured, 32),
    },
    Scenario {
        name: "call: gRPC sidecar (both sides), alone",
        iterations: 2_000,
        prepare: || calls(Way::Grpc, 1),
    },
    Scenario {
        name: "call: gRPC sidecar (both sides), 32 at once",
        iterations: 4_000,
        prepare: || calls(Way::Grpc, 32),
    },
    Scenario { name: "typed call: builtin, 32 at once", iterations: 4_000, prepare: || typed(Way::Builtin) },
    Scenario {
        name: "typed call: frames sidecar (both sides), 32 at once",
        iterations: 4_000,
        prepare: || typed(Way::Frames),
    },
    Scenario {
        name: "typed call: gRPC sidecar (both sides), 32 at once",
        iterations: 4_000,
        prepare: || typed(Way::Grpc),
    },
    Scenario { name: "call: refused, 32 at once", iterations: 4_000, prepare: refused },
];

fn calls(way: Way, at_once: u32) -> Work {
    work(way, Call::Execute, at_once, NAMESPACE, answer_length())
}

fn typed(way: Way) -> Work {
    work(way, Call::Typed, 32, NAMESPACE, 5 + SMALL)
}

fn refused() -> Work {
    work(Way::Builtin, Call::Execute, 32, "nowhere", 0)
}

fn work(way: Way, call: Call, at_once: u32, namespace: &'static str, answer: usize) -> Work {
    let mut world = World::start(way);
    let mut client = world.connect(call, namespace);
    Box::new(move |times| {
        world.run(async {
            for _ in 0..times / at_once {
                assert_eq!(client.call(at_once).await, answer * at_once as usize, "bytes that came back");
            }
        });
    })
}

/// The bytes of a right answer. An error has none.
fn answer_length() -> usize {
    let result = Some(execute_response::Result::RawResult(vec![7; SMALL].into()));
    5 + ExecuteResponse { success: true, result, ..Default::default() }.encoded_len()
}

const NAMESPACE: &str = "bench";

/// A proxy, and the echo beside it, in this thread. Fields in the order in which they must go.
struct World {
    /// While it is there, a thread waits, and while a thread works tokio does not move the clock on its own. It
    /// would whenever every task waits for the kernel.
    _still: mpsc::Sender<()>,
    local: LocalSet,
    runtime: Runtime,
    pipes: Arc<Pipes>,
    authorization: Option<HeaderValue>,
    _folder: TempDir,
}

impl World {
    fn start(way: Way) -> Self {
        let runtime = runtime();
        let (still, moving) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || moving.recv());
        let local = LocalSet::new();
        let pipes = Arc::<Pipes>::default();
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("echo.sock");
        local.block_on(&runtime, async {
            if way != Way::Builtin {
                let socket = socket.clone();
                tokio::task::spawn_local(async {
                    echo::serve_at(socket, future::pending()).await.expect("the echo serves");
                });
                while !folder.path().join("echo.sock").exists() {
                    yield_now().await;
                }
            }
            let options = Options {
                platform: platform(Arc::<Pipes>::clone(&pipes)),
                filters: registry::builtin(),
                builtins: Builtins::standard().with("echo", echo::plugin()),
                source: source(way, &socket, folder.path()),
                file: None,
                admin: false,
            };
            let (proxy, workers) = Proxy::start(options).await.expect("the proxy starts");
            for worker in workers {
                tokio::task::spawn_local(worker.run());
            }
            tokio::task::spawn_local(proxy.run(future::pending(), future::pending()));
        });
        let authorization = (way == Way::Secured).then(authorization);
        let mut world = Self { _still: still, local, runtime, pipes, authorization, _folder: folder };
        world.until_ready();
        world
    }

    /// The plugin is described, initialized and found healthy while clients already call.
    fn until_ready(&mut self) {
        let mut client = self.connect(Call::Execute, NAMESPACE);
        let ready = self.run(async {
            for _ in 0..100 {
                if client.call(1).await == answer_length() {
                    return true;
                }
                // Whatever waits to try again.
                advance(Duration::from_millis(10)).await;
            }
            false
        });
        assert!(ready, "the echo does not answer");
    }

    fn connect(&mut self, call: Call, namespace: &'static str) -> Client {
        let (pipes, authorization) = (Arc::clone(&self.pipes), self.authorization.clone());
        self.run(async move {
            let (path, message): (_, Bytes) = match call {
                Call::Execute => ("/prism.data.v1.DataService/Execute".to_owned(), echo_request(SMALL)),
                Call::Typed => (format!("/{}", echo::METHOD), framed(&[7; SMALL])),
            };
            let authorization = authorization.as_ref().map(|value| value.to_str().expect("a text"));
            Client::new(pipes.dial(), &path, namespace, authorization, message).await
        })
    }

    fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.local.block_on(&self.runtime, work)
    }
}

fn source(way: Way, socket: &Path, folder: &Path) -> Source {
    let socket = socket.display();
    let plugin = match way {
        Way::Builtin => "{ name: echo, type: builtin }".to_owned(),
        Way::Frames | Way::Secured => {
            format!("{{ name: echo, type: sidecar, socket: {socket}, transport: frames }}")
        }
        Way::Grpc => format!("{{ name: echo, type: sidecar, socket: {socket}, transport: grpc }}"),
    };
    let (filters, access) = if way == Way::Secured { secured(folder) } else { Default::default() };
    let text = format!(
        "
listeners:
  - name: edge
    address: 127.0.0.1:50051
    filters: [{{ trace: {{ access_log: {{ path: /dev/null, buffer_bytes: {LOG_BUFFER} }} }} }}, {filters}plugin_dispatch]
workers: 1
plugins: [{plugin}]
namespaces: [{{ name: {NAMESPACE}, backend: echo, plugin: echo{access} }}]
"
    );
    Source { name: "count".to_owned(), text, base_dir: folder.to_owned() }
}

/// The filters behind `trace`, and the namespace's rules.
fn secured(folder: &Path) -> (String, String) {
    let (key, jwks) = secrets(folder);
    let (audit, key, jwks) = (folder.join("audit"), key.display(), jwks.display());
    let jwt = format!("{{ issuer: bench, audiences: [bench], jwks: {{ file: {jwks} }} }}");
    let audit = format!("{{ dir: {}, key: {key}, on_backpressure: block }}", audit.display());
    (
        format!("{{ audit: {audit} }}, {{ auth: {{ jwt: {jwt} }} }}, authz, "),
        ", access: [{ principal: 'jwt:bench:*', permissions: [read, write, admin] }]".to_owned(),
    )
}
