//! A hundred thousand calls, all of them in the log, and what somebody may do to a log afterwards.

use crate::scene::{Scene, stop};
use prism_tests::{
    client::grpc::Client,
    client::http2::{self, Connection},
    wait,
    wire::{field, framed},
};
use serde_json::Value;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::task::JoinSet;
use tonic::Code;

const CONNECTIONS: usize = 4;
const STREAMS: usize = 50;
const CALLS: usize = 100_000;

/// Operations that are there, that are not, and a namespace that is not.
async fn call(connection: &Connection, number: usize) {
    let id = format!("call-{number}");
    let (namespace, operation, code) = match number % 10 {
        8 => ("demo", "nothing", Code::Unimplemented),
        9 => ("nobody", "exists", Code::NotFound),
        _ => ("demo", "exists", Code::Ok),
    };
    let headers = [("x-prism-namespace", namespace), ("x-request-id", id.as_str())];
    let head = http2::head("/prism.data.v1.DataService/Execute", &headers);
    let answer = connection.call(head, framed(&field(1, operation.as_bytes()))).await.unwrap();
    assert_eq!(answer.code(), code);
}

async fn calls(port: u16, calls: usize) {
    let mut callers = JoinSet::new();
    for connection in 0..CONNECTIONS {
        callers.spawn(async move {
            let connection_ = Arc::new(http2::connect(port).await);
            let mut streams = JoinSet::new();
            for stream in 0..STREAMS {
                let connection_ = Arc::clone(&connection_);
                streams.spawn(async move {
                    let first = connection * STREAMS + stream;
                    for number in (first..calls).step_by(CONNECTIONS * STREAMS) {
                        call(&connection_, number).await;
                    }
                });
            }
            streams.join_all().await;
        });
    }
    callers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_one_of_a_hundred_thousand_calls_is_there_once() {
    let scene = Scene::new();
    let proxy = scene.start(", segment_bytes: 4MiB");
    calls(proxy.port(), CALLS).await;
    let head = wait_for_head(&proxy, CALLS);
    stop(proxy);

    scene.is_intact();
    let all = scene.lines();
    let mut ids = HashSet::new();
    for line in all.iter().filter(|line| line["kind"] == "call") {
        assert!(ids.insert(line["request_id"].as_str().unwrap()), "twice: {line}");
    }
    assert_eq!(ids.len(), CALLS);
    assert!((0..CALLS).all(|number| ids.contains(&*format!("call-{number}"))));
    let with = |key: &str, value: &str| all.iter().filter(|line| line[key] == value).count();
    assert_eq!(with("reason", "UNKNOWN_NAMESPACE"), CALLS / 10);
    assert_eq!(with("reason", "UNKNOWN_OPERATION"), CALLS / 10);
    assert!(with("kind", "checkpoint") > 5, "segments are ended under load");
    assert!(with("kind", "dropped") == 0);

    let expected = scene.verify(&scene.dir(), &["--expect", &head]);
    assert_eq!(expected.status, 0, "{}", expected.said);
}

/// The last line's hash, once the last call's record is written.
fn wait_for_head(proxy: &prism_tests::Proxy, calls: usize) -> String {
    wait::until("every record should be written", || {
        let log = proxy.admin().get("/audit").expect(200).json()["logs"][0].clone();
        let records = log["records"].as_u64().unwrap();
        // One more: the start.
        (records == calls as u64 + 1).then(|| log["head"].as_str().unwrap().to_owned())
    })
}

type Change = (&'static str, fn(&Path));

/// What somebody may do to a log who has its files and not its key.
const CHANGES: [Change; 9] = [
    ("a flipped bit", |dir| {
        let mut bytes = fs::read(segment(dir, 2)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(segment(dir, 2), bytes).unwrap();
    }),
    ("a flipped bit in a checkpoint", |dir| {
        let mut bytes = fs::read(segment(dir, 2)).unwrap();
        let place = bytes.len() - 90;
        bytes[place] ^= 1;
        fs::write(segment(dir, 2), bytes).unwrap();
    }),
    ("a line removed", |dir| edit(dir, 2, |lines| drop(lines.remove(100)))),
    ("a line repeated", |dir| edit(dir, 2, |lines| lines.insert(100, lines[99].clone()))),
    ("two lines exchanged", |dir| edit(dir, 2, |lines| lines.swap(100, 101))),
    ("a segment removed", |dir| fs::remove_file(segment(dir, 2)).unwrap()),
    ("the first segment removed", |dir| fs::remove_file(segment(dir, 1)).unwrap()),
    ("a segment's tail cut off", |dir| edit(dir, 2, |lines| lines.truncate(lines.len() - 5))),
    ("the log's tail cut off", |dir| {
        let last = (1..).take_while(|number| segment(dir, *number).exists()).last().unwrap();
        edit(dir, last, |lines| lines.truncate(2));
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_change_goes_unseen() {
    let scene = Scene::new();
    let proxy = scene.start(", segment_bytes: 256KiB");
    calls(proxy.port(), 2000).await;
    let head = wait_for_head(&proxy, 2000);
    stop(proxy);
    scene.is_intact();
    let head = head.as_str();
    for (what, change) in CHANGES {
        let copy = copied(&scene.dir());
        change(copy.path());
        let ours = scene.verify(copy.path(), &["--expect", head, "-o", "json"]);
        assert_eq!(ours.status, 1, "{what}: {}", ours.said);
        let said: Value = serde_json::from_str(&ours.said).unwrap();
        assert!(said["logs"][0]["problem"]["message"].is_string(), "{said}");
        let theirs = scene.verify_by_the_guide(copy.path(), &[head]);
        assert_ne!(theirs.status, 0, "{what}");
    }
    rewritten(&scene, head);
}

/// The whole log written anew, every hash right, by somebody with another key.
fn rewritten(scene: &Scene, head: &str) {
    let (other, copy) = (Scene::new(), copied(&scene.dir()));
    let proxy = other.start("");
    stop(proxy);
    fs::remove_dir_all(copy.path()).unwrap();
    fs::rename(other.dir(), copy.path()).unwrap();
    let ours = scene.verify(copy.path(), &[]);
    assert!(ours.status == 1 && ours.said.contains("none of those that were given"), "{}", ours.said);
    assert_ne!(scene.verify_by_the_guide(copy.path(), &[]).status, 0);
    // With its own key it is in itself right, and is not the log that was expected.
    assert_eq!(other.verify(copy.path(), &[]).status, 0);
    let expected = other.verify(copy.path(), &["--expect", head]);
    assert!(expected.status == 1 && expected.said.contains("is not in the log"), "{}", expected.said);
    assert_ne!(other.verify_by_the_guide(copy.path(), &[head]).status, 0);
}

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.jsonl"))
}

fn edit(dir: &Path, number: u64, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(segment(dir, number)).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(segment(dir, number), lines.join("\n") + "\n").unwrap();
}

fn copied(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// The log is whole, and nothing shows whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_nothing_could_be_checked_with_is_told_first() {
    let scene = Scene::new();
    let proxy = scene.start("");
    Client::new(proxy.port(), "demo").set("key", "value").await.unwrap();
    wait::until("the call should be recorded", || (!scene.kind("call").is_empty()).then_some(()));
    let copy = copied(&scene.dir());
    let open = scene.verify(copy.path(), &[]);
    assert_eq!(open.status, 0, "{}", open.said);
    let first = format!(
        "{}: intact, but there is no signature in it that --key could be checked with\n",
        copy.path().display()
    );
    assert!(open.said.starts_with(&first), "{}", open.said);
    stop(proxy);
    let ended = scene.verify(&scene.dir(), &[]);
    let first = format!("{}: intact\n", scene.dir().display());
    assert!(ended.said.starts_with(&first) && ended.said.contains("as given"), "{}", ended.said);
}

#[test]
fn whoever_calls_it_wrongly_is_told() {
    let scene = Scene::new();
    let nothing = scene.verify(Path::new("/nonexistent"), &[]);
    assert_eq!(nothing.status, 2, "{}", nothing.said);
    assert_eq!(nothing.said, "prism: /nonexistent: there is no such file or folder\n");
    let lock = scene.key();
    let other = scene.verify(&lock, &[]);
    assert_eq!(other.status, 2, "{}", other.said);
    assert!(
        other.said.starts_with(&format!("prism: {}: a segment is named by its number", lock.display())),
        "{}",
        other.said
    );
    fs::create_dir(scene.dir()).unwrap();
    let empty = scene.verify(&scene.dir(), &[]);
    assert!(empty.status == 2 && empty.said.contains("no segment"), "{}", empty.said);
    assert_eq!(scene.verify(&scene.dir(), &["--expect", "abc"]).status, 2);
    assert_eq!(scene.verify(&scene.dir(), &["--key", "/nonexistent"]).status, 2);
}
