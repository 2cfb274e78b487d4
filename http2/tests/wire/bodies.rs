//! Bodies both ways, and what becomes of streams that are given up.

use crate::peer::*;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use prism_http2::Error;
use std::{future::poll_fn, sync::Arc};

fn headers(frames: &[Frame]) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.kind == HEADERS).collect()
}

fn body(frames: &[Frame], stream: u32) -> Vec<u8> {
    let data = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
    data.flat_map(|frame| frame.payload.clone()).collect()
}

#[tokio::test]
async fn a_body_and_its_trailers_come_as_they_were_sent() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, _respond) = pair.one();
    let mut body = request.into_body();
    assert!(!body.is_end_stream());
    assert!(piece(&mut body).await.is_none());
    pair.send(frame(DATA, 0, 1, b"one")).await;
    assert_eq!(piece(&mut body).await.unwrap().unwrap().unwrap(), "one");
    assert!(piece(&mut body).await.is_none());
    pair.send(frame(DATA, 0, 1, b"two")).await;
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(&[("sum", "7")]))).await;
    assert!(!body.is_end_stream());
    assert_eq!(piece(&mut body).await.unwrap().unwrap().unwrap(), "two");
    assert!(piece(&mut body).await.unwrap().is_none());
    assert_eq!(trailers(&mut body).await.unwrap().unwrap().unwrap()["sum"], "7");
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn what_is_all_there_comes_with_its_request() {
    let mut pair = Pair::new().await;
    let both =
        [open(1), open(3), frame(DATA, END_STREAM, 1, b"first"), frame(DATA, END_STREAM, 3, b"")].concat();
    pair.send(both).await;
    let (first, _one) = pair.accepted.remove(0);
    let mut first = first.into_body();
    assert_eq!(piece(&mut first).await.unwrap().unwrap().unwrap(), "first");
    assert!(piece(&mut first).await.unwrap().is_none());
    assert!(trailers(&mut first).await.unwrap().unwrap().is_none());
    // Not before it was read: it came with an empty frame, and goes on with one.
    let mut none = pair.one().0.into_body();
    assert!(!none.is_end_stream());
    assert!(piece(&mut none).await.unwrap().is_none());
    assert!(none.is_end_stream());
}

#[tokio::test]
async fn what_was_promised_must_come() {
    let promise = |length: &str| [get(), field("content-length", length)].concat();
    for (length, pieces, good) in [
        ("4", &[&b"body"[..]][..], true),
        ("4", &[b"bo", b"dy"], true),
        ("0", &[b""], true),
        ("5", &[b"body"], false),
        ("3", &[b"body"], false),
        ("3", &[b"bo", b"dy"], false),
        ("4", &[b""], false),
    ] {
        let mut pair = Pair::new().await;
        pair.send(frame(HEADERS, END_HEADERS, 1, promise(length))).await;
        pair.frames().await;
        for (at, piece) in pieces.iter().enumerate() {
            let end = if at + 1 == pieces.len() { END_STREAM } else { 0 };
            pair.send(frame(DATA, end, 1, piece)).await;
        }
        if good {
            pair.lives(length).await;
        } else {
            pair.was_reset(1, PROTOCOL_ERROR, length).await;
        }
    }
    // By trailers.
    let mut pair = Pair::new().await;
    pair.send(frame(HEADERS, END_HEADERS, 1, promise("3"))).await;
    pair.frames().await;
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(&[("a", "b")]))).await;
    pair.was_reset(1, PROTOCOL_ERROR, "trailers before what was promised").await;
}

#[tokio::test]
async fn an_answer_is_head_body_and_trailers() {
    let mut pair = Pair::new().await;
    pair.send(request(1)).await;
    let (_, mut respond) = pair.one();
    let mut head = HeaderMap::new();
    head.insert("content-type", HeaderValue::from_static("application/grpc"));
    assert!(respond.send_head(StatusCode::OK, &head, false));
    respond.send_data(Bytes::from_static(b"small"));
    respond.send_data(Bytes::from(vec![b'x'; 20_000]));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    respond.send_end(Some(trailers));
    let frames = pair.frames().await;
    assert_eq!(body(&frames, 1).len(), 20_005);
    assert!(frames.iter().all(|frame| frame.payload.len() <= 16_384));
    let heads = headers(&frames);
    assert_eq!(
        heads.iter().map(|frame| frame.flags).collect::<Vec<_>>(),
        [END_HEADERS, END_HEADERS | END_STREAM]
    );
    drop(respond);
    assert!(pair.frames().await.is_empty(), "it is over on both sides");
}

#[tokio::test]
async fn an_answer_without_trailers_ends_with_its_data() {
    let mut pair = Pair::new().await;
    pair.send([request(1), request(3)].concat()).await;
    let (_, mut one) = pair.accepted.remove(0);
    ok(&mut one, false);
    one.send_data(Bytes::from_static(b"x"));
    one.send_end(None);
    let (_, mut none) = pair.one();
    ok(&mut none, false);
    none.send_end(Some(HeaderMap::new()));
    let frames = pair.frames().await;
    assert_eq!(body(&frames, 1), b"x");
    for stream in [1, 3] {
        let last = frames.iter().rfind(|frame| frame.stream == stream).unwrap();
        assert_eq!((last.kind, last.flags, last.payload.len()), (DATA, END_STREAM, 0));
    }
}

#[tokio::test]
async fn a_long_head_is_cut_into_frames() {
    let mut pair = Pair::new().await;
    pair.send(request(1)).await;
    let (_, mut respond) = pair.one();
    let mut head = HeaderMap::new();
    for at in 0..5_u8 {
        let name = http::HeaderName::from_bytes(format!("x-{at}").as_bytes()).unwrap();
        head.insert(name, HeaderValue::from_bytes(&[b'a' + at; 10_000]).unwrap());
    }
    respond.send_head(StatusCode::OK, &head, true);
    let frames: Vec<_> = pair.frames().await.into_iter().filter(|frame| frame.stream == 1).collect();
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.flags)).collect();
    assert_eq!(
        kinds,
        [(HEADERS, END_STREAM), (CONTINUATION, 0), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]
    );
    let block: Vec<u8> = frames.into_iter().flat_map(|frame| frame.payload).collect();
    assert!(block.len() > 50_000 && block.len() < 50_200);
}

#[tokio::test]
async fn an_answer_that_is_given_up_is_cancelled() {
    let mut pair = Pair::new().await;
    pair.frames().await;
    pair.send(request(1)).await;
    drop(pair.one());
    pair.was_reset(1, CANCEL, "before its head").await;
    pair.send(request(3)).await;
    let (_, mut respond) = pair.one();
    ok(&mut respond, false);
    drop(respond);
    pair.was_reset(3, CANCEL, "in its body").await;
    pair.send(request(5)).await;
    let (_, mut respond) = pair.one();
    respond.reset(8.into());
    respond.reset(1.into());
    drop(respond);
    pair.was_reset(5, CANCEL, "once").await;
}

#[tokio::test]
async fn an_answer_that_is_given_up_is_cancelled_whoever_reads_its_request() {
    let mut pair = Pair::new().await;
    pair.frames().await;
    pair.send(open(1)).await;
    let (request, respond) = pair.one();
    drop(respond);
    pair.was_reset(1, CANCEL, "nobody answers").await;
    let mut body = request.into_body();
    assert!(matches!(piece(&mut body).await, Some(Some(Err(Error::Refused(_))))));
    drop(body);
    pair.lives("nobody reads").await;
}

#[tokio::test]
async fn a_request_that_is_not_wanted_is_declined_when_its_answer_is_over() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, mut respond) = pair.one();
    ok(&mut respond, true);
    drop(respond);
    assert!(pair.frames().await.iter().all(|frame| frame.kind != RST_STREAM), "somebody may read it");
    drop(request);
    pair.was_reset(1, NO_ERROR, "nobody does").await;
    // What its client had sent before it knew is nothing that is wrong.
    pair.send([frame(DATA, 0, 1, b"late"), window_update(1, 1)].concat()).await;
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(&[("late", "1")]))).await;
    pair.send(frame(RST_STREAM, 0, 1, [0; 4])).await;
    pair.lives("what came late").await;
}

#[tokio::test]
async fn a_client_that_gives_up_is_noticed() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, mut respond) = pair.one();
    assert!(now(poll_fn(|cx| respond.poll_reset(cx))).await.is_none());
    pair.send(frame(RST_STREAM, 0, 1, CANCEL.to_be_bytes())).await;
    assert!(now(poll_fn(|cx| respond.poll_reset(cx))).await.is_some());
    let mut body = request.into_body();
    let failed = piece(&mut body).await.unwrap().unwrap().unwrap_err();
    assert_eq!(failed.to_string(), "the stream was reset by the peer: CANCEL");
    assert!(!ok(&mut respond, true));
    respond.send_data(Bytes::from_static(b"x"));
    respond.send_end(None);
    assert_eq!(now(poll_fn(|cx| respond.poll_room(cx))).await, Some(None));
    drop((body, respond));
    pair.frames().await;
    pair.lives("a client that gave up").await;
}

#[tokio::test]
async fn a_request_that_is_given_up_before_it_is_accepted_never_shows() {
    let mut pair = Pair::new().await;
    pair.send([open(1), frame(RST_STREAM, 0, 1, [0; 4]), request(3)].concat()).await;
    assert_eq!(pair.accepted.len(), 1);
    assert_eq!(pair.server.take_given_up(), 1);
    assert_eq!(pair.server.take_given_up(), 0);
}

#[tokio::test]
async fn handles_outlive_their_connection() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, mut respond) = pair.one();
    drop(pair);
    let mut body = request.into_body();
    assert!(matches!(piece(&mut body).await, Some(Some(Err(_)))));
    body.release(10);
    assert!(!ok(&mut respond, true));
    assert!(now(poll_fn(|cx| respond.poll_reset(cx))).await.is_some());
}

#[tokio::test]
async fn a_body_of_nothing_ends() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, mut respond) = pair.one();
    let mut body = request.into_body();
    assert!(piece(&mut body).await.is_none());
    assert!(ok(&mut respond, false));
    pair.frames().await;
    pair.send(frame(DATA, END_STREAM, 1, [])).await;
    assert!(piece(&mut body).await.unwrap().is_none());
    assert!(trailers(&mut body).await.unwrap().unwrap().is_none());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    respond.send_end(Some(trailers));
    let end = pair.only(HEADERS).await;
    assert_eq!(end.flags, END_HEADERS | END_STREAM);
}

/// However many are reset at once, their clients have not read that when they end them.
#[tokio::test]
async fn trailers_of_many_that_were_reset_are_ignored() {
    let settings = prism_http2::Settings { max_concurrent_streams: 1_000, ..settings() };
    let mut pair = Pair::with(settings).await;
    let streams = || (0..1_000).map(|at| 2 * at + 1);
    pair.send(streams().flat_map(open).collect::<Vec<_>>()).await;
    assert_eq!(pair.accepted.len(), 1_000);
    pair.accepted.clear();
    pair.frames().await;
    let trailers = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, fields(&[("sum", "1")]));
    pair.send(streams().flat_map(|stream| frame(DATA, 0, stream, b"x")).collect::<Vec<_>>()).await;
    pair.send(streams().flat_map(trailers).collect::<Vec<_>>()).await;
    assert!(pair.frames().await.is_empty());
    pair.lives("what was in flight").await;
}

/// Whoever has a handle of a stream does not keep what was to be written to its client.
#[tokio::test]
async fn what_is_not_written_goes_with_its_connection() {
    struct Payload(Arc<[u8; 5_000]>);
    impl AsRef<[u8]> for Payload {
        fn as_ref(&self) -> &[u8] {
            &*self.0
        }
    }
    let mut pair = Pair::silent(settings(), 1_000).await;
    pair.send([frame(SETTINGS, 0, 0, []), request(1)].concat()).await;
    let (_, mut respond) = pair.one();
    let payload = Arc::new([7; 5_000]);
    ok(&mut respond, false);
    respond.send_data(Bytes::from_owner(Payload(Arc::clone(&payload))));
    respond.send_end(None);
    pair.turn().await;
    assert_eq!(Arc::strong_count(&payload), 2);
    drop(pair);
    assert_eq!(Arc::strong_count(&payload), 1);
    drop(respond);
}
