//! What `trace` leaves behind: a request's id, its trace, its line in the access log.

use prism_tests::{
    DEMO, Proxy, Start, Transport,
    client::{
        curl,
        grpc::Client,
        http2::{self},
    },
    over_every_transport,
    plugin::Plugin,
    wait,
    wire::{field, framed},
};
use serde_json::Value;
use std::fs;
use tonic::Code;

over_every_transport! {
    the_plugin_continues_the_clients_trace
}

/// [`DEMO`] with its access log in a file.
fn logged() -> String {
    DEMO.replace("trace: {}", "trace: { access_log: { format: json, path: '@dir@/access.log' } }")
}

/// The access log's lines, once there are so many.
fn lines(proxy: &Proxy, count: usize) -> Vec<Value> {
    let file = proxy.folder().join("access.log");
    wait::until("the access log should be written", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        // The last line may be on its way.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let lines: Vec<Value> =
            whole.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_for_each_request() {
    let proxy = Proxy::start(&logged());
    let client = Client::new(proxy.port(), "demo");
    client.set("key", "value").await.unwrap();
    Client::new(proxy.port(), "nobody").get("key").await.unwrap_err();
    let refused = curl::run(&["-d", "key", &proxy.url("/v1/demo/get")]).expect(415).json();

    let lines = lines(&proxy, 3);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(
        (&lines[0]["namespace"], &lines[0]["operation"], &lines[0]["code"], &lines[0]["protocol"]),
        (&"demo".into(), &"set".into(), &"OK".into(), &"grpc".into())
    );
    assert_eq!((&lines[1]["code"], &lines[1]["reason"]), (&"NOT_FOUND".into(), &"UNKNOWN_NAMESPACE".into()));
    assert_eq!(lines[2]["reason"], refused["reason"]);
    assert_eq!(lines[2]["request_id"], refused["request_id"]);
    assert_eq!(lines[2]["http_status"], 415);
    let mut ids: Vec<&str> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

async fn the_plugin_continues_the_clients_trace(transport: Transport) {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("plugin.sock");
    let plugin = Plugin::start(&socket);
    let sidecar = format!("  - {}\nnamespaces:", transport.sidecar("traced", &socket));
    let template =
        logged().replace("namespaces:", &sidecar) + "  - { name: traced, backend: test, plugin: traced }\n";
    let proxy = Proxy::start(&template);
    let connection = http2::connect(proxy.port()).await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let namespace = ("x-prism-namespace", "traced");
    let message = framed(&field(1, b"echo"));
    let mut calls = 0;
    wait::until_async("the plugin should serve", || {
        calls += 1;
        let headers = [namespace, ("traceparent", parent.as_str()), ("x-request-id", "chosen")];
        let call =
            connection.call(http2::head("/prism.data.v1.DataService/Execute", &headers), message.clone());
        async { (call.await.unwrap().code() == Code::Ok).then_some(()) }
    })
    .await;

    let [call] = &plugin.recorder.complete()[..] else { panic!("one call") };
    let [traceparent] = &call.header("traceparent")[..] else { panic!("one traceparent") };
    assert_eq!(traceparent.split('-').nth(1), Some(TRACE), "{traceparent}");
    assert_eq!(traceparent.len(), parent.len());
    let line = lines(&proxy, calls).pop().unwrap();
    assert_eq!(line["trace_id"], TRACE);
    assert_eq!(call.header("x-request-id"), [line["request_id"].as_str().unwrap()]);
    assert_ne!(line["request_id"], "chosen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_no_call_up() {
    let template = DEMO.replace("trace: {}", "trace: { access_log: { path: stdout, buffer_bytes: 4096 } }");
    let proxy = Start::new(&template).stdout_unread().run();
    let client = Client::new(proxy.port(), "demo");
    // A pipe holds 64 KiB, a line some 300 bytes: this is several times what fits.
    for _ in 0..1000 {
        wait::guard("a call", client.set("key", "value")).await.unwrap();
    }
    assert!(proxy.admin().metric("prism_access_log_dropped_total", "") > 0.0);
}
