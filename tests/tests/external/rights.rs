//! What an authorizer has approved, and what comes of it when another one has to be asked.

use super::{
    at,
    authorizer::{Authorizer, no, yes},
    config, get, set, start,
};
use h2::RecvStream;
use prism_tests::{Proxy, client::http2, load::Load, wait, wire::framed};

async fn watch(proxy: &Proxy) -> RecvStream {
    let connection = http2::connect(proxy.port()).await;
    let head = http2::head(
        "/prism.kv.v1.KeyValueService/Watch",
        &[("x-caller", "owner"), ("x-prism-namespace", "demo")],
    );
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(head, false).unwrap();
    stream.send_data(framed(b""), true).unwrap();
    let response = wait::guard("a watch", response).await.unwrap();
    assert!(!response.headers().contains_key("grpc-status"), "{:?}", response.headers());
    // Its connection is driven for as long as the test runs.
    std::mem::forget(connection);
    response.into_body()
}

async fn goes_on(proxy: &Proxy, stream: &mut RecvStream) {
    let _ = set(proxy, "owner", "v").expect(200);
    let event = wait::guard("an event", stream.data()).await.unwrap().unwrap();
    assert!(!event.is_empty());
}

async fn ends(mut stream: RecvStream) -> String {
    wait::guard("the end of a watch", async {
        while let Some(piece) = stream.data().await {
            piece.unwrap();
        }
        stream.trailers().await.unwrap().unwrap()["grpc-status"].to_str().unwrap().to_owned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_another_authorizer_has_to_be_asked() {
    let (one, other) = (Authorizer::start(yes()), Authorizer::start(yes()));
    let with = |external: &str| config(external, "127.0.0.1:1");
    let proxy = start(&with(&at(&one.address)));
    let mut staying = watch(&proxy).await;
    // What it would say now does not matter: it is asked when a call begins.
    one.set(no(403));
    let _ = get(&proxy, "owner").expect(403);
    one.set(yes());
    goes_on(&proxy, &mut staying).await;
    // Nor does a change elsewhere, nor its being only listened to.
    proxy.hang_up(&with(&format!("shadow: true, {}", at(&one.address))));
    goes_on(&proxy, &mut staying).await;
    proxy.hang_up(&with(&at(&one.address)));
    goes_on(&proxy, &mut staying).await;

    proxy.hang_up(&with(&at(&other.address)));
    assert_eq!(ends(staying).await, "14");
    let again = watch(&proxy).await;
    let asked = other.asked();
    assert_eq!(asked[0].attributes.as_ref().unwrap().context_extensions["operation"], "watch");

    // Without any, nobody loses anything; when there is one again, what began without it does.
    proxy.hang_up(&with(""));
    let without = watch(&proxy).await;
    proxy.hang_up(&with(&at(&one.address)));
    assert_eq!(ends(without).await, "14");
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorizer_is_replaced_under_load_without_a_failure() {
    let authorizers = [Authorizer::start(yes()), Authorizer::start(yes())];
    let open = |external: &str| {
        config(external, "127.0.0.1:1").replace("key:owner', permissions", "anonymous', permissions")
    };
    let proxy = start(&open(&at(&authorizers[0].address)));
    let load = Load::start(proxy.port(), "demo", 8);
    for turn in 1..=20 {
        proxy.hang_up(&open(&at(&authorizers[turn % 2].address)));
        let before = load.answered();
        wait::until_async("calls go on", || async { (load.answered() > before + 20).then_some(()) }).await;
    }
    let outcome = load.stop().await;
    assert_eq!(outcome.lost(), Vec::<&str>::new());
    println!("{} calls through 20 changes of the authorizer, none failed", outcome.answered);
    assert!(authorizers.iter().all(|authorizer| !authorizer.asked().is_empty()));
}
