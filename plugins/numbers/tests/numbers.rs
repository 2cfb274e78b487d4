//! The plugin as the proxy calls it, in memory.

#![allow(clippy::unwrap_used)] // a test

use futures_util::StreamExt;
use numbers::{
    Numbers,
    v1::{TakeManyRequest, TakeManyResponse},
};
use prism_plugin_sdk::{
    Hosted,
    abi::{Code, Error},
    testing::{Host, Instance},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

async fn numbers(config: Value) -> Result<Instance, Error> {
    let host = Host::new(Arc::new(Hosted::<Numbers>::new()));
    host.namespace("orders").config(&config).initialize().await
}

#[tokio::test]
async fn numbers_come_one_after_the_other_and_end() {
    let numbers = numbers(json!({ "first": 7, "last": 8 })).await.unwrap();
    for expected in ["7", "8"] {
        assert_eq!(numbers.raw("peek", "", &[]).await.unwrap(), expected);
        assert_eq!(numbers.raw("take", "", &[]).await.unwrap(), expected);
    }
    let error = numbers.raw("take", "", &[]).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
}

#[tokio::test]
async fn several_come_at_once() {
    let numbers = numbers(json!({ "last": 5 })).await.unwrap();
    let got: TakeManyResponse = numbers.call("take_many", &TakeManyRequest { count: 3 }).await.unwrap();
    assert_eq!(got.numbers, [1, 2, 3]);
    // The request in parts: who calls, how long it waits.
    let call = numbers.request("take_many").params(&TakeManyRequest { count: 3 });
    let call = call.principal("spiffe://shop/orders").within(Duration::from_secs(5));
    assert_eq!(call.call::<TakeManyResponse>().await.unwrap().numbers, [4, 5]);
    for count in [0, 101] {
        let params = TakeManyRequest { count };
        let error = numbers.call::<_, TakeManyResponse>("take_many", &params).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn who_follows_sees_every_change() {
    let numbers = numbers(json!({})).await.unwrap();
    let mut follow = numbers.request("follow").bytes("").stream().await.unwrap();
    numbers.raw("take", "", &[]).await.unwrap();
    assert!(follow.next().await.unwrap().is_ok());
    let counted = numbers.metrics().await.unwrap().custom;
    let figures: Vec<_> = counted.iter().map(|(figure, value)| (&*figure.name, value)).collect();
    assert_eq!(figures, [("numbers_taken", 1.0), ("followers", 1.0), ("numbers_left", 999.0)]);
}

#[tokio::test]
async fn a_configuration_that_can_never_work_is_refused() {
    for config in [json!({ "first": 2, "last": 1 }), json!({ "frist": 1 }), json!({ "first": -1 })] {
        let error = numbers(config.clone()).await.err().unwrap();
        assert_eq!(error.code, Code::InvalidArgument, "{config}");
    }
}
