//! The programs that application developers begin with: what they print, what they try again and what they do not.

use prism_proto::Kind;
use prism_tests::{
    DEMO, Example, Process, Proxy, Sidecar, Start,
    client::curl,
    example,
    flaky::{self, NEVER, THIRD_TIME},
    python_stubs, tools, wait,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// Only keeps a broken run from hanging.
const LONG: f32 = 30.0;

/// A program's whole life.
struct Ran {
    succeeded: bool,
    stdout: String,
    stderr: String,
}

fn run(program: Example, proxy: &Proxy, seconds: f32, arguments: &[&str]) -> Ran {
    let output = tools::output(&mut program.command(proxy.port(), seconds, arguments));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { succeeded: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn each_shows_everything_once() {
    let proxy = Proxy::start(&example(
        "config/prism.yaml",
        &[("127.0.0.1:50051", "127.0.0.1:@listen@"), ("127.0.0.1:50052", "127.0.0.1:@admin@")],
    ));
    for program in Example::ALL {
        for arguments in [&[][..], &["tour"]] {
            let ran = run(program, &proxy, LONG, arguments);
            let shown = format!(
                "set: applied
get: hello
get an absent key: no such key
PUT tour/greeting hello again
DELETE tour/greeting \nerror: {}: the key is empty; a key has 1 to 1024 bytes (OPERATION_FAILED, plugin memory, namespace demo)
deadline: {}
",
                program.code("INVALID_ARGUMENT"),
                program.code("DEADLINE_EXCEEDED"),
            );
            assert_eq!((&*ran.stdout, &*ran.stderr), (&*shown, ""), "{program:?}");
            assert!(ran.succeeded);
        }
    }
}

#[test]
fn what_is_wrong_with_a_call_is_said_and_not_tried_again() {
    let proxy = Proxy::start(DEMO);
    let before = proxy.admin().metric("prism_requests_total", "");
    for program in Example::ALL {
        let ran = run(program, &proxy, LONG, &["--namespace=nobody", "get", "key"]);
        let said = format!(
            "{}: there is no namespace `nobody` (UNKNOWN_NAMESPACE, namespace nobody)\n",
            program.code("NOT_FOUND")
        );
        assert_eq!((ran.succeeded, &*ran.stdout, &*ran.stderr), (false, "", &*said), "{program:?}");
        let ran = run(program, &proxy, LONG, &["--namespace=nobody", "watch", "key"]);
        assert_eq!((ran.succeeded, &*ran.stdout, &*ran.stderr), (false, "", &*said), "{program:?}");
    }
    assert_eq!(proxy.admin().metric("prism_requests_total", ""), before + 6.0);
}

/// Tried again or not: it is said that nobody listens, and not that the time is over.
#[test]
fn a_proxy_that_is_not_there_is_told_as_such() {
    let told = |program: Example, arguments: &[&str]| {
        // The reserved port, and the programs' own deadline.
        let ran = tools::output(&mut program.command(1, 5.0, arguments));
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(!ran.status.success());
        assert!(said.starts_with(&program.code("UNAVAILABLE")), "{program:?} {arguments:?}: {said}");
    };
    thread::scope(|scope| {
        for program in Example::ALL {
            scope.spawn(move || told(program, &["get", "key"]));
            scope.spawn(move || told(program, &["set", "key", "value"]));
        }
    });
}

/// The service config of the guide and of the examples is one, and names what only reads.
#[test]
fn what_is_tried_again_is_what_the_interface_declares_as_reads() {
    let file = |path: &str| fs::read_to_string(tools::repository().join(path)).unwrap();
    let between = |text: &str, begin: &str, end: &str| -> Value {
        let (_, text) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
        serde_json::from_str(text.split(end).next().unwrap()).unwrap()
    };
    let guide = file("docs/clients.md");
    let guide = between(guide.split_once("**Retries.**").unwrap().1, "```json\n", "```");
    assert_eq!(between(&file("examples/go/client.go"), "const serviceConfig = `", "`"), guide);
    let mut python = Command::new(tools::python());
    python.args(["-c", "import json, kv; print(json.dumps(kv.SERVICE_CONFIG))"]);
    let paths = [tools::repository().join("examples/python"), python_stubs().to_owned()];
    python.env("PYTHONPATH", env::join_paths(paths).unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    assert_eq!(serde_json::from_str::<Value>(&tools::succeed(&mut python)).unwrap(), guide);

    let [entry] = &guide["methodConfig"].as_array().unwrap()[..] else { panic!("{guide}") };
    let names = entry["name"].as_array().unwrap().iter();
    let named: BTreeSet<String> = names
        .map(|name| format!("{}/{}", name["service"].as_str().unwrap(), name["method"].as_str().unwrap()))
        .collect();
    let methods = prism_proto::interface("prism.kv.v1").unwrap().methods.iter();
    let reads = methods.filter(|method| method.kind == Kind::Read && method.idempotent);
    assert_eq!(named, reads.map(|method| method.service_method.to_owned()).collect());
}

fn on_a_sidecar(socket: &Path) -> String {
    let socket = socket.display();
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners: [{{ name: edge, address: '127.0.0.1:@listen@' }}]
plugins: [{{ name: store, type: sidecar, socket: '{socket}' }}]
namespaces: [{{ name: demo, backend: store, plugin: store }}]
"
    )
}

/// Told by the plugin, which counts what arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_read_is_made_again_and_a_failed_write_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("store.sock");
    let plugin = flaky::start(&socket);
    let proxy = Proxy::start(&on_a_sidecar(&socket));
    let programs = tokio::task::spawn_blocking(move || {
        for (reads, program) in [3, 6, 9].into_iter().zip(Example::ALL) {
            let ran = run(program, &proxy, LONG, &["get", THIRD_TIME]);
            assert_eq!((&*ran.stdout, &*ran.stderr), (&*format!("{reads}\n"), ""), "{program:?}");

            let key = format!("{program:?}");
            let ran = run(program, &proxy, LONG, &["set", &key, "value"]);
            // Nobody may say that it can be made again.
            let said = format!(
                "{}: the backend is away (OPERATION_FAILED, plugin store, namespace demo)\n",
                program.code("UNAVAILABLE")
            );
            assert_eq!((ran.succeeded, &*ran.stdout, &*ran.stderr), (false, "", &*said), "{program:?}");
            let ran = run(program, &proxy, LONG, &["get", &key]);
            assert_eq!((&*ran.stdout, &*ran.stderr), ("1\n", ""), "{program:?} set more than once");

            // A deadline is one for all attempts.
            let ran = run(program, &proxy, 0.5, &["get", NEVER]);
            assert!(!ran.succeeded && ran.stdout.is_empty(), "{program:?}");
            let code = program.code("DEADLINE_EXCEEDED");
            assert!(ran.stderr.starts_with(&format!("{code}: ")), "{program:?}: {}", ran.stderr);
        }
    });
    programs.await.unwrap();
    plugin.abort();
}

/// A program that goes on, and what it has printed so far.
struct Running {
    process: Process,
    stdout: PathBuf,
}

impl Running {
    fn start(program: Example, proxy: &Proxy, folder: &Path, arguments: &[&str]) -> Self {
        let stdout = folder.join("stdout");
        let mut command = program.command(proxy.port(), LONG, arguments);
        command.stdout(File::create(&stdout).unwrap());
        let log = folder.join("stderr");
        Self { process: Process::spawn_with_stdout(format!("{program:?}"), &mut command, &log), stdout }
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// Writes this until the watch reports it.
fn reported(watch: &mut Running, proxy: &Proxy, value: &str) {
    let url = proxy.url("/v1/demo/set?key=away/key");
    let line = format!("PUT away/key {value}");
    wait::until("the watch should report what is written", || {
        assert!(watch.process.ended().is_none(), "the watch ended: {}", watch.process.log());
        let _ = curl::run(&["--data-binary", value, "-H", "content-type: application/octet-stream", &url]);
        watch.lines().contains(&line).then_some(())
    });
}

/// The plugin is away at first, comes, goes and comes back.
fn away(program: Example) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("store.sock");
    let proxy = Start::new(&on_a_sidecar(&socket)).without_ready().run();
    let refused = || proxy.admin().metric("prism_requests_total", "code=\"UNAVAILABLE\"");

    let ran = run(program, &proxy, LONG, &["set", "key", "value"]);
    let (code, end) = (
        program.code("UNAVAILABLE"),
        " (PLUGIN_UNAVAILABLE, plugin store, namespace demo), may be called again after 1s\n",
    );
    assert!(!ran.succeeded && ran.stdout.is_empty());
    assert!(
        ran.stderr.starts_with(&format!("{code}: plugin `store`: ")) && ran.stderr.ends_with(end),
        "{}",
        ran.stderr
    );
    assert_eq!(refused(), 1.0, "a write was made more than once");

    let mut get = Running::start(program, &proxy, folder.path(), &["get", "key"]);
    wait::until("the read should be refused", || (refused() > 1.0).then_some(()));
    let mut sidecar = Sidecar::memory(&socket);
    assert!(!get.process.wait().success());
    assert_eq!(get.process.log(), "no such key\n");

    let mut watch = Running::start(program, &proxy, folder.path(), &["watch", "away/"]);
    reported(&mut watch, &proxy, "before");
    sidecar.process.kill();
    sidecar.restart();
    reported(&mut watch, &proxy, "after");
    assert!(watch.process.log().contains("watch ended, opening it again: "), "{}", watch.process.log());
    assert!(watch.process.log().contains("PLUGIN_UNAVAILABLE"), "{}", watch.process.log());
}

#[test]
fn in_python_reads_outlast_a_plugin_that_is_away() {
    away(Example::Python);
}

#[test]
fn in_go_reads_outlast_a_plugin_that_is_away() {
    away(Example::Go);
}

#[test]
fn in_rust_reads_outlast_a_plugin_that_is_away() {
    away(Example::Rust);
}
