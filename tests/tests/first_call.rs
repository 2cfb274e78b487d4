//! The configuration that the repository starts with, and the first calls that people make.

use prism_proto::kv::v1::{self as kv, watch_event::Kind};
use prism_tests::{Proxy, client::grpc::Client, example, wait};
use tonic::Code;

fn demo() -> Proxy {
    Proxy::start(&example(
        "config/prism.yaml",
        &[("127.0.0.1:50051", "127.0.0.1:@listen@"), ("127.0.0.1:50052", "127.0.0.1:@admin@")],
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_and_gets() {
    let proxy = demo();
    let client = Client::new(proxy.port(), "demo");
    assert_eq!(client.get("greeting").await.unwrap(), None);
    assert!(client.set("greeting", "hello").await.unwrap().applied);
    assert_eq!(client.get("greeting").await.unwrap().unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches() {
    let proxy = demo();
    let client = Client::new(proxy.port(), "demo");
    let mut watch = client.watch("seen/").await.unwrap();
    client.set("unseen", "0").await.unwrap();
    client.set("seen/1", "1").await.unwrap();
    let deleted: kv::DeleteResponse =
        client.typed("delete", &kv::DeleteRequest { keys: vec!["seen/1".into()] }).await.unwrap();
    assert_eq!(deleted.deleted, 1);
    let put = wait::guard("an event", watch.event()).await.unwrap().unwrap();
    assert_eq!((put.kind(), put.key.as_str(), &put.value[..]), (Kind::Put, "seen/1", &b"1"[..]));
    let delete = wait::guard("an event", watch.event()).await.unwrap().unwrap();
    assert_eq!((delete.kind(), delete.key.as_str()), (Kind::Delete, "seen/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_watch_does_not_disturb_others() {
    let proxy = demo();
    let client = Client::new(proxy.port(), "demo");
    let mut watch = client.watch("").await.unwrap();
    for number in 0..200 {
        client.set(&format!("key-{number}"), "value").await.unwrap();
    }
    let mut seen = 0;
    while seen < 200 {
        wait::guard("an event", watch.event()).await.unwrap().unwrap();
        seen += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_operation_is_an_answer() {
    let proxy = demo();
    let client = Client::new(proxy.port(), "demo");
    let failed = client.set("", "value").await.unwrap_err();
    assert_eq!(failed.code(), Code::InvalidArgument);
    let parameters = kv::SetRequest { key: "key".into(), ttl_ms: Some(0), ..Default::default() };
    let failed = client.typed::<_, kv::SetResponse>("set", &parameters).await.unwrap_err();
    assert_eq!(failed.code(), Code::InvalidArgument);
}
