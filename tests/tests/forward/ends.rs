//! Requests that end before their answer.

use super::{CLIENTS, SPEAKS, all_to, routes, values};
use bytes::Bytes;
use prism_tests::{
    Proxy,
    backend::{Backend, Speaks},
    client::{http2, raw},
    wait, wire,
};
use std::{
    io::{ErrorKind, Read},
    process::Command,
};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_most_of_its_calls_is_sent_away_and_one_that_hedges_is_not() {
    let backend = Backend::start(Speaks::Http2);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http2")]));
    let give_up = async |connection: &http2::Connection| {
        let before = backend.requests().len();
        let mut send = connection.send.clone().ready().await?;
        let (response, mut stream) = send.send_request(http2::head("/never", &[]), true)?;
        // The head is there before it is taken back, or the connection is over.
        tokio::select! {
            ended = response => return ended.map(drop),
            () = wait::until_async("the call", || async { (backend.requests().len() > before).then_some(()) }) => {}
        }
        stream.send_reset(h2::Reason::CANCEL);
        Ok(())
    };
    let hedging = http2::connect(proxy.port()).await;
    for _ in 0..600 {
        let _ = hedging.call(http2::head("/", &[]), Bytes::new()).await.unwrap();
        give_up(&hedging).await.unwrap();
    }
    let nuisance = http2::connect(proxy.port()).await;
    let mut given_up = 0;
    while give_up(&nuisance).await.is_ok() {
        given_up += 1;
        assert!(given_up < 600, "it may go on for ever");
    }
    let ended = nuisance.driver.await.unwrap().unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{ended}");
    let _ = hedging.call(http2::head("/", &[]), Bytes::new()).await.unwrap();
}

/// Without a length an answer to HTTP/1.0 ends with its connection, so one that breaks off must not end it in good order.
#[test]
fn an_answer_that_breaks_off_is_a_reset_to_an_old_client() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for path in ["/break", "/break-chunked"] {
            let mut socket = raw::connect(proxy.port());
            raw::send(&mut socket, format!("GET {path} HTTP/1.0\r\nhost: a\r\n\r\n").as_bytes());
            let mut read = Vec::new();
            let ended = socket.read_to_end(&mut read).map_err(|error| error.kind());
            assert_eq!(ended, Err(ErrorKind::ConnectionReset), "{speaks:?} {path}: {read:?}");
        }
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, b"GET /large HTTP/1.0\r\nhost: a\r\n\r\n");
        let mut read = Vec::new();
        assert!(socket.read_to_end(&mut read).unwrap() > 8 << 20, "{speaks:?}");
    }
}
