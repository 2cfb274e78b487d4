//! What docs/plugins.md shows of a plugin without the proxy: its commands, run, and what they print.

use numbers::Numbers;
use prism_plugin_sdk::{
    Hosted,
    server::{Address, ServeOptions, serve},
};
use prism_tests::{Proxy, free_port, tools, wait};
use serde_json::Value;
use std::{fs, net::SocketAddr, process::Command, sync::Arc};
use tokio::sync::oneshot;

/// The address that the guide's commands go to.
const SHOWN: &str = "127.0.0.1:50100";

/// A command of the guide, and what it says comes of it.
struct Shown {
    command: String,
    answer: Value,
}

/// The guide's calls to the plugin itself, in their order.
fn shown(guide: &str) -> Vec<Shown> {
    let blocks = guide.split("```console\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let transcripts = blocks.map(|(block, _)| format!("\n{block}"));
    transcripts
        .flat_map(|block| block.split("\n$ ").skip(1).map(str::to_owned).collect::<Vec<_>>())
        .filter(|call| call.contains(SHOWN))
        .map(|call| {
            // A command ends with its first line that does not go on.
            let end = call.match_indices('\n').find(|(at, _)| !call[..*at].ends_with('\\')).unwrap().0;
            let answer = serde_json::from_str(&call[end..]).unwrap_or_else(|error| panic!("{call}: {error}"));
            Shown { command: call[..end].to_owned(), answer }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_tried_without_the_proxy_as_the_guide_says() {
    let guide = fs::read_to_string(tools::repository().join("docs/plugins.md")).unwrap();
    let calls = shown(&guide);
    assert!(calls.len() >= 5, "only {} calls", calls.len());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let options = ServeOptions { address: Address::Tcp(address), ..ServeOptions::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(Arc::new(Hosted::<Numbers>::new()), options, async {
        drop(stopped.await);
    }));
    let grpcurl = tools::tool("grpcurl");
    let ran = tokio::task::spawn_blocking(move || {
        for Shown { command, answer } in calls {
            let arguments = command.strip_prefix("grpcurl ").expect("the guide calls with grpcurl");
            let line = format!("'{}' -connect-timeout 30 -max-time 30 {arguments}", grpcurl.display())
                .replace(SHOWN, &address.to_string());
            let printed = tools::succeed(Command::new("sh").args(["-c", &line]));
            let printed: Value = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}"));
            assert_eq!(printed, answer, "{command}");
        }
    });
    ran.await.unwrap();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

/// The guide's plugin behind a proxy: its own service, by its own descriptors, with no file at hand.
#[tokio::test(flavor = "multi_thread")]
async fn its_service_is_called_by_name_as_the_guide_says() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("numbers.sock");
    let options = ServeOptions { address: Address::Unix(socket.clone()), ..ServeOptions::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(Arc::new(Hosted::<Numbers>::new()), options, async {
        drop(stopped.await);
    }));
    let proxy = Proxy::start(&format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners: [{{ name: edge, address: '127.0.0.1:@listen@' }}]
plugins: [{{ name: numbers, type: sidecar, socket: '{}' }}]
namespaces: [{{ name: orders, backend: numbers, plugin: numbers, config: {{ first: 7, last: 10 }} }}]
",
        socket.display()
    ));
    wait::until("the plugin should serve", || {
        (proxy.admin().namespace("orders")["state"] == "ready").then_some(())
    });
    let guide = fs::read_to_string(tools::repository().join("docs/plugins.md")).unwrap();
    let line = |begin: &str| {
        let line = guide
            .lines()
            .find(|line| line.starts_with(begin) && line.contains("ake") && line.contains("count"));
        let line = line.unwrap_or_else(|| panic!("no such call: {begin}"));
        line.replace("127.0.0.1:50051", &format!("127.0.0.1:{}", proxy.port()))
    };
    let grpcurl = line("grpcurl ").replacen("grpcurl", &tools::tool("grpcurl").display().to_string(), 1);
    let curl = line("curl ").replacen("curl", &tools::tool("curl").display().to_string(), 1);
    let said = tokio::task::spawn_blocking(move || {
        [grpcurl, curl]
            .map(|line| tools::succeed(Command::new("sh").args(["-c", &line]).env("no_proxy", "*")))
    });
    let [by_name, in_json] = said.await.unwrap().map(|said| serde_json::from_str::<Value>(&said).unwrap());
    assert_eq!(by_name, serde_json::json!({ "numbers": ["7", "8"] }));
    assert_eq!(in_json, serde_json::json!({ "numbers": ["9", "10"] }));
    drop(proxy);
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
