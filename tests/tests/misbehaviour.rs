//! Plugin libraries that misbehave in a running proxy, by every way that is said to be contained: each call has an
//! error of its own, and the calls of two other namespaces, one of them on the very same library, all succeed.

use prism_panics::{LATE, STREAMS, UNARY};
use prism_plugin_abi::{Code, Data, Error, InstanceId, Scope};
use prism_plugin_sdk::testing::Instance;
use prism_tests::{Proxy, Served, load::Load, tools, wait};
use rustix::process::Signal;
use std::{fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio_stream::StreamExt;

const TEMPLATE: &str = "
admin: { address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }
listeners:
  - { name: edge, address: '127.0.0.1:@listen@', filters: [{ trace: { access_log: { path: 'off' } } }, plugin_dispatch] }
workers: 2
plugins:
  - { name: memory, type: builtin }
  - { name: subject, type: in_process, library: '@library@', offload: @offload@, metrics_interval: 100ms }
namespaces:
  - { name: demo, backend: memory, plugin: memory }
  - { name: good, backend: good, plugin: subject }
  - { name: bad, backend: bad, plugin: subject }
";

fn template(library: &Path, offload: bool) -> String {
    TEMPLATE.replace("@library@", library.to_str().unwrap()).replace("@offload@", &offload.to_string())
}

/// A template with one more plugin.
fn with_plugin(template: &str, name: &str, library: &Path) -> String {
    let plugin = format!("  - {{ name: {name}, type: in_process, library: '{}' }}\n", library.display());
    template.replace("namespaces:", &(plugin + "namespaces:"))
}

/// A proxy in which two namespaces are called all the time.
struct Scene {
    template: String,
    proxy: Proxy,
    memory: Load,
    good: Load,
}

impl Scene {
    fn start(template: String, clients: usize) -> Self {
        let proxy = Proxy::start(&template);
        let memory = Load::start(proxy.port(), "demo", clients);
        let good = Load::start_echo(proxy.port(), "good", clients);
        Self { template, proxy, memory, good }
    }

    fn namespace(&self, name: &str) -> Instance {
        let plugin = Arc::new(Served::new(self.proxy.port(), name));
        Instance { plugin, id: InstanceId(1), namespace: name.into() }
    }

    /// Those that have nothing to do with it are answered from now on, too.
    async fn others_go_on(&self, what: &str) {
        let answered = || [self.memory.answered(), self.good.answered()];
        let before = answered();
        wait::until_async(&format!("other namespaces should be answered beside `{what}`"), || async {
            let now = answered();
            // More than the calls that were under way.
            (now[0] >= before[0] + 16 && now[1] >= before[1] + 16).then_some(())
        })
        .await;
    }

    fn configure(&self, template: &str) -> (u16, String) {
        let answer = self.proxy.admin().over_socket("PUT", "/config", &self.proxy.fill(template));
        (answer.status, answer.text())
    }

    /// The configuration of the start, and a namespace for each of these backends, which is its name too.
    fn configure_with(&self, backends: &[&str]) {
        let more: String = backends
            .iter()
            .map(|backend| format!("  - {{ name: {backend}, backend: {backend}, plugin: subject }}\n"))
            .collect();
        let (status, text) = self.configure(&(self.template.clone() + &more));
        assert_eq!(status, 200, "{text}");
    }

    async fn end(mut self) {
        self.others_go_on("the end").await;
        for load in [self.memory, self.good] {
            let outcome = load.stop().await;
            assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
            assert_eq!(outcome.answered, outcome.calls);
        }
        assert!(self.proxy.process.ended().is_none());
        let _ = self.proxy.admin().get("/ready").expect(200);
        let _ = self.proxy.admin().get("/healthz").expect(200);
    }
}

fn raw(text: &str) -> Data {
    Data::Raw(bytes::Bytes::from(text.to_owned()).into())
}

async fn unary(instance: &Instance, operation: &str) -> Result<String, Error> {
    let answer = wait::guard(operation, instance.send(operation, raw("hello"), &[])).await?;
    let Data::Raw(payload) = answer else { panic!("`{operation}`: {answer:?}") };
    Ok(String::from_utf8(payload.into_bytes().to_vec()).unwrap())
}

/// How many items a stream had, and how it ended.
async fn stream(instance: &Instance, operation: &str) -> (usize, Result<(), Error>) {
    let mut items = 0;
    let opened = wait::guard(operation, instance.request(operation).bytes("hello").stream()).await;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return (0, Err(error)),
    };
    loop {
        match wait::guard(operation, stream.next()).await {
            Some(Ok(_)) => items += 1,
            Some(Err(error)) => return (items, Err(error)),
            None => return (items, Ok(())),
        }
    }
}

fn is_internal(operation: &str, error: &Error) {
    assert_eq!((error.code, error.scope), (Code::Internal, Scope::Channel), "`{operation}`: {error}");
    assert!(!error.message.is_empty(), "`{operation}`: no reason");
}

/// Gives up a call that is never answered; most likely the plugin has it by then.
async fn give_up(instance: &Instance, operation: &str) {
    if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), unary(instance, operation)).await {
        panic!("`{operation}` was answered: {answer:?}");
    }
}

/// Drops a stream that has had an item and has not ended.
async fn drop_half_way(instance: &Instance, operation: &str) {
    let opened = wait::guard(operation, instance.request(operation).bytes("hello").stream()).await;
    let mut stream = opened.unwrap_or_else(|error| panic!("`{operation}`: {error}"));
    assert!(wait::guard(operation, stream.next()).await.unwrap().is_ok());
}

/// Namespaces that cannot be served, and say why; the others' figures are missed, and no more.
async fn control_calls_fail(scene: &Scene, unserved: &[&str], [metrics, shutdown]: [&str; 2], reason: &str) {
    scene.configure_with(&[unserved, &[metrics, shutdown]].concat());
    for backend in unserved {
        let error = unary(&scene.namespace(backend), "echo").await.unwrap_err();
        assert_eq!((error.code, error.scope), (Code::Unavailable, Scope::Channel), "`{backend}`: {error}");
        let shown = scene.proxy.admin().namespace(backend);
        assert_ne!(shown["state"], "ready", "{shown}");
        assert!(shown["reason"].as_str().is_some_and(|words| words.contains(reason)), "{shown}");
        scene.others_go_on(backend).await;
    }
    for backend in [metrics, shutdown] {
        assert_eq!(unary(&scene.namespace(backend), "echo").await.unwrap(), "hello");
    }
    let label = format!("namespace=\"{metrics}\"");
    wait::until("the figures should be missed", || {
        (scene.proxy.admin().metric("prism_plugin_metrics_failures_total", &label) > 0.0).then_some(())
    });
    // Each is shut down.
    scene.configure_with(&[]);
    scene.others_go_on(shutdown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn null_pointers_wrong_lengths_and_wild_wakes() {
    let folder = tempfile::tempdir().unwrap();
    let library = tools::wicked_library(folder.path(), &[]);
    for offload in [false, true] {
        let scene = Scene::start(template(&library, offload), 2);
        let bad = scene.namespace("bad");
        for operation in [
            "null_call",
            "null_vtable",
            "null_poll",
            "unknown_code",
            "null_buffers",
            "null_bytes",
            "many_buffers",
            "endless_buffers",
            "long_bytes",
            "endless_bytes",
            "unknown_kind",
            "bad_type",
            "endless_type",
            "null_message",
            "long_message",
            "unknown_scope",
            "stream_for_unary",
        ] {
            is_internal(operation, &unary(&bad, operation).await.unwrap_err());
            scene.others_go_on(operation).await;
        }
        let error = unary(&bad, "unknown_error").await.unwrap_err();
        assert_eq!((error.code, error.scope), (Code::Unknown, Scope::Operation), "{error}");

        for (operation, items) in [
            ("stream_null", 0),
            ("stream_null_vtable", 0),
            ("stream_null_poll", 0),
            ("stream_unknown_code", 1),
            ("stream_null_buffers", 1),
            ("stream_long", 1),
            ("stream_stream", 1),
        ] {
            let (got, end) = stream(&bad, operation).await;
            is_internal(operation, &end.unwrap_err());
            assert_eq!(got, items, "`{operation}`");
            scene.others_go_on(operation).await;
        }
        for operation in ["stream_half_way", "stream_wakes"] {
            assert_eq!(stream(&bad, operation).await, (1, Ok(())), "`{operation}`");
        }
        drop_half_way(&bad, "stream_endless").await;
        scene.others_go_on("stream_endless").await;

        wakes(&scene, &bad).await;
        let unserved = ["null-initialize", "long-initialize", "null-health", "long-health"];
        control_calls_fail(&scene, &unserved, ["null-metrics", "null-shutdown"], "the plugin").await;

        // One that does not say what it is: the change is refused, and what runs stays.
        let folder = tempfile::tempdir().unwrap();
        let silent = tools::wicked_library(folder.path(), &["NULL_DESCRIBE"]);
        let (status, text) = scene.configure(&with_plugin(&scene.template, "silent", &silent));
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("null pointer for a call"), "{text}");
        scene.end().await;
    }
}

/// Threads that wake a call ten thousand times while it runs, and as often when it is over or given up.
async fn wakes(scene: &Scene, bad: &Instance) {
    const CALLS: usize = 4;
    const THREADS: usize = 4;
    for _ in 0..CALLS {
        assert_eq!(unary(bad, "wakes").await.unwrap(), "word");
    }
    let late = || async { unary(bad, "late").await.unwrap().parse::<usize>().unwrap() };
    wait::until_async("every thread should have woken for a call that is over", || async {
        (late().await >= CALLS * THREADS).then_some(())
    })
    .await;
    // Completed when their callers are gone.
    let before = late().await;
    wait::until_async("a call that is given up should be woken", || async {
        give_up(bad, "never").await;
        (late().await > before).then_some(())
    })
    .await;
    scene.others_go_on("never").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_in_every_entry() {
    let library = tools::library("prism_panics");
    for offload in [false, true] {
        let scene = Scene::start(template(&library, offload), 2);
        let bad = scene.namespace("bad");
        for operation in UNARY {
            is_internal(operation, &unary(&bad, operation).await.unwrap_err());
            scene.others_go_on(operation).await;
        }
        for operation in LATE {
            if operation == "release" {
                // Who has an answer keeps it.
                assert_eq!(unary(&bad, operation).await.unwrap(), "bytes");
            } else {
                give_up(&bad, operation).await;
            }
            scene.others_go_on(operation).await;
        }
        for operation in STREAMS {
            if operation == "stream_drop" {
                drop_half_way(&bad, operation).await;
            } else {
                let (items, end) = stream(&bad, operation).await;
                is_internal(operation, &end.unwrap_err());
                assert_eq!(items, usize::from(operation == "stream_poll"));
            }
            scene.others_go_on(operation).await;
        }
        // What nobody was told of has happened as well.
        wait::until("each of these should have panicked", || {
            let log = scene.proxy.process.log();
            let all = ["a call under way panics", "bytes panics", "a stream panics", "a payload panics"];
            all.iter().all(|what| log.contains(what)).then_some(())
        });
        let unserved = ["initialize", "initialize-poll", "health", "health-poll"];
        control_calls_fail(&scene, &unserved, ["metrics", "shutdown"], "panicked").await;
        panics_of_the_plugin_itself(scene, &library).await;
    }
}

/// In `describe`, when a copy of the library is loaded beside it, and when the last of that copy goes.
async fn panics_of_the_plugin_itself(scene: Scene, library: &Path) {
    let copy = scene.proxy.folder().join("libcopy.so");
    fs::copy(library, &copy).unwrap();
    let with_copy =
        with_plugin(&scene.template, "copy", &copy) + "  - { name: copied, backend: good, plugin: copy }\n";
    let [asked, destroyed] = ["panic_in_describe", "destroyed"].map(|name| scene.proxy.folder().join(name));
    fs::write(&asked, "").unwrap();
    let (status, text) = scene.configure(&with_copy);
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("panicked"), "{text}");
    scene.others_go_on("describe").await;
    // What was loaded for nothing is ended, and panics at that.
    wait::until("the plugin should be ended", || destroyed.exists().then_some(()));
    fs::remove_file(&destroyed).unwrap();
    fs::remove_file(&asked).unwrap();

    let (status, text) = scene.configure(&with_copy);
    assert_eq!(status, 200, "{text}");
    assert_eq!(unary(&scene.namespace("copied"), "echo").await.unwrap(), "hello");
    scene.configure_with(&[]);
    wait::until("the plugin should be ended", || destroyed.exists().then_some(()));
    scene.end().await;
}

/// Calls that keep their threads until a file appears.
struct Blocked {
    folder: TempDir,
    calls: Vec<tokio::task::JoinHandle<Result<Data, Error>>>,
}

impl Blocked {
    /// Begins so many, each on a connection of its own, and waits until that many threads stand still.
    async fn begin(scene: &Scene, calls: usize, threads: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("gate");
        let calls = (0..calls)
            .map(|_| {
                let (bad, gate) = (scene.namespace("bad"), raw(gate.to_str().unwrap()));
                tokio::spawn(async move { bad.send("block", gate, &[]).await })
            })
            .collect();
        // Each leaves a file as it begins to block.
        wait::until_async("the plugin should keep its threads", || async {
            (fs::read_dir(folder.path()).unwrap().count() >= threads).then_some(())
        })
        .await;
        Self { folder, calls }
    }

    async fn release(self) {
        assert!(self.calls.iter().all(|call| !call.is_finished()), "nobody has released them");
        fs::write(self.folder.path().join("gate"), "").unwrap();
        for call in self.calls {
            let answer = wait::guard("a call that was released", call).await.unwrap().unwrap();
            assert!(matches!(answer, Data::Raw(payload) if payload.clone().into_bytes() == "word"));
        }
    }
}

fn long_polls(scene: &Scene) -> f64 {
    scene.proxy.admin().metric("prism_plugin_long_polls_total", "namespace=\"bad\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_blocks_is_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::start(template(&tools::wicked_library(folder.path(), &[]), false), 1);
    let blocked = Blocked::begin(&scene, 1, 1).await;
    let before = long_polls(&scene);
    // Longer than what is counted, however coarse the clock.
    tokio::time::sleep(Duration::from_millis(100)).await;
    blocked.release().await;
    wait::until("the poll should be counted", || (long_polls(&scene) > before).then_some(()));
    let log = scene.proxy.process.log();
    let line = log.lines().find(|line| line.contains("kept a thread for itself"));
    let line = line.unwrap_or_else(|| panic!("not in the log:\n{log}"));
    assert!(line.contains("wicked") && line.contains("WARN"), "{line}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_on_threads_of_its_own_delays_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let library = tools::wicked_library(folder.path(), &[]);
    // The same library, entered on the proxy's threads, is a neighbour as the builtin is.
    let template = with_plugin(&template(&library, true), "neighbour", &library)
        .replace("backend: good, plugin: subject", "backend: good, plugin: neighbour");
    let scene = Scene::start(template, 4);
    let threads = std::thread::available_parallelism().unwrap().get().max(2);
    // More than the plugin has threads, and than there are workers.
    let blocked = Blocked::begin(&scene, 4 * threads, threads).await;
    // Every thread of the plugin stands still until the file is there, which is after all of these are answered: on
    // connections that were there before, and on new ones.
    scene.others_go_on("block").await;
    for _ in 0..8 {
        assert_eq!(unary(&scene.namespace("good"), "echo").await.unwrap(), "hello");
        let demo = scene.namespace("demo");
        wait::guard("a builtin", demo.send("set", raw("value"), &[("key", "key")])).await.unwrap();
    }
    blocked.release().await;
    wait::until("blocking should be counted", || (long_polls(&scene) > 0.0).then_some(()));
    scene.end().await;
}

/// Neither can be contained: the thread is gone. But the others go on, and the process still ends when it is told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_hangs_as_it_is_loaded_keeps_its_thread_and_no_more() {
    for how in ["HANG_IN_ENTRY", "HANG_IN_CONSTRUCTOR"] {
        let folder = tempfile::tempdir().unwrap();
        let [library, hangs] = ["good", "hangs"].map(|name| folder.path().join(name));
        fs::create_dir(&library).unwrap();
        fs::create_dir(&hangs).unwrap();
        let library = tools::wicked_library(&library, &[]);
        let hangs = tools::wicked_library(&hangs, &[how]);
        let template = template(&library, false) + "drain: { timeout: 1s, linger: 0s }\n";
        // Nobody has called it yet: what its threads use for the first time, they use while the library hangs.
        let mut proxy = Proxy::start(&template);
        let (admin, with_it) = (proxy.admin().clone(), proxy.fill(&with_plugin(&template, "hangs", &hangs)));
        let change = std::thread::spawn(move || admin.over_socket("PUT", "/config", &with_it).status);
        let good = Load::start_echo(proxy.port(), "good", 2);
        let memory = Load::start(proxy.port(), "demo", 2);
        wait::until("the change should be given up", || change.is_finished().then_some(()));
        assert_eq!(change.join().unwrap(), 400, "{how}");
        let _ = proxy.admin().get("/ready").expect(200);
        let _ = proxy.admin().get("/metrics").expect(200);
        for load in [good, memory] {
            let outcome = load.stop().await;
            assert!(outcome.failures.is_empty() && outcome.answered > 0, "{how}: {:?}", outcome.failures);
        }
        proxy.process.signal(Signal::TERM);
        wait::until("the process should end", || proxy.process.ended());
    }
}
