//! The training run: the instrumented proxy serves what its users ask of it.

mod secured;

use crate::step::{self, Failure};
use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// The proxy's port while it is trained.
const PORT: u16 = 18_980;

/// What its users do: small calls, as `Execute` and typed, at several widths by every way to a plugin, the gateway,
/// refusals, streams, and bodies of a megabyte; and small calls through the secured chain. Bounded in number; some tens of seconds.
pub(super) fn run(programs: &Path, scene: &Path) -> Result<(), Failure> {
    let _ = fs::remove_dir_all(scene);
    step::file(format!("cannot make {}", scene.display()), fs::create_dir_all(scene))?;
    let write = |name: &str, content: &[u8]| {
        let path = scene.join(name);
        step::file(format!("cannot write {}", path.display()), fs::write(&path, content)).map(|()| path)
    };
    let config = write("edge.yaml", config(scene, DEFAULT, "").as_bytes())?;
    let small = write("small", &framed("echo", 128))?;
    let large = write("large", &framed("echo", 1 << 20))?;
    let several = write("several", &framed("echo_stream", 128).repeat(MESSAGES))?;
    let raw = write("raw", &[7; 128])?;
    let typed = write("typed", &prefixed(&[7; 128]))?;

    let secured = secured::write(scene)?;

    let plugin = Running::start(Command::new(programs.join("echo-plugin")).arg(scene.join("echo.sock")))?;
    let edge = Running::start(Command::new(programs.join("edge")).arg("-c").arg(&config))?;
    wait_for(PORT)?;

    let execute = "/prism.data.v1.DataService/Execute";
    let stream = "/prism.data.v1.DataService/ExecuteStream";
    let base = Load { h1: false, path: execute, namespace: None, token: None, body: &small, answer: 128 };
    for namespace in ["builtin", "frames", "grpc"] {
        let base = Load { namespace: Some(namespace), ..base };
        for shape in [(4, 32, 40_000), (16, 4, 20_000), (64, 1, 20_000), (1, 1, 4_000)] {
            base.run(shape)?;
            // The echo's own method, of the same payload: its whole message.
            Load { path: "/bench.v1.Echo/Echo", body: &typed, ..base }.run(shape)?;
        }
        Load { body: &large, answer: 1 << 20, ..base }.run((1, 4, 200))?;
        let answer = base.answer * MESSAGES as u64;
        Load { path: stream, body: &several, answer, ..base }.run((4, 8, 4_000))?;
        let path = format!("/v1/{namespace}/echo");
        Load { h1: true, path: &path, namespace: None, body: &raw, ..base }.run((8, 1, 4_000))?;
    }
    Load { namespace: Some("nobody"), answer: 0, ..base }.run((4, 8, 4_000))?;
    edge.stop()?;

    let edge = Running::start(Command::new(programs.join("edge")).arg("-c").arg(&secured))?;
    wait_for(PORT)?;
    for namespace in ["builtin", "frames", "grpc"] {
        let base = Load { namespace: Some(namespace), token: Some(secured::TOKEN), ..base };
        for shape in [(4, 32, 40_000), (16, 4, 20_000), (64, 1, 20_000), (1, 1, 4_000)] {
            base.run(shape)?;
        }
        Load { path: stream, body: &several, answer: base.answer * MESSAGES as u64, ..base }
            .run((4, 8, 4_000))?;
        Load { token: None, answer: 0, ..base }.run((4, 8, 1_000))?;
    }
    edge.stop()?;
    plugin.stop()
}

/// Everything that is on by default.
const DEFAULT: &str = "trace: { access_log: { path: access.log } }";

/// Three ways to one echo, behind these filters, each namespace with these settings more.
fn config(scene: &Path, filters: &str, more: &str) -> String {
    let socket = scene.join("echo.sock");
    let socket = socket.display();
    format!(
        "
listeners:
  - name: edge
    address: 127.0.0.1:{PORT}
    filters: [{filters}, plugin_dispatch]
admin: {{ address: 127.0.0.1:0, socket: ./admin.sock }}
workers: 1
plugins:
  - {{ name: lean, type: sidecar, socket: {socket} }}
  - {{ name: plain, type: sidecar, socket: {socket}, transport: grpc }}
namespaces:
  - {{ name: builtin, backend: echo{more} }}
  - {{ name: frames, backend: echo, plugin: lean{more} }}
  - {{ name: grpc, backend: echo, plugin: plain{more} }}
"
    )
}

/// Messages of a stream.
const MESSAGES: usize = 8;

/// A gRPC message that asks the echo for `length` bytes: `ExecuteRequest` or `StreamRequest` with `operation` (field 1)
/// and `raw_params` (field 3).
fn framed(operation: &str, length: usize) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(operation.len()).unwrap_or(0)];
    message.extend_from_slice(operation.as_bytes());
    message.push(0x1a);
    let mut rest = length;
    while rest >= 0x80 {
        message.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
        rest >>= 7;
    }
    message.push(u8::try_from(rest).unwrap_or(0));
    message.resize(message.len() + length, 7);
    prefixed(&message)
}

/// A message behind gRPC's prefix.
fn prefixed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend(message);
    framed
}

/// Calls of one kind.
#[derive(Clone, Copy)]
struct Load<'a> {
    /// HTTP/1.1 to the gateway, and not gRPC.
    h1: bool,
    path: &'a str,
    namespace: Option<&'a str>,
    /// The caller's, where one is asked for.
    token: Option<&'a str>,
    body: &'a Path,
    /// Bytes that an answer has at least. h2load sees no gRPC status; an error in place of an answer is shorter.
    answer: u64,
}

impl Load<'_> {
    /// Sends so many calls over so many connections, so many at once on each.
    fn run(self, (connections, streams, calls): (u32, u32, u64)) -> Result<(), Failure> {
        let mut command = Command::new("h2load");
        // Who says nothing for half a minute is given up.
        command.args(["-w", "24", "-W", "24", "-N", "30s", "-c"]).arg(connections.to_string());
        command.arg("-m").arg(streams.to_string()).arg("-n").arg(calls.to_string()).arg("-d").arg(self.body);
        if self.h1 {
            command.args(["--h1", "-H", "content-type: application/octet-stream"]);
        } else {
            command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        }
        if let Some(namespace) = self.namespace {
            command.args(["-H", &format!("x-prism-namespace: {namespace}")]);
        }
        if let Some(token) = self.token {
            command.args(["-H", &format!("authorization: Bearer {token}")]);
        }
        command.arg(format!("http://127.0.0.1:{PORT}{}", self.path));
        let output = step::file("cannot start h2load", command.output())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let done = text.contains(&format!("{calls} done, {calls} succeeded"));
        if output.status.success() && done && data_bytes(&text) >= Some(calls * self.answer) {
            return Ok(());
        }
        // A profile of failures would be worse than none.
        Err(Failure::Missing(format!(
            "the training's calls of {} (namespace {}) were not answered as they should be:\n{text}",
            self.path,
            self.namespace.unwrap_or("in the path")
        )))
    }
}

/// `traffic: 19.88MB (20845000) total, 4.40MB (4615000) headers (...), 12.15MB (12737400) data`
fn data_bytes(said: &str) -> Option<u64> {
    let traffic = said.lines().find_map(|line| line.strip_prefix("traffic: "))?;
    traffic.strip_suffix(") data")?.rsplit('(').next()?.parse().ok()
}

fn wait_for(port: u16) -> Result<(), Failure> {
    for _ in 0..600 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            // The sidecars' instances are ready a moment later.
            thread::sleep(Duration::from_secs(2));
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(Failure::Missing(format!("nothing serves on port {port} of the loopback address after a minute")))
}

/// A program of ours. Killed when it is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let what = format!("{command:?}");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Self).map_err(|source| Failure::Start { what, source })
    }

    /// Asks it to end, as only then it writes its profile, and waits.
    fn stop(mut self) -> Result<(), Failure> {
        let id = self.0.id().to_string();
        step::run(Command::new("kill").args(["-TERM", &id]))?;
        let status = step::file("cannot wait for the trained program", self.0.wait())?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::Exit { what: "a program that was trained".to_owned(), status }),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::data_bytes;

    #[test]
    fn bytes_of_answers_are_read_off_h2load_s_summary() {
        let line = "traffic: 19.88MB (20845000) total, 4.40MB (4615000) headers (space savings 44.94%), \
                    12.15MB (12737400) data";
        assert_eq!(data_bytes(&format!("requests: 1 total\n{line}\ntime: 1s")), Some(12_737_400));
        for text in ["", "traffic: none", "traffic: 1B (x) data", &line[..line.len() - 5]] {
            assert_eq!(data_bytes(text), None, "{text}");
        }
    }
}
