//! A plugin in C, built with the system's compiler against the header alone: what a plugin is does not depend on a
//! Rust compiler.

mod common;

use bytes::Bytes;
use common::{Unwatched, cc};
use futures_util::{StreamExt, stream};
use prism_plugin_abi::{
    CallContext, Code, Data, HealthStatus, Initialize, InstanceId, Kind, Payload, Plugin, Request, Scope,
};
use prism_plugin_envelope::control::Decoded;
use prism_plugin_loader::{Generations, check, load};
use std::{path::Path, sync::Arc};

async fn plugin() -> impl Plugin {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/examples/echo.c");
    let library = cc(folder.path(), &source);
    let checked = check(&library).expect("it is a plugin");
    let loaded = load(checked, &Generations::default(), 1, Arc::new(Unwatched)).expect("it loads");
    Decoded::new(loaded.plugin).await.expect("it says what it is")
}

fn initialize(instance: u64) -> Initialize {
    Initialize { instance: InstanceId(instance), namespace: "ns".into(), ..Initialize::default() }
}

fn context(instance: u64) -> CallContext {
    CallContext { instance: InstanceId(instance), ..CallContext::default() }
}

fn request(operation: &'static str, pieces: &[Bytes]) -> Request {
    let params = Data::Raw(pieces.iter().cloned().collect());
    Request { operation: operation.into(), params, ..Request::default() }
}

fn raw(data: Data) -> Payload {
    match data {
        Data::Raw(payload) => payload,
        other => panic!("not raw: {other:?}"),
    }
}

#[tokio::test]
async fn it_follows_the_protocol() {
    let plugin = plugin().await;
    let description = plugin.describe();
    assert_eq!((&*description.name, &*description.version), ("echo-c", "1.0.0"));
    let operations: Vec<_> = description
        .operations
        .iter()
        .map(|info| (&*info.name, info.kind, info.idempotent, info.streaming(), info.raw))
        .collect();
    assert_eq!(
        operations,
        [("echo", Kind::Read, true, false, true), ("echo_stream", Kind::Read, false, true, true)]
    );

    // Instances stand beside each other, and a second attempt changes nothing.
    for instance in [1, u64::MAX, 1] {
        plugin.initialize(initialize(instance)).await.unwrap();
        assert_eq!(plugin.health(InstanceId(instance)).await.status, HealthStatus::Healthy);
    }
    let stranger = plugin.execute(context(2), request("echo", &[])).await.unwrap_err();
    assert_eq!((stranger.code, stranger.scope), (Code::FailedPrecondition, Scope::Channel));
    let unknown = plugin.execute(context(1), request("ehco", &[])).await.unwrap_err();
    assert_eq!((unknown.code, unknown.scope), (Code::Unimplemented, Scope::Channel));
    let opened =
        plugin.execute_stream(context(2), request("echo_stream", &[]), stream::empty().boxed()).await;
    assert_eq!(opened.map(|_| ()).unwrap_err().code, Code::FailedPrecondition);
    let typed = Data::Typed { type_url: "t/x".into(), value: Bytes::from_static(b"x").into() };
    let typed = Request { operation: "echo".into(), params: typed, ..Request::default() };
    let refused = plugin.execute(context(1), typed).await.unwrap_err();
    assert_eq!((refused.code, refused.scope), (Code::InvalidArgument, Scope::Operation));
    // It counts nothing, and says so.
    assert_eq!(plugin.metrics(InstanceId(1)).await.unwrap_err().code, Code::Unimplemented);

    plugin.shutdown(InstanceId(1)).await;
    assert_eq!(plugin.health(InstanceId(1)).await.status, HealthStatus::Unhealthy);
    let retired = plugin.execute(context(1), request("echo", &[])).await.unwrap_err();
    assert_eq!(retired.code, Code::FailedPrecondition);
    plugin.execute(context(u64::MAX), request("echo", &[])).await.unwrap();
}

#[tokio::test]
async fn it_copies_nothing() {
    let plugin = plugin().await;
    plugin.initialize(initialize(7)).await.unwrap();
    // 16 MiB as HTTP/2 brings them, and other sizes.
    for (pieces, len) in [(0, 0), (1, 1), (1, 16 << 20), (1024, 16 << 10)] {
        let sent: Vec<Bytes> = (0..pieces).map(|number| Bytes::from(vec![number as u8; len])).collect();
        let back = raw(plugin.execute(context(7), request("echo", &sent)).await.unwrap());
        let places = |bytes: &Bytes| (bytes.as_ptr(), bytes.len());
        assert!(back.pieces().map(places).eq(sent.iter().map(places)), "{pieces} of {len}");
    }
}

#[tokio::test]
async fn its_streams_are_pulled() {
    let plugin = plugin().await;
    plugin.initialize(initialize(7)).await.unwrap();
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let rest = stream::unfold(receive, |mut receive| async move {
        let message = receive.recv().await?;
        Some((Ok(message), receive))
    });
    let first = request("echo_stream", &[Bytes::from_static(b"first")]);
    let mut answers = plugin.execute_stream(context(7), first, rest.boxed()).await.unwrap();
    assert_eq!(raw(answers.next().await.unwrap().unwrap()).into_bytes(), "first");
    assert!(futures_util::poll!(answers.next()).is_pending());
    for text in ["second", "", "third"] {
        send.send(request("", &[Bytes::from_static(text.as_bytes())])).await.unwrap();
        assert_eq!(raw(answers.next().await.unwrap().unwrap()).into_bytes(), text);
    }
    // Dropped half-way: the source goes with it.
    drop(answers);
    assert!(send.is_closed());

    let ended = request("echo_stream", &[]);
    let answers = plugin.execute_stream(context(7), ended, stream::empty().boxed()).await.unwrap();
    assert_eq!(answers.count().await, 1);
    let never_polled = request("echo_stream", &[Bytes::from(vec![0; 1 << 20])]);
    drop(plugin.execute_stream(context(7), never_polled, stream::empty().boxed()).await.unwrap());
}
