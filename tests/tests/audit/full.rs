//! A queue without room, and a disk that takes nothing.

use crate::scene::{Scene, stop};
use prism_tests::{
    Proxy, Start,
    client::grpc::{Client, reason},
    wait,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::fs;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn with_block_a_call_without_room_is_refused_and_not_done() {
    let scene = Scene::new();
    let proxy = scene.start(", queue: 16, timeout: 50ms");
    let client = Client::new(proxy.port(), "demo");
    let mut watches = Vec::new();
    for _ in 0..16 {
        watches.push(client.watch("none").await.unwrap());
    }
    let refused = wait::guard("a call", client.set("key", "value")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_deref()), (Code::Unavailable, Some("AUDIT_UNAVAILABLE")));
    assert!(proxy.admin().metric("prism_audit_refused_total", "") >= 1.0);
    watches.pop();
    wait::until_async("there should be room again", || async { client.get("key").await.ok() }).await;
    assert_eq!(client.get("key").await.unwrap(), None, "what was refused was not done");
    drop(watches);
    wait::until("the access log should say why", || {
        let log = fs::read_to_string(proxy.folder().join("access.log")).unwrap();
        log.contains("the audit log's queue was full").then_some(())
    });
    stop(proxy);
    scene.is_intact();
    let refused: u64 = scene.kind("dropped").iter().filter_map(|line| line["refused"].as_u64()).sum();
    assert!(refused >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_calls_until_it_has_room_and_no_line_is_broken() {
    let scene = Scene::new();
    let mut proxy = Start::new(&scene.config("")).file_bytes(64 << 10).run();
    let client = Client::new(proxy.port(), "demo");
    let refused =
        wait::until_async("the disk should be full", || async { client.get("key").await.err() }).await;
    assert_eq!(reason(&refused).as_deref(), Some("AUDIT_UNAVAILABLE"), "{refused:?}");
    let log = proxy.admin().get("/audit").expect(200).json()["logs"][0].clone();
    assert!(log["problem"].as_str().unwrap().contains("00000001.jsonl"), "{log}");
    client.set("key", "value").await.unwrap_err();
    let torn = scene.verify(&scene.dir(), &[]);
    assert_eq!(
        torn.status, 3,
        "the file ends where the disk was full, in the middle of a line: {}",
        torn.said
    );
    grow(&proxy);
    wait::until_async("calls should be served again", || async { client.get("key").await.ok() }).await;
    assert_eq!(client.get("key").await.unwrap(), None, "what was refused was not done");
    proxy.process.signal(prism_tests::Signal::TERM);
    assert!(proxy.process.wait().success());
    scene.is_intact();
    let refused: u64 = scene.kind("dropped").iter().filter_map(|line| line["refused"].as_u64()).sum();
    assert!(refused >= 2, "{refused}");
    let dropped: u64 = scene.kind("dropped").iter().filter_map(|line| line["records"].as_u64()).sum();
    assert_eq!(dropped, 0);
}

/// Files may be as long as they like from now on.
fn grow(proxy: &Proxy) {
    let pid = Pid::from_raw(i32::try_from(proxy.process.id()).unwrap());
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_drop_and_count_calls_are_served_and_the_gap_is_told() {
    let scene = Scene::new();
    let proxy = scene.start(", queue: 16, on_backpressure: drop_and_count");
    let client = Client::new(proxy.port(), "demo");
    client.set("key", "value").await.unwrap();
    let away = scene.dir().with_extension("away");
    fs::rename(scene.dir(), &away).unwrap();
    let metric = |name: &str| {
        let label = format!("{{log=\"{}\"}}", scene.dir().display());
        proxy.admin().metric(name, &label)
    };
    for _ in 0..100 {
        wait::guard("a call", client.get("key")).await.unwrap();
    }
    wait::until("it should be told", || (metric("prism_audit_failing") > 0.0).then_some(()));
    for _ in 0..100 {
        wait::guard("a call", client.get("key")).await.unwrap();
    }
    fs::rename(&away, scene.dir()).unwrap();
    wait::until("the log should be written again", || (metric("prism_audit_failing") < 1.0).then_some(()));
    client.get("key").await.unwrap();
    stop(proxy);
    scene.is_intact();
    let dropped: u64 = scene.kind("dropped").iter().filter_map(|line| line["records"].as_u64()).sum();
    assert!(dropped > 0);
    assert_eq!(scene.kind("call").len() as u64 + dropped, 202);
}
