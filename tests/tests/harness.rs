//! The harness itself: a recorder that overlooked a call would make every test that relies on it worthless.

use prism_proto::plugin::{DescribeResponse, ExecuteResponse, execute_response::Result as Outcome};
use prism_tests::{
    Process, Redis,
    client::http2::{self, Connection},
    memory::Peak,
    plugin::Plugin,
    tools, wait,
    wire::{field, framed, messages},
};
use prost::Message;
use std::{path::Path, process::Command};
use tokio::net::UnixStream;

async fn connect(socket: &Path) -> Connection {
    let socket = UnixStream::connect(socket).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    Connection { send, driver: tokio::spawn(connection) }
}

fn head(method: &str) -> http::Request<()> {
    http2::head(&format!("/prism.plugin.BackendPlugin/{method}"), &[("x-prism-namespace", "any")])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_answers_and_records() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("plugin.sock");
    let plugin = Plugin::start(&socket);
    let connection = connect(&socket).await;

    let answer = connection.call(head("Describe"), framed(b"")).await.unwrap();
    let described = DescribeResponse::decode(messages(&answer.body)[0]).unwrap();
    assert_eq!(described.operations.len(), 5);
    assert!(plugin.recorder.calls().is_empty());

    let echo = framed(&[field(1, b"echo"), field(3, b"hello")].concat());
    let answer = connection.call(head("Execute"), echo.clone()).await.unwrap();
    let decoded = ExecuteResponse::decode(messages(&answer.body)[0]).unwrap();
    assert_eq!(decoded.result, Some(Outcome::RawResult("hello".into())));
    assert_eq!(plugin.recorder.complete().len(), 1);
    assert_eq!(plugin.recorder.complete()[0].operation(), "echo");
    assert_eq!(plugin.recorder.complete()[0].header("x-prism-namespace"), ["any"]);

    let stream = framed(&[field(1, b"echo_stream"), field(3, b"hello")].concat());
    let answer =
        connection.call(head("ExecuteStream"), [stream.clone(), stream].concat().into()).await.unwrap();
    assert_eq!(messages(&answer.body).len(), 2);
    assert_eq!(plugin.recorder.complete().len(), 2);

    // Reset before its end: seen, and not complete.
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut cut) = send.send_request(head("Execute"), false).unwrap();
    http2::send_all(&mut cut, echo, false).await.unwrap();
    cut.send_reset(h2::Reason::CANCEL);
    drop(response);
    wait::until_async("the cut call should be recorded", || async {
        (plugin.recorder.calls().len() == 3).then_some(())
    })
    .await;
    assert_eq!(plugin.recorder.complete().len(), 2);
}

#[test]
fn a_process_that_grows_is_seen_to_grow() {
    let folder = tempfile::tempdir().unwrap();
    let script = "import time; time.sleep(1); kept = b'x' * (32 << 20); time.sleep(60)";
    let mut command = Command::new(tools::tool("python3"));
    let process = Process::spawn("python3", command.args(["-c", script]), &folder.path().join("python.log"));
    let peak = Peak::start(&process);
    wait::until("the peak should rise", || (peak.rise() > 24 << 20).then_some(()));
}

#[test]
fn redis_starts_and_stops() {
    let redis = Redis::start();
    assert_eq!(redis.cli(&["set", "key", "value"]).trim(), "OK");
    assert_eq!(redis.cli(&["get", "key"]).trim(), "value");
}
