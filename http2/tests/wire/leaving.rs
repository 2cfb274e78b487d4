//! How connections end.

use crate::peer::*;
use prism_http2::{Connection, Error, Reason};
use std::{future::poll_fn, task::Poll};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_end_that_loses_nothing() {
    let mut pair = Pair::new().await;
    pair.send(request(1)).await;
    pair.frames().await;
    pair.server.graceful_shutdown();
    pair.server.graceful_shutdown();
    let frames = pair.frames().await;
    let [goaway, ping] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(
        (goaway.kind, code_of(&goaway.payload), code_of(&goaway.payload[4..])),
        (GOAWAY, (1 << 31) - 1, NO_ERROR)
    );
    assert_eq!((ping.kind, ping.flags), (PING, 0));
    // It had not read that yet.
    pair.send([request(3), frame(PING, ACK, 0, &ping.payload)].concat()).await;
    assert_eq!(pair.accepted.len(), 2);
    let last = pair.only(GOAWAY).await;
    assert_eq!((code_of(&last.payload), code_of(&last.payload[4..])), (3, NO_ERROR));
    // What comes now comes too late, and is ignored; those that are there are served.
    pair.send(request(5)).await;
    assert_eq!(pair.accepted.len(), 2);
    assert!(pair.ended.is_none());
    for (_, respond) in &mut pair.accepted {
        assert!(ok(respond, true));
    }
    let frames = pair.frames().await;
    assert_eq!(frames.iter().filter(|frame| frame.kind == HEADERS).count(), 2);
    assert!(matches!(pair.ended, Some(None)), "{:?}", pair.ended);
}

#[tokio::test]
async fn a_client_that_leaves_is_served_first() {
    let mut pair = Pair::new().await;
    pair.send([request(1), frame(GOAWAY, 0, 0, [0; 8])].concat()).await;
    pair.frames().await;
    assert!(pair.ended.is_none());
    ok(&mut pair.one().1, true);
    let frames = pair.frames().await;
    assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [HEADERS, GOAWAY]);
    assert!(matches!(pair.ended, Some(None)));
}

#[tokio::test]
async fn an_end_at_once() {
    let mut pair = Pair::new().await;
    pair.send(request(1)).await;
    let (request, mut respond) = pair.one();
    pair.frames().await;
    pair.server.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    pair.has_ended(ENHANCE_YOUR_CALM, "from here").await;
    assert!(!ok(&mut respond, true));
    drop(request);
}

#[tokio::test]
async fn a_client_that_is_gone_ends_everything() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, mut respond) = pair.one();
    pair.client.shutdown().await.unwrap();
    pair.turn().await;
    assert!(matches!(pair.ended, Some(None)));
    assert!(matches!(piece(&mut request.into_body()).await, Some(Some(Err(Error::Closed)))));
    assert!(now(poll_fn(|cx| respond.poll_reset(cx))).await.is_some());
}

#[tokio::test]
async fn the_end_of_what_breaks_the_protocol_is_said_again_to_who_asks() {
    let mut pair = Pair::new().await;
    pair.send([request(1), frame(PING, 0, 1, [0; 8])].concat()).await;
    assert!(pair.accepted.is_empty(), "what came before it is not begun");
    assert!(matches!(pair.ended, Some(Some(Error::Connection(..)))));
    assert!(matches!(poll_fn(|cx| Poll::Ready(pair.server.poll_accept(cx))).await, Poll::Ready(None)));
}

#[tokio::test]
async fn what_is_no_preface_is_refused() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", b"PRI *", b""] {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        client.write_all(bytes).await.unwrap();
        drop(client);
        assert!(Connection::handshake(server, settings()).await.is_err(), "{bytes:?}");
    }
}

#[tokio::test]
async fn pings_are_answered_and_told() {
    let mut pair = Pair::new().await;
    pair.frames().await;
    let mut pinger = pair.server.pinger();
    for _ in 0..2 {
        assert!(pinger.send());
        assert!(!pinger.send(), "one at a time");
        let ping = pair.only(PING).await;
        assert!(now(poll_fn(|cx| pinger.poll_answer(cx))).await.is_none());
        pair.send(frame(PING, ACK, 0, b"12345678")).await;
        assert!(now(poll_fn(|cx| pinger.poll_answer(cx))).await.is_none(), "of another");
        pair.send(frame(PING, ACK, 0, &ping.payload)).await;
        assert!(now(poll_fn(|cx| pinger.poll_answer(cx))).await.is_some());
    }
    drop(pair);
    assert!(!pinger.send());
}

/// Requests that come behind the end are for another connection; they end neither this one nor what is served on it.
#[tokio::test]
async fn whatever_comes_behind_the_end_is_ignored() {
    let settings = prism_http2::Settings { connection_window: 65_535, ..settings() };
    let mut pair = Pair::with(settings).await;
    pair.send(request(1)).await;
    pair.server.graceful_shutdown();
    let ping = pair.frames().await.pop().unwrap();
    assert_eq!(ping.kind, PING);
    pair.send(frame(PING, ACK, 0, &ping.payload)).await;
    pair.frames().await;
    let mut given = 0;
    for stream in [3, 5, 7] {
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, fields(&[("sum", "1")]));
        let data = frame(DATA, 0, stream, vec![0; 15_000]);
        let update = window_update(stream, 1_000);
        let reset = frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes());
        pair.send([open(stream), data.clone(), update, data, trailers, reset].concat()).await;
        assert!(pair.ended.is_none(), "{stream}: {:?}", pair.ended);
        for frame in pair.frames().await {
            // RFC 9113 section 6.8: of these, too, "DATA frames MUST be counted toward the connection flow-control window".
            assert_eq!((frame.kind, frame.stream), (WINDOW_UPDATE, 0), "{stream}: {frame:?}");
            given += code_of(&frame.payload);
        }
    }
    assert!(given > 90_000 - 32_768, "{given}");
    assert_eq!(pair.accepted.len(), 1);
    assert!(ok(&mut pair.one().1, true));
    assert_eq!(pair.frames().await.iter().filter(|frame| frame.kind == HEADERS).count(), 1);
    assert!(matches!(pair.ended, Some(None)), "{:?}", pair.ended);
}
