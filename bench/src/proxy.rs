//! A proxy on real threads.

use crate::echo;
use prism_config::Source;
use prism_edge::{Builtins, Options, run_on_threads};
use prism_filters::registry;
use prism_platform::Platform;
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

/// The namespaces: how the echo is reached from the proxy.
pub const MODELS: [&str; 3] = ["builtin", "frames", "grpc"];

/// A running proxy. It ends with the process.
pub struct Running {
    /// The port that it serves on.
    pub port: u16,
    /// Where the echo of its sidecars listens.
    pub echo: PathBuf,
}

/// Starts a proxy with one worker and the namespaces of [`MODELS`], each an echo, the full chain as far as it
/// exists (trace with its log written to a file).
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn start(folder: &Path) -> Running {
    let socket = folder.join("echo.sock");
    echo::serve_on(socket.clone());
    let port = free_port();
    let text = format!(
        "
listeners:
  - name: edge
    address: 127.0.0.1:{port}
    filters: [{{ trace: {{ access_log: {{ path: access.log }} }} }}, plugin_dispatch]
workers: 1
plugins:
  - {{ name: lean, type: sidecar, socket: {socket}, transport: frames }}
  - {{ name: plain, type: sidecar, socket: {socket}, transport: grpc }}
namespaces:
  - {{ name: builtin, backend: echo }}
  - {{ name: frames, backend: echo, plugin: lean }}
  - {{ name: grpc, backend: echo, plugin: plain }}
",
        socket = socket.display()
    );
    let options = Options {
        platform: Platform::system(),
        filters: registry::builtin(),
        builtins: Builtins::standard().with("echo", echo::plugin()),
        source: Source { name: "bench".to_owned(), text, base_dir: folder.to_owned() },
        file: None,
        admin: false,
    };
    let (started, serving) = mpsc::channel();
    thread::spawn(move || {
        let result = run_on_threads(options, |_| {
            started.send(()).expect("the benchmark waits");
            std::future::pending()
        });
        result.expect("the proxy runs");
    });
    serving.recv().expect("the proxy starts");
    Running { port, echo: socket }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}
