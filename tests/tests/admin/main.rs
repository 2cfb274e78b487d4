//! The admin endpoints: what they say, who may change things, and whose socket it is.

mod certificates;
mod refusals;
mod roles;

use prism_tests::{DEMO, Proxy, Start, client::grpc::Client};
use std::{
    fs,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
};

#[test]
fn reads_are_answered_over_tcp_and_over_the_socket() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    for path in ["/ready", "/healthz", "/metrics", "/config", "/namespaces", "/plugins"] {
        let _ = admin.get(path).expect(200);
        let _ = admin.over_socket("GET", path, "").expect(200);
    }
    assert_eq!(admin.get("/nothing").status, 404);
    assert!(admin.get("/metrics").header("content-type").unwrap().starts_with("text/plain"));
    assert_eq!(admin.get("/config").header("content-type"), Some("application/json"));
}

#[test]
fn config_says_what_runs_and_from_where() {
    let proxy = Proxy::start(DEMO);
    let config = proxy.admin().config();
    assert!(config["version"].as_u64().unwrap() > 0, "{config}");
    assert!(config["source"].as_str().unwrap().ends_with("prism.yaml"), "{config}");
    assert_eq!(config["config"]["namespaces"][0]["name"], "demo", "{config}");
}

#[test]
fn secrets_are_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("absent.sock");
    let plugin = format!("  - {{ name: cache, type: sidecar, socket: '{}' }}\nnamespaces:", socket.display());
    let template = DEMO.replace("namespaces:", &plugin)
        + "  - { name: cached, backend: redis, plugin: cache, config: { url: 'redis://me:hunter2@127.0.0.1:1' },
      credentials: { username: me, password: hunter2 } }\n";
    let proxy = Proxy::start(&template);
    for path in ["/ready", "/healthz", "/metrics", "/config", "/namespaces", "/plugins"] {
        let shown = proxy.admin().get(path).text();
        assert!(!shown.contains("hunter2"), "{path}: {shown}");
    }
    assert!(proxy.admin().get("/config").text().contains("cached"));
    let refused = proxy.fill(&template.replace("backend: redis", "backend: redis, colour: red"));
    let answer = proxy.admin().over_socket("PUT", "/config", &refused).expect(400).text();
    assert!(answer.contains("colour") && !answer.contains("hunter2"), "{answer}");
    assert!(!proxy.process.log().contains("hunter2"));
}

#[test]
fn nothing_changes_over_tcp() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    let version = admin.version();
    let more = proxy.fill(DEMO) + "  - { name: second, backend: memory, plugin: memory }\n";
    for method in ["PUT", "POST", "PATCH", "DELETE"] {
        for path in ["/config", "/drain", "/config/rollback"] {
            let answer = admin.over_tcp(method, path, &more);
            assert!(matches!(answer.status, 403..=405), "{method} {path}: {}", answer.status);
        }
    }
    // No GET changes anything, whatever comes with it.
    let _ = admin.over_tcp("GET", "/config", &more);
    assert_eq!(admin.version(), version);
}

#[test]
fn the_same_once_more_is_no_change() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    let version = admin.version();
    let more = proxy.fill(DEMO) + "  - { name: second, backend: memory, plugin: memory }\n";
    let _ = admin.over_socket("PUT", "/config", &more).expect(200);
    assert!(admin.version() > version);
    let version = admin.version();
    let _ = admin.over_socket("PUT", "/config", &more).expect(200);
    assert_eq!(admin.version(), version);
}

#[test]
fn a_dry_run_only_asks() {
    let proxy = Proxy::start(DEMO);
    let admin = proxy.admin();
    let version = admin.version();
    let more = proxy.fill(DEMO) + "  - { name: second, backend: memory, plugin: memory }\n";
    let answer = admin.over_socket("PUT", "/config?dry_run=true", &more).expect(200);
    assert!(answer.text().contains("second"), "{}", answer.text());
    assert_eq!(admin.version(), version);
    assert!(!admin.get("/config").text().contains("second"));
}

#[test]
fn a_body_without_end_is_not_collected() {
    let proxy = Proxy::start(DEMO);
    let endless = "#".repeat(20 << 20);
    let file = proxy.folder().join("endless");
    fs::write(&file, endless).unwrap();
    let answer = proxy.admin().over_socket("PUT", "/config", &format!("@{}", file.display()));
    assert_eq!(answer.status, 413, "{}", answer.text());
}

#[test]
fn the_socket_is_its_owners_alone() {
    let proxy = Proxy::start(DEMO);
    let mode = fs::metadata(proxy.admin().socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_somebody_answers_on_is_not_taken() {
    let first = Proxy::start(DEMO);
    let socket = first.admin().socket().clone();
    let template = DEMO.replace("@dir@/admin.sock", socket.to_str().unwrap());
    let mut second = Start::new(&template).spawn();
    let status = second.process.wait();
    assert!(!status.success());
    let log = second.process.log();
    assert!(log.contains("admin.sock"), "{log}");
    assert!(UnixStream::connect(&socket).is_ok(), "the first proxy's socket is gone");
    let _ = first.admin().over_socket("GET", "/ready", "").expect(200);
    Client::new(first.port(), "demo").set("key", "value").await.unwrap();
}

#[test]
fn a_socket_that_nobody_answers_on_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stale.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let proxy = Proxy::start(&DEMO.replace("@dir@/admin.sock", socket.to_str().unwrap()));
    assert!(UnixStream::connect(&socket).is_ok());
    drop(proxy);
    // Killed, it leaves its socket behind; the next one is not stopped by that.
    assert!(socket.exists());
    let _again = Proxy::start(&DEMO.replace("@dir@/admin.sock", socket.to_str().unwrap()));
}

#[test]
fn a_file_in_the_sockets_place_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("precious");
    fs::write(&file, "data").unwrap();
    let mut proxy = Start::new(&DEMO.replace("@dir@/admin.sock", file.to_str().unwrap())).spawn();
    assert!(!proxy.process.wait().success());
    assert!(proxy.process.log().contains("precious"), "{}", proxy.process.log());
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");
}

/// Whoever reaches the address cannot keep the socket's owner out, nor others who reach it and have something to say.
#[test]
fn a_silent_crowd_keeps_nobody_out() {
    let proxy = Proxy::start(DEMO);
    let _ = proxy.admin().get("/ready").expect(200);
    let silent: Vec<_> =
        (0..80).map(|_| std::net::TcpStream::connect(("127.0.0.1", proxy.admin().port())).unwrap()).collect();
    for _ in 0..5 {
        let answer = proxy.admin().over_socket("PUT", "/config", &proxy.fill(DEMO));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let _ = proxy.admin().get("/ready").expect(200);
    }
    drop(silent);
}
