//! What makes work for its own sake ends the connection, and what clients do does not.

use crate::peer::*;

/// What is sent the n-th time.
type Frames = Box<dyn Fn(u32) -> Vec<u8>>;

/// Sends it again and again; how often until the connection ended.
async fn until_it_ends(pair: &mut Pair, bytes: impl Fn(u32) -> Vec<u8>, most: u32) -> Option<u32> {
    for at in 0..most {
        pair.send(bytes(at)).await;
        for (_, mut respond) in pair.accepted.drain(..) {
            ok(&mut respond, true);
        }
        if at.is_multiple_of(100) {
            pair.frames().await;
        }
        if pair.ended.is_some() {
            return Some(at);
        }
    }
    None
}

#[tokio::test]
async fn floods_end_the_connection() {
    let empty_settings = |_: u32| frame(SETTINGS, 0, 0, []);
    let cases: [(&str, Frames); 9] = [
        ("PING", Box::new(|_| frame(PING, 0, 0, [0; 8]))),
        ("answers to PING", Box::new(|_| frame(PING, ACK, 0, [0; 8]))),
        ("SETTINGS", Box::new(empty_settings)),
        ("empty DATA", Box::new(|_| frame(DATA, 0, 1, []))),
        ("padding alone", Box::new(|_| frame(DATA, PADDED, 1, [1, 0]))),
        ("PRIORITY", Box::new(|_| frame(PRIORITY, 0, 1, [0, 0, 0, 3, 1]))),
        ("WINDOW_UPDATE", Box::new(|_| window_update(0, 1))),
        ("RST_STREAM of what is gone", Box::new(|_| frame(RST_STREAM, 0, 1, [0; 4]))),
        ("unknown frames", Box::new(|_| frame(0xfe, 0, 0, []))),
    ];
    for (why, bytes) in cases {
        let mut pair = Pair::new().await;
        pair.send(open(1)).await;
        let held = pair.accepted.pop();
        let ended = until_it_ends(&mut pair, bytes, 20_000).await;
        assert!(ended.is_some_and(|at| (5_000..15_000).contains(&at)), "{why}: {ended:?}");
        drop(held);
    }
}

/// Of a stream that was reset from here: the peer may not know yet, but what it says costs as much.
#[tokio::test]
async fn floods_of_what_was_reset_end_the_connection() {
    let cases: [(&str, Vec<u8>); 4] = [
        ("HEADERS", frame(HEADERS, END_HEADERS | END_STREAM, 1, [])),
        ("HEADERS with fields", frame(HEADERS, END_HEADERS | END_STREAM, 1, field("a", "b"))),
        ("empty DATA", frame(DATA, 0, 1, [])),
        ("padding alone", frame(DATA, PADDED, 1, [1, 0])),
    ];
    for (why, bytes) in cases {
        let mut pair = Pair::new().await;
        pair.send(frame(HEADERS, END_HEADERS, 1, field(":method", "GET"))).await;
        let ended = until_it_ends(&mut pair, |_| bytes.clone(), 20_000).await;
        assert!(ended.is_some_and(|at| (5_000..15_000).contains(&at)), "{why}: {ended:?}");
    }
}

#[tokio::test]
async fn header_blocks_without_an_end_end_it() {
    for size in [0_usize, 1, 16_384] {
        let mut pair = Pair::new().await;
        pair.frames().await;
        pair.send(frame(HEADERS, 0, 1, get())).await;
        for _ in 0..100 {
            pair.send(frame(CONTINUATION, 0, 1, vec![0; size])).await;
        }
        pair.has_ended(ENHANCE_YOUR_CALM, &format!("crumbs of {size}")).await;
    }
}

/// Each of which would have every stream's window counted anew.
#[tokio::test]
async fn settings_are_counted_and_not_their_frames() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let many: Vec<u8> = (0..2_700).flat_map(|at| setting(4, at)).collect();
    let ended = until_it_ends(&mut pair, |_| frame(SETTINGS, 0, 0, &many), 100).await;
    assert!(ended.is_some_and(|at| at < 5), "{ended:?}");
}

/// Blocks that are decoded for nothing: of a stream that was reset, and behind the end.
#[tokio::test]
async fn headers_that_nobody_wants_end_it() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    pair.accepted.clear();
    let ended = until_it_ends(&mut pair, |_| open(1), 20_000).await;
    assert!(ended.is_some_and(|at| (5_000..15_000).contains(&at)), "{ended:?}");

    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let _held = pair.accepted.pop();
    pair.server.graceful_shutdown();
    let ping = pair.frames().await.pop().unwrap();
    pair.send(frame(PING, ACK, 0, &ping.payload)).await;
    let ended = until_it_ends(&mut pair, |at| open(2 * at + 3), 20_000).await;
    assert!(ended.is_some_and(|at| (5_000..15_000).contains(&at)), "{ended:?}");
}

/// A reference of a byte to a large field (the "HPACK bomb"): it is counted as what it stands for, and costs no more than its bytes.
#[tokio::test]
async fn references_to_large_fields_are_counted() {
    let mut pair = Pair::new().await;
    let mut block = get();
    block.push(0x40);
    block.extend(&field("x", &"v".repeat(3_000))[1..]);
    block.extend(vec![0x80 | 62; 10_000]);
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block)).await;
    let answer = pair.only(HEADERS).await;
    assert!(answer.payload.windows(3).any(|text| text == b"431"), "{answer:?}");
    assert!(pair.accepted.is_empty());
}

#[tokio::test]
async fn more_streams_than_there_may_be_are_refused() {
    let mut pair = Pair::new().await;
    pair.frames().await;
    pair.send((0..9).flat_map(|at| open(2 * at + 1)).collect::<Vec<_>>()).await;
    assert_eq!(pair.accepted.len(), 8);
    pair.was_reset(17, REFUSED_STREAM, "the ninth").await;
    // Its fields go into the table all the same (RFC 7541 section 6.2.1), and so do trailers that come too late.
    let indexed = |name: &str| [&[0x40][..], &field(name, "x")[1..]].concat();
    pair.send(frame(HEADERS, END_HEADERS, 19, [get(), indexed("first")].concat())).await;
    pair.was_reset(19, REFUSED_STREAM, "the tenth").await;
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 19, indexed("second"))).await;
    assert!(pair.frames().await.is_empty());
    // One that is over makes room, whichever way it went.
    pair.send(frame(RST_STREAM, 0, 1, [0; 4])).await;
    pair.send(frame(HEADERS, END_HEADERS, 21, [&get()[..], &[0x80 | 62, 0x80 | 63]].concat())).await;
    assert_eq!(pair.accepted.len(), 9);
    let headers = pair.accepted[8].0.headers();
    assert_eq!((&headers["first"], &headers["second"]), (&"x".parse().unwrap(), &"x".parse().unwrap()));
}

/// However streams end, whoever serves them may not have noticed yet: there is a bound to that, too.
#[tokio::test]
async fn streams_that_are_over_and_held_are_bounded() {
    let resets: [(&str, Frames); 2] = [
        ("its client", Box::new(|stream| frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes()))),
        ("us", Box::new(|stream| window_update(stream, 0))),
    ];
    for (why, reset) in resets {
        let mut pair = Pair::new().await;
        pair.frames().await;
        let mut refused = 0;
        for at in 0..3_000 {
            let stream = 2 * at + 1;
            pair.send(open(stream)).await;
            pair.send(reset(stream)).await;
            let refusal =
                |frame: &Frame| frame.kind == RST_STREAM && code_of(&frame.payload) == REFUSED_STREAM;
            refused += pair.frames().await.iter().filter(|frame| refusal(frame)).count();
            assert!(pair.ended.is_none(), "{why}: {:?}", pair.ended);
        }
        assert!((1_000..1_100).contains(&pair.accepted.len()), "{why}: {}", pair.accepted.len());
        assert_eq!(refused, 3_000 - pair.accepted.len(), "{why}");
        // As soon as they are noticed there is room.
        pair.accepted.drain(..10);
        let before = pair.accepted.len();
        pair.send((0..8).flat_map(|at| open(2 * at + 10_001)).collect::<Vec<_>>()).await;
        assert_eq!(pair.accepted.len(), before + 8, "{why}");
    }
}

#[tokio::test]
async fn what_clients_do_is_no_flood() {
    let mut pair = Pair::new().await;
    // Calls, each with two window updates, a PING, and given up in the end.
    let bytes = |at: u32| {
        let stream = 2 * at + 1;
        let more =
            [open(stream), frame(DATA, 0, stream, b"x"), window_update(0, 1), window_update(stream, 1)];
        [more.concat(), frame(PING, 0, 0, [0; 8]), frame(RST_STREAM, 0, stream, [0; 4])].concat()
    };
    assert_eq!(until_it_ends(&mut pair, bytes, 20_000).await, None);
    // A download as Go's client reads it: an update of both windows for each 4 KiB.
    let mut pair = Pair::new().await;
    pair.send(request(1)).await;
    let (_, mut respond) = pair.accepted.pop().unwrap();
    ok(&mut respond, false);
    for _ in 0..1_500 {
        respond.send_data(bytes::Bytes::from(vec![0; 16_384]));
        let updates = [window_update(0, 4_096), window_update(1, 4_096)].concat();
        pair.send(updates.repeat(4)).await;
        pair.frames().await;
    }
    pair.lives("24 MB").await;
    // And a quiet one that is asked now and then whether it lives.
    let mut pair = Pair::new().await;
    for _ in 0..30 {
        pair.send((0..1_000).flat_map(|_| frame(PING, 0, 0, [0; 8])).collect::<Vec<_>>()).await;
        pair.frames().await;
        pair.server.forgive();
    }
    pair.lives("time passed").await;
}

/// Hours of a call that says something small now and then, each way, as clients make of it: Go's asks with a PING how long the way
/// is whenever it reads, and nghttp2's updates windows for whatever it has read.
#[tokio::test]
async fn long_calls_of_small_messages_are_no_flood() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, mut respond) = pair.one();
    let mut body = request.into_body();
    ok(&mut respond, false);
    for _ in 0..30_000 {
        pair.send([frame(DATA, 0, 1, b"question"), frame(PING, 0, 0, [2, 4, 16, 16, 9, 14, 7, 7])].concat())
            .await;
        let question = piece(&mut body).await.unwrap().unwrap().unwrap();
        body.release(question.len());
        respond.send_data(bytes::Bytes::from_static(b"answer"));
        pair.send([window_update(0, 6), window_update(1, 6)].concat()).await;
        pair.frames().await;
    }
    pair.lives("a call of 30,000 messages").await;
}

/// Calls that are given up as fast as they are made, by hundreds at once, cost the others nothing.
#[tokio::test]
async fn many_calls_that_are_given_up_at_once_refuse_no_other() {
    let mut pair = Pair::with(prism_http2::Settings { max_concurrent_streams: 100, ..settings() }).await;
    let mut next = 1;
    for round in 0..50 {
        let mut bytes = Vec::new();
        for _ in 0..500 {
            bytes.extend([open(next), frame(DATA, 0, next, b"x")].concat());
            bytes.extend(frame(RST_STREAM, 0, next, CANCEL.to_be_bytes()));
            next += 2;
        }
        for _ in 0..100 {
            bytes.extend(request(next));
            next += 2;
        }
        // Firefox and older Chromium: what depends on what; and what has taken its place.
        bytes.extend(frame(PRIORITY, 0, next + 100, [0, 0, 0, 0, 200]));
        bytes.extend(frame(0x10, 0, 0, [0, 0, 0, 1, b'u', b'=', b'3']));
        pair.send(bytes).await;
        let (mut answered, mut failed) = (0, 0);
        for (_, mut respond) in pair.accepted.drain(..) {
            match ok(&mut respond, true) {
                true => answered += 1,
                false => failed += 1,
            }
        }
        assert_eq!(answered, 100, "round {round}: {failed}");
        let frames = pair.frames().await;
        assert_eq!(frames.iter().filter(|frame| frame.kind == HEADERS).count(), 100);
        assert!(frames.iter().all(|frame| frame.kind != RST_STREAM), "round {round}");
    }
    pair.lives("25,000 calls given up").await;
}
