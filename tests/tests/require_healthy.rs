//! `PUT /config?require_healthy=true`: all of a change, or nothing of it, as four namespaces on one plugin see it, and
//! the plugin itself.

use prism_proto::plugin::{ExecuteRequest, execute_request::Params, execute_response};
use prism_tests::{DEMO, Proxy, Sidecar, Transport, client::curl::Answer, client::grpc::Client, wait};
use rustix::process::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};

prism_tests::over_every_transport! {
    one_that_fails_of_four_refuses_all_and_touches_nothing
    all_that_serve_take_over
    what_never_answers_is_refused_at_its_deadline
    a_plugin_that_dies_in_mid_change_refuses_it
    a_proxy_that_is_told_to_stop_gives_the_change_up
    a_second_change_has_its_turn_afterwards
}

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

struct Four {
    folder: tempfile::TempDir,
    socket: PathBuf,
    sidecar: Sidecar,
    transport: Transport,
    proxy: Proxy,
}

impl Four {
    fn start(transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("sdk.sock");
        let sidecar = Sidecar::sdk(&socket);
        let proxy = Proxy::start(&template(transport, &socket, &["figures: '0'"; 4]));
        let four = Self { folder, socket, sidecar, transport, proxy };
        wait::until("all four should serve", || {
            let ready = |name| four.proxy.admin().namespace(name)["state"] == "ready";
            NAMES.into_iter().all(ready).then_some(())
        });
        four
    }

    fn config(&self, configs: &[&str; 4]) -> String {
        self.proxy.fill(&template(self.transport, &self.socket, configs))
    }

    /// A change that is waited for, while the test goes on.
    fn put(&self, configs: &[&str; 4]) -> JoinHandle<Answer> {
        let (admin, text) = (self.proxy.admin(), self.config(configs));
        spawn_blocking(move || admin.over_socket("PUT", "/config?require_healthy=true", &text))
    }

    /// What `/namespaces` calls the instance of each.
    fn instances(&self) -> Vec<String> {
        let number = |name| self.proxy.admin().namespace(name)["instance"].to_string();
        NAMES.map(number).to_vec()
    }

    fn none_is_pending(&self) -> bool {
        NAMES.iter().all(|name| self.proxy.admin().namespace(name)["pending"].is_null())
    }

    /// How many instances the plugin says that it has.
    async fn live(&self) -> String {
        ask(&Client::new(self.proxy.port(), NAMES[0]), "instances").await.unwrap()
    }

    async fn until_live(&self, wanted: &str) {
        wait::until_async(&format!("the plugin should have {wanted} instances"), || async {
            (self.live().await == wanted).then_some(())
        })
        .await;
    }

    fn gate(&self) -> PathBuf {
        self.folder.path().join("gate")
    }
}

fn template(transport: Transport, socket: &Path, configs: &[&str; 4]) -> String {
    let plugin = format!("  - {}\nnamespaces:", transport.sidecar("side", socket));
    let mut text = DEMO.replace("namespaces:", &plugin);
    for (name, config) in NAMES.iter().zip(configs) {
        text += &format!("  - {{ name: {name}, backend: sdk, plugin: side, config: {{ {config} }} }}\n");
    }
    text
}

async fn ask(client: &Client, operation: &str) -> Result<String, String> {
    let request = ExecuteRequest {
        operation: operation.to_owned(),
        params: Some(Params::RawParams("hello".into())),
        ..Default::default()
    };
    let answer = client.execute(request).await.map_err(|status| format!("{status:?}"))?;
    match answer.result {
        Some(execute_response::Result::RawResult(bytes)) if answer.success => {
            Ok(String::from_utf8(bytes.into()).unwrap())
        }
        other => Err(format!("{} {other:?}", answer.error)),
    }
}

/// Calls on every namespace, without pause.
struct Calls {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Calls {
    fn start(port: u16) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = NAMES.map(|name| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let client = Client::new(port, name);
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match ask(&client, "echo").await {
                        Ok(answer) if answer == "hello" => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        other => failures.push(format!("{name}: {other:?}")),
                    }
                }
                failures
            })
        });
        Self { stop, answered, clients: clients.into() }
    }

    /// So many more are answered.
    async fn go_on(&self, more: u64) {
        let wanted = self.answered.load(Ordering::Relaxed) + more;
        wait::until_async("calls should go on", || async {
            (self.answered.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    async fn succeeded(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            assert_eq!(client.await.unwrap(), [""; 0]);
        }
    }
}

async fn one_that_fails_of_four_refuses_all_and_touches_nothing(transport: Transport) {
    let four = block_in_place(|| Four::start(transport));
    let admin = four.proxy.admin();
    let (before, version) = block_in_place(|| (four.instances(), admin.version()));
    assert_eq!(four.live().await, "4");
    let calls = Calls::start(four.proxy.port());

    // Three that could serve at once, and one that fails when the test says so.
    let gate = four.gate();
    let fails = format!("figures: x, wait_for: '{}'", gate.display());
    let put = four.put(&["figures: '1'", "figures: '1'", &fails, "figures: '1'"]);
    four.until_live("8").await;
    calls.go_on(400).await;
    block_in_place(|| {
        assert_eq!((four.instances(), admin.version()), (before.clone(), version), "nothing is decided yet");
        assert!(four.none_is_pending());
        fs::write(&gate, "").unwrap();
    });
    let problems = put.await.unwrap().expect(409).json()["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 1, "{problems}");
    assert_eq!(problems[0]["path"], "namespaces[3]", "{problems}");
    let message = problems[0]["message"].as_str().unwrap();
    for part in ["`three`", "`side`", "INVALID_ARGUMENT", "config.figures: not a number"] {
        assert!(message.contains(part), "{part}: {message}");
    }

    four.until_live("4").await;
    calls.go_on(400).await;
    calls.succeeded().await;
    block_in_place(|| {
        assert_eq!((four.instances(), admin.version()), (before, version));
        assert!(four.none_is_pending());
        assert_eq!(admin.config()["last_refusal"]["problems"], problems);
        // A new namespace that cannot be served leaves nothing behind either.
        let more = four.config(&["figures: '0'"; 4])
            + "  - { name: five, backend: sdk, plugin: side, config: { figures: x } }\n";
        let _ = admin.over_socket("PUT", "/config?require_healthy=true", &more).expect(409);
        for path in ["/namespaces", "/metrics"] {
            assert!(!admin.get(path).expect(200).text().contains("five"));
        }
    });
    four.until_live("4").await;
}

async fn all_that_serve_take_over(transport: Transport) {
    let four = block_in_place(|| Four::start(transport));
    let before = block_in_place(|| four.instances());
    let calls = Calls::start(four.proxy.port());
    let answer = four.put(&["figures: '1'", "figures: '0'", "figures: '1'", "figures: '1'"]).await.unwrap();
    assert_eq!(answer.expect(200).json()["changes"].as_array().unwrap().len(), 3);
    let after = block_in_place(|| four.instances());
    let same: Vec<_> = before.iter().zip(&after).map(|(before, after)| before == after).collect();
    assert_eq!(same, [false, true, false, false]);
    four.until_live("4").await;
    calls.go_on(100).await;
    calls.succeeded().await;
}

async fn what_never_answers_is_refused_at_its_deadline(transport: Transport) {
    let four = block_in_place(|| Four::start(transport));
    let before = block_in_place(|| four.instances());
    let never = format!("figures: '1', wait_for: '{}'", four.gate().display());
    let answer = four.put(&["figures: '1'", &never, "figures: '1'", "figures: '1'"]).await.unwrap();
    let answer = answer.expect(409).text();
    assert!(answer.contains("`two`") && answer.contains("no answer within 15000 ms"), "{answer}");
    assert_eq!(block_in_place(|| four.instances()), before);
    four.until_live("4").await;
}

async fn a_plugin_that_dies_in_mid_change_refuses_it(transport: Transport) {
    let mut four = block_in_place(|| Four::start(transport));
    let (before, version) = block_in_place(|| (four.instances(), four.proxy.admin().version()));
    let gate = four.gate();
    let waits = format!("figures: '1', wait_for: '{}'", gate.display());
    let put = four.put(&["figures: '1'", "figures: '1'", "figures: '1'", &waits]);
    four.until_live("8").await;
    four.sidecar.process.kill();
    // Three of the four had been there already.
    let problems = put.await.unwrap().expect(409).json()["problems"].clone();
    assert!(!problems.as_array().unwrap().is_empty());
    block_in_place(|| {
        four.sidecar.restart();
        wait::until("all four should serve again", || {
            let ready = |name| four.proxy.admin().namespace(name)["state"] == "ready";
            NAMES.into_iter().all(ready).then_some(())
        });
        assert_eq!((four.instances(), four.proxy.admin().version()), (before, version));
    });
    four.until_live("4").await;
}

async fn a_proxy_that_is_told_to_stop_gives_the_change_up(transport: Transport) {
    let mut four = block_in_place(|| Four::start(transport));
    let never = format!("figures: '1', wait_for: '{}'", four.gate().display());
    let put = four.put(&["figures: '1'", &never, "figures: '1'", "figures: '1'"]);
    four.until_live("8").await;
    four.proxy.process.signal(Signal::TERM);
    let answer = put.await.unwrap().expect(503).text();
    assert!(answer.contains("shutting down"), "{answer}");
    assert!(block_in_place(|| four.proxy.process.wait()).success());
    // Asked by another proxy: the first has left nothing behind.
    let configs = ["figures: '0'"; 4];
    let again = block_in_place(|| Proxy::start(&template(transport, &four.socket, &configs)));
    four.proxy = again;
    four.until_live("4").await;
}

async fn a_second_change_has_its_turn_afterwards(transport: Transport) {
    let four = block_in_place(|| Four::start(transport));
    let (gate, admin) = (four.gate(), four.proxy.admin());
    let version = block_in_place(|| admin.version());
    let waits = format!("figures: '1', wait_for: '{}'", gate.display());
    let first = four.put(&["figures: '1'", &waits, "figures: '1'", "figures: '1'"]);
    four.until_live("8").await;
    let second = four.put(&["figures: '2'"; 4]);
    assert_eq!(block_in_place(|| admin.version()), version);
    fs::write(&gate, "").unwrap();
    assert_eq!(first.await.unwrap().expect(200).json()["version"], version + 1);
    assert_eq!(second.await.unwrap().expect(200).json()["version"], version + 2);
    four.until_live("4").await;
}

#[test]
fn what_cannot_be_asked_is_said() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    let text = proxy.fill(DEMO) + "  - { name: second, backend: memory, plugin: memory }\n";
    let refused = [
        "require_healthy",
        "require_healthy=1",
        "require_healthy=true&require_healthy=true",
        "require_healthy=true&dry_run=true",
        "healthy=true",
    ];
    for query in refused {
        let _ = admin.over_socket("PUT", &format!("/config?{query}"), &text).expect(400);
    }
    assert_eq!(admin.over_tcp("PUT", "/config?require_healthy=true", &text).status, 403);
    let _ = admin.over_socket("PUT", "/config?require_healthy=false&dry_run=true", &text).expect(200);
    assert!(!admin.get("/namespaces").text().contains("second"));
    let _ = admin.over_socket("PUT", "/config?dry_run=false&require_healthy=true", &text).expect(200);
    assert_eq!(admin.namespace("second")["state"], "ready");
}
