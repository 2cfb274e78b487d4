//! Changes under load lose no call; mistakes change nothing and are all told.

use prism_tests::{DEMO, Proxy, Start, client::grpc::Client, load::Load, wait};
use serde_json::Value;

/// [`DEMO`] with each of four things changed or not: a route, a namespace, a filter's settings, a listener.
fn variant(state: [bool; 4]) -> String {
    let [route, namespace, filter, listener] = state;
    let mut text = DEMO.to_owned();
    if route {
        text = text.replace(
            "path_prefix: / }",
            "path_prefix: / }\n      - match: { path_prefix: /prism.data.v1.DataService/ }",
        );
    }
    if namespace {
        text += "  - { name: second, backend: memory, plugin: memory }\n";
    }
    if filter {
        text = text.replace("trace: {}", "trace: { access_log: { format: text, path: 'off' } }");
    }
    if listener {
        text =
            text.replace("listeners:\n", "listeners:\n  - { name: other, address: '127.0.0.1:@listen2@' }\n");
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_lose_no_call() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    let client = Client::new(proxy.port(), "demo");
    let mut watch = client.watch("open/").await.unwrap();
    let load = Load::start(proxy.port(), "demo", 8);
    let mut state = [false; 4];
    for round in 0..200 {
        state[round % 4] ^= true;
        let before = admin.version();
        let text = variant(state);
        if round / 4 % 2 == 0 {
            proxy.hang_up(&text);
        } else {
            let _ = admin.over_socket("PUT", "/config", &proxy.fill(&text)).expect(200);
        }
        wait::until("a new version should run", || (admin.version() > before).then_some(()));
        if state[3] {
            let other = Client::new(proxy.second_port(), "demo");
            other.get("key").await.unwrap();
        }
        if round % 50 == 0 {
            client.set(&format!("open/{round}"), "value").await.unwrap();
            let event = wait::guard("an event", watch.event()).await.unwrap().unwrap();
            assert_eq!(event.key, format!("open/{round}"));
        }
    }
    client.set("open/last", "value").await.unwrap();
    assert_eq!(wait::guard("an event", watch.event()).await.unwrap().unwrap().key, "open/last");
    let outcome = load.stop().await;
    assert!(outcome.calls > 200, "{outcome:?}");
    assert_eq!(outcome.failures, [""; 0]);
}

/// Three mistakes, on three lines.
fn broken() -> String {
    DEMO.replace("- trace: {}", "- trace: { colour: red }")
        .replace("backend: memory, plugin: memory", "backend: memory, plugin: nowhere, limit: {}")
}

/// Every mistake of [`broken`], each with its place.
fn names_all(problems: &Value) {
    let problems = problems.as_array().unwrap_or_else(|| panic!("a list: {problems}"));
    for word in ["colour", "nowhere", "limit"] {
        let problem = problems
            .iter()
            .find(|problem| problem.to_string().contains(word))
            .unwrap_or_else(|| panic!("`{word}` is not named in {problems:?}"));
        assert!(problem["line"].as_u64().unwrap() > 0, "{problem}");
        assert!(!problem["path"].as_str().unwrap().is_empty(), "{problem}");
        assert!(!problem["message"].as_str().unwrap().is_empty(), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_and_says_why() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    let client = Client::new(proxy.port(), "demo");
    client.set("key", "value").await.unwrap();
    let version = admin.version();
    assert!(admin.config()["last_refusal"].is_null());

    proxy.hang_up(&broken());
    let refusal = wait::until("the refusal should be shown", || {
        let refusal = admin.config()["last_refusal"].clone();
        (!refusal.is_null()).then_some(refusal)
    });
    names_all(&refusal["problems"]);
    assert_eq!(admin.version(), version);
    assert_eq!(client.get("key").await.unwrap().unwrap(), "value");

    let answer = admin.over_socket("PUT", "/config", &proxy.fill(&broken()));
    names_all(&answer.expect(400).json()["problems"]);
    let answer = admin.over_socket("PUT", "/config", "\t: [");
    assert!(!answer.expect(400).json()["problems"].as_array().unwrap().is_empty());
    assert_eq!(admin.version(), version);

    proxy.hang_up(&variant([false, true, false, false]));
    wait::until("the repaired file should run", || (admin.version() > version).then_some(()));
    Client::new(proxy.port(), "second").set("key", "value").await.unwrap();
    assert_eq!(client.get("key").await.unwrap().unwrap(), "value");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_refuses_the_whole_change() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    let version = admin.version();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", proxy.second_port())).unwrap();
    let answer = admin.over_socket("PUT", "/config", &proxy.fill(&variant([false, true, false, true])));
    let problems = answer.expect(400).json()["problems"].to_string();
    assert!(problems.contains(&proxy.second_port().to_string()), "{problems}");
    assert_eq!(admin.version(), version);
    let status = Client::new(proxy.port(), "second").get("key").await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_is_loaded_when_it_changes() {
    let proxy = Start::new(DEMO).argument("--watch").run();
    let version = proxy.admin().version();
    proxy.write(&variant([false, true, false, false]));
    wait::until("the file should be loaded", || (proxy.admin().version() > version).then_some(()));
    Client::new(proxy.port(), "second").set("key", "value").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_moves_and_the_old_one_closes() {
    let proxy = Proxy::start(DEMO);
    let before = Client::new(proxy.port(), "demo");
    before.set("key", "value").await.unwrap();
    let moved = DEMO.replace("@listen@", "@listen2@");
    let _ = proxy.admin().over_socket("PUT", "/config", &proxy.fill(&moved)).expect(200);
    let after = Client::new(proxy.second_port(), "demo");
    assert_eq!(after.get("key").await.unwrap().unwrap(), "value");
    wait::until("the old address should be closed", || {
        std::net::TcpStream::connect(("127.0.0.1", proxy.port())).is_err().then_some(())
    });
}
