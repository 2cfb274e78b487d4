//! Requests that end before their answer.

use super::{CLIENTS, SPEAKS, all_to, routes, values};
use prism_tests::{
    Proxy,
    backend::{Backend, Speaks},
    client::http2,
    wait, wire,
};
use std::process::Command;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_resets_reach_the_service() {
    let backend = Backend::start(Speaks::Http2);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http2")]));
    let connection = http2::connect(proxy.port()).await;
    let head = http2::head("/never", &[("grpc-timeout", "300m")]);
    let answer = connection.call(head, wire::framed(b"x")).await.unwrap();
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    wait::until("the service hears of the deadline", || (backend.cancelled() == 1).then_some(()));
    let asked = backend.requests();
    let passed = values(&asked[0], "grpc-timeout")[0];
    let micros: u64 = passed.strip_suffix('u').unwrap().parse().unwrap();
    assert!((1..=300_000).contains(&micros), "{passed}");

    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, stream) = send.send_request(http2::head("/never", &[]), true).unwrap();
    let waiting = tokio::spawn(response);
    wait::until("the call is there", || (backend.requests().len() == 2).then_some(()));
    let mut stream = stream;
    stream.send_reset(h2::Reason::CANCEL);
    let _ = waiting.await;
    wait::until("the service hears of the reset", || (backend.cancelled() == 2).then_some(()));
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_the_service() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for (count, version) in CLIENTS.iter().enumerate() {
            let mut child =
                Command::new("curl").args(["-sS", version, &proxy.url("/never")]).spawn().unwrap();
            wait::until("the request is there", || (backend.requests().len() > count).then_some(()));
            child.kill().unwrap();
            child.wait().unwrap();
            wait::until("its end is seen", || (backend.cancelled() > count).then_some(()));
        }
    }
}
