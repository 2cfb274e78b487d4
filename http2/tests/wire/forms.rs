//! What frames and requests must look like.

use crate::{chance::Chance, peer::*};
use http::{Method, Version};
use prism_http2::Settings;

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    let all: Vec<_> = GET.iter().chain(more).copied().collect();
    fields(&all)
}

fn without(name: &str) -> Vec<u8> {
    let rest: Vec<_> = GET.iter().filter(|(other, _)| *other != name).copied().collect();
    fields(&rest)
}

#[tokio::test]
async fn a_request_is_what_its_fields_say() {
    let mut pair = Pair::new().await;
    let block = with(&[("accept", "a"), ("accept", "b"), ("te", "trailers"), ("x-empty", "")]);
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block)).await;
    let (request, mut respond) = pair.one();
    assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_2));
    assert_eq!(request.uri().to_string(), "http://edge/a?b");
    let accepted: Vec<_> = request.headers().get_all("accept").iter().collect();
    assert_eq!(accepted, ["a", "b"]);
    assert_eq!(request.headers().len(), 4);
    assert!(request.body().is_end_stream());
    assert!(ok(&mut respond, true));
    let answer = pair.only(HEADERS).await;
    assert_eq!((answer.stream, answer.flags), (1, END_HEADERS | END_STREAM));
    // 200 is in the static table (RFC 7541 appendix A).
    assert_eq!(answer.payload, [0x88]);
    pair.lives("an answered request").await;
}

#[tokio::test]
async fn targets_without_authority_or_path() {
    for (block, target) in [
        (fields(&[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*")]), "*"),
        (fields(&[(":method", "CONNECT"), (":authority", "there:443")]), "there:443"),
        (without(":authority"), "/a?b"),
    ] {
        let mut pair = Pair::new().await;
        pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block)).await;
        assert_eq!(pair.one().0.uri().to_string(), target);
    }
}

#[tokio::test]
async fn malformed_requests_are_reset() {
    let pseudo_late =
        [field(":method", "GET"), field("a", "b"), field(":scheme", "http"), field(":path", "/")];
    let cases = [
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("two methods", with(&[(":method", "GET")])),
        ("two schemes", with(&[(":scheme", "http")])),
        ("two paths", with(&[(":path", "/")])),
        ("two authorities", with(&[(":authority", "edge")])),
        ("a pseudo-header behind a field", pseudo_late.concat()),
        ("an unknown pseudo-header", [field(":unknown", "x"), get()].concat()),
        ("the status of an answer", [field(":status", "200"), get()].concat()),
        ("an empty path", [without(":path"), field(":path", "")].concat()),
        ("a path without a slash", [without(":path"), field(":path", "a")].concat()),
        ("a whole URL as path", [without(":path"), field(":path", "http://edge/a")].concat()),
        ("an upper-case name", with(&[("Accept", "x")])),
        ("a name with a space", with(&[("a b", "x")])),
        ("an empty name", with(&[("", "x")])),
        ("a name with a colon", with(&[("a:b", "x")])),
        ("a value with a line's end", with(&[("a", "x\ny")])),
        ("a value with a carriage return", with(&[("a", "x\ry")])),
        ("a value with nothing", with(&[("a", "x\0y")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te with more than trailers", with(&[("te", "gzip, trailers")])),
        ("a method with a space", [without(":method"), field(":method", "G T")].concat()),
        ("an empty method", [without(":method"), field(":method", "")].concat()),
        ("CONNECT with a path", fields(&[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")])),
        (
            "CONNECT with a scheme",
            fields(&[(":method", "CONNECT"), (":authority", "a:1"), (":scheme", "http")]),
        ),
        ("CONNECT to nobody", fields(&[(":method", "CONNECT")])),
        ("CONNECT without a port", fields(&[(":method", "CONNECT"), (":authority", "a")])),
        ("CONNECT to an empty port", fields(&[(":method", "CONNECT"), (":authority", "a:")])),
        ("CONNECT to a port beyond all", fields(&[(":method", "CONNECT"), (":authority", "a:65536")])),
        ("CONNECT with userinfo", fields(&[(":method", "CONNECT"), (":authority", "u@a:1")])),
        (
            "CONNECT of another protocol, which was not offered",
            fields(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":authority", "a:1"),
                (":path", "/"),
            ]),
        ),
        ("an asterisk that is not of OPTIONS", [without(":path"), field(":path", "*")].concat()),
        ("userinfo", [without(":authority"), field(":authority", "user:word@edge")].concat()),
        ("an empty length", with(&[("content-length", "")])),
        ("a list of lengths", with(&[("content-length", "0, 0")])),
        ("the same length twice", with(&[("content-length", "0"), ("content-length", "0")])),
        ("a length that is none", with(&[("content-length", "abc")])),
        ("a signed length", with(&[("content-length", "+0")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "1")])),
        ("a length beyond all", with(&[("content-length", "99999999999999999999")])),
        ("a length without a body", with(&[("content-length", "1")])),
        ("nothing", vec![]),
    ];
    for (why, block) in cases {
        let mut pair = Pair::new().await;
        pair.frames().await;
        pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block)).await;
        pair.was_reset(1, PROTOCOL_ERROR, why).await;
        assert!(pair.accepted.is_empty(), "{why}");
    }
}

#[tokio::test]
async fn frames_that_end_the_connection() {
    let priority = |on: u32| [&on.to_be_bytes()[..], &[0]].concat();
    let cases = [
        ("HEADERS of stream 0", PROTOCOL_ERROR, frame(HEADERS, END_HEADERS, 0, get())),
        ("HEADERS of an even stream", PROTOCOL_ERROR, frame(HEADERS, END_HEADERS, 2, get())),
        ("a lower stream", PROTOCOL_ERROR, [request(5), request(3)].concat()),
        ("all padding", PROTOCOL_ERROR, frame(HEADERS, END_HEADERS | PADDED, 1, [6, 0, 0, 0, 0, 0])),
        (
            "padding that reaches into the priority",
            PROTOCOL_ERROR,
            frame(HEADERS, END_HEADERS | PADDED | 0x20, 1, [3, 0, 0, 0, 0, 0, 0]),
        ),
        (
            "DATA of a stream that no client can open",
            PROTOCOL_ERROR,
            [open(5), frame(DATA, 0, 2, [1])].concat(),
        ),
        (
            "RST_STREAM of a stream that no client can open",
            PROTOCOL_ERROR,
            [open(5), frame(RST_STREAM, 0, 4, [0; 4])].concat(),
        ),
        (
            "WINDOW_UPDATE of a stream that no client can open",
            PROTOCOL_ERROR,
            [open(5), window_update(4, 1)].concat(),
        ),
        ("PRIORITY that is short, of no stream yet", FRAME_SIZE_ERROR, frame(PRIORITY, 0, 1, [0; 4])),
        ("PRIORITY on itself, of no stream yet", PROTOCOL_ERROR, frame(PRIORITY, 0, 1, priority(1))),
        ("padding without a length", FRAME_SIZE_ERROR, frame(HEADERS, END_HEADERS | PADDED, 1, [])),
        ("a priority that is cut", FRAME_SIZE_ERROR, frame(HEADERS, END_HEADERS | 0x20, 1, [0; 4])),
        ("DATA of stream 0", PROTOCOL_ERROR, frame(DATA, 0, 0, [])),
        ("DATA of no stream yet", PROTOCOL_ERROR, frame(DATA, 0, 1, [])),
        ("DATA that is all padding", PROTOCOL_ERROR, [open(1), frame(DATA, PADDED, 1, [3, 0, 0])].concat()),
        ("RST_STREAM of no stream yet", PROTOCOL_ERROR, frame(RST_STREAM, 0, 1, [0; 4])),
        ("RST_STREAM of stream 0", PROTOCOL_ERROR, frame(RST_STREAM, 0, 0, [0; 4])),
        ("RST_STREAM that is short", FRAME_SIZE_ERROR, [open(1), frame(RST_STREAM, 0, 1, [0; 3])].concat()),
        ("PRIORITY of stream 0", PROTOCOL_ERROR, frame(PRIORITY, 0, 0, [0; 5])),
        ("PRIORITY that is short, of no stream yet", FRAME_SIZE_ERROR, frame(PRIORITY, 0, 1, [0; 4])),
        ("PRIORITY on itself, of no stream yet", PROTOCOL_ERROR, frame(PRIORITY, 0, 1, priority(1))),
        ("SETTINGS of a stream", PROTOCOL_ERROR, frame(SETTINGS, 0, 1, [])),
        ("SETTINGS that are cut", FRAME_SIZE_ERROR, frame(SETTINGS, 0, 0, [0; 5])),
        ("an acknowledgement that says something", FRAME_SIZE_ERROR, frame(SETTINGS, ACK, 0, [0; 6])),
        ("push that is neither", PROTOCOL_ERROR, frame(SETTINGS, 0, 0, setting(2, 2))),
        ("a window beyond all", FLOW_CONTROL_ERROR, frame(SETTINGS, 0, 0, setting(4, 1 << 31))),
        ("a frame below all", PROTOCOL_ERROR, frame(SETTINGS, 0, 0, setting(5, 16_383))),
        ("a frame beyond all", PROTOCOL_ERROR, frame(SETTINGS, 0, 0, setting(5, 1 << 24))),
        ("PUSH_PROMISE", PROTOCOL_ERROR, frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2])),
        ("PING of a stream", PROTOCOL_ERROR, frame(PING, 0, 1, [0; 8])),
        ("PING that is short", FRAME_SIZE_ERROR, frame(PING, 0, 0, [0; 7])),
        ("PING that is long", FRAME_SIZE_ERROR, frame(PING, 0, 0, [0; 9])),
        ("GOAWAY of a stream", PROTOCOL_ERROR, frame(GOAWAY, 0, 1, [0; 8])),
        ("GOAWAY that is short", FRAME_SIZE_ERROR, frame(GOAWAY, 0, 0, [0; 7])),
        ("WINDOW_UPDATE by nothing", PROTOCOL_ERROR, window_update(0, 0)),
        ("WINDOW_UPDATE of no stream yet", PROTOCOL_ERROR, window_update(1, 1)),
        ("WINDOW_UPDATE that is short", FRAME_SIZE_ERROR, frame(WINDOW_UPDATE, 0, 0, [0; 3])),
        ("a connection's window beyond all", FLOW_CONTROL_ERROR, window_update(0, (1 << 31) - 1)),
        ("CONTINUATION of nothing", PROTOCOL_ERROR, frame(CONTINUATION, END_HEADERS, 1, get())),
        (
            "CONTINUATION of what is whole",
            PROTOCOL_ERROR,
            [request(1), frame(CONTINUATION, END_HEADERS, 1, [])].concat(),
        ),
        (
            "CONTINUATION of another stream",
            PROTOCOL_ERROR,
            [frame(HEADERS, 0, 1, get()), frame(CONTINUATION, END_HEADERS, 3, [])].concat(),
        ),
        (
            "a block that is interrupted",
            PROTOCOL_ERROR,
            [frame(HEADERS, 0, 1, get()), frame(PING, 0, 0, [0; 8])].concat(),
        ),
        (
            "a block that an unknown frame interrupts",
            PROTOCOL_ERROR,
            [frame(HEADERS, 0, 1, get()), frame(0xfe, 0, 0, [])].concat(),
        ),
        (
            "a block that DATA interrupts",
            PROTOCOL_ERROR,
            [open(1), frame(HEADERS, 0, 3, get()), frame(DATA, 0, 1, [])].concat(),
        ),
        ("a longer frame than is taken", FRAME_SIZE_ERROR, frame(0xfe, 0, 0, vec![0; 16_385])),
        (
            "a field that is in no table",
            COMPRESSION_ERROR,
            frame(HEADERS, END_HEADERS, 1, [0xff, 0x80, 0x80, 1]),
        ),
        ("a block that is cut", COMPRESSION_ERROR, frame(HEADERS, END_HEADERS, 1, [0, 5, b'a'])),
        (
            "HEADERS of a stream that was reset by its client",
            STREAM_CLOSED,
            [open(1), frame(RST_STREAM, 0, 1, [0; 4]), request(1)].concat(),
        ),
    ];
    for (why, code, bytes) in cases {
        let mut pair = Pair::new().await;
        pair.frames().await;
        pair.send(bytes).await;
        pair.has_ended(code, why).await;
    }
}

#[tokio::test]
async fn the_first_frame_is_settings() {
    for first in [
        request(1),
        frame(PING, 0, 0, [0; 8]),
        frame(SETTINGS, ACK, 0, []),
        frame(0xfe, 0, 0, []),
        frame(DATA, 0, 1, []),
    ] {
        let mut pair = Pair::silent(settings(), 1 << 20).await;
        pair.send(&first).await;
        pair.has_ended(PROTOCOL_ERROR, &format!("{first:?}")).await;
    }
}

#[tokio::test]
async fn frames_that_end_a_stream() {
    let priority = |on: u32| [&on.to_be_bytes()[..], &[0]].concat();
    let cases = [
        ("WINDOW_UPDATE by nothing", PROTOCOL_ERROR, window_update(1, 0)),
        ("a window beyond all", FLOW_CONTROL_ERROR, window_update(1, (1 << 31) - 1)),
        ("PRIORITY that is short", FRAME_SIZE_ERROR, frame(PRIORITY, 0, 1, [0; 4])),
        ("PRIORITY on itself", PROTOCOL_ERROR, frame(PRIORITY, 0, 1, priority(1))),
        (
            "trailers that do not end it",
            PROTOCOL_ERROR,
            frame(HEADERS, END_HEADERS, 1, fields(&[("a", "b")])),
        ),
        (
            "trailers with a pseudo-header",
            PROTOCOL_ERROR,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(&[(":path", "/")])),
        ),
        (
            "trailers with transfer-encoding",
            PROTOCOL_ERROR,
            frame(HEADERS, END_HEADERS | END_STREAM, 1, fields(&[("transfer-encoding", "chunked")])),
        ),
        ("HEADERS behind the end", STREAM_CLOSED, [frame(DATA, END_STREAM, 1, []), request(1)].concat()),
        (
            "DATA behind the end",
            STREAM_CLOSED,
            [frame(DATA, END_STREAM, 1, []), frame(DATA, 0, 1, [1])].concat(),
        ),
        (
            "DATA beyond the stream's window",
            FLOW_CONTROL_ERROR,
            (0..5).flat_map(|_| frame(DATA, 0, 1, vec![0; 16_000])).collect(),
        ),
    ];
    for (why, code, bytes) in cases {
        let mut pair = Pair::new().await;
        pair.send(open(1)).await;
        pair.frames().await;
        pair.send(bytes).await;
        pair.was_reset(1, code, why).await;
        let (request, mut respond) = pair.one();
        assert!(!ok(&mut respond, true), "{why}");
        let mut body = request.into_body();
        assert!(!body.is_end_stream(), "{why}: what broke off is no end");
        assert!(matches!(piece(&mut body).await, Some(Some(Err(_)))), "{why}");
        assert!(pair.frames().await.is_empty(), "{why}");
    }
}

/// Section 8.2.3.
#[tokio::test]
async fn crumbs_of_a_cookie_are_one() {
    let mut pair = Pair::new().await;
    let block = with(&[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d; e=f"), ("cookie", "g")]);
    // The last is never indexed (RFC 7541 section 6.2.3).
    let block = [&block[..], &[0x10], &field("cookie", "h=i")[1..]].concat();
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block)).await;
    let (request, _respond) = pair.one();
    let cookies: Vec<_> = request.headers().get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=b; c=d; e=f; g; h=i"]);
    assert!(cookies[0].is_sensitive());
    assert_eq!(request.headers().len(), 2);
}

/// More than a map of `http` can hold, where the settings allow as many bytes.
#[tokio::test]
async fn more_names_than_can_be_held_are_too_large() {
    let large = || Settings { max_header_list: 16 << 20, max_frame: 1 << 20, ..settings() };
    let names: Vec<u8> = (0..30_000).flat_map(|at| field(&format!("n{at}"), "")).collect();
    let mut pair = Pair::with(large()).await;
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, [get(), names.clone()].concat())).await;
    let answer = pair.only(HEADERS).await;
    assert!(answer.payload.windows(3).any(|text| text == b"431"), "{answer:?}");
    assert!(pair.accepted.is_empty());
    let mut pair = Pair::with(large()).await;
    pair.send(open(1)).await;
    pair.frames().await;
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, names)).await;
    pair.was_reset(1, PROTOCOL_ERROR, "trailers").await;
}

#[tokio::test]
async fn what_has_no_meaning_is_ignored() {
    let mut pair = Pair::new().await;
    let mut bytes = [frame(0xfe, 0xff, 7, b"whatever"), frame(SETTINGS, 0, 0, setting(0xabcd, 7))].concat();
    bytes.extend(frame(PRIORITY, 0, 9, [0, 0, 0, 7, 1]));
    bytes.extend(frame(PING, ACK, 0, [9; 8]));
    // The reserved bits.
    bytes.extend(frame(SETTINGS, 0, 1 << 31, []));
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM | 0xc2, 1 | 1 << 31, get()));
    pair.send(bytes).await;
    assert_eq!(pair.accepted.len(), 1);
    pair.frames().await;
    pair.lives("nothing happened").await;
}

/// And the table stays in step.
#[tokio::test]
async fn a_stream_that_depends_on_itself_is_reset() {
    let mut pair = Pair::new().await;
    pair.frames().await;
    let block = [&[0, 0, 0, 1, 9][..], &get(), &[0x40, 1, b'c', 1, b'd']].concat();
    let (first, second) = block.split_at(9);
    pair.send([frame(HEADERS, 0x20, 1, first), frame(CONTINUATION, END_HEADERS, 1, second)].concat()).await;
    pair.was_reset(1, PROTOCOL_ERROR, "on itself").await;
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, [&get()[..], &[0x80 | 62]].concat())).await;
    assert_eq!(pair.one().0.headers()["c"], "d");
}

#[tokio::test]
async fn padding_and_priority_are_taken_away() {
    let mut pair = Pair::new().await;
    let padded = [&[3][..], &[0, 0, 0, 9, 1], &get(), &[0; 3]].concat();
    pair.send(frame(HEADERS, END_HEADERS | PADDED | 0x20, 1, padded)).await;
    pair.send(frame(DATA, PADDED | END_STREAM, 1, b"\x04body\0\0\0\0")).await;
    let (request, _respond) = pair.one();
    assert_eq!(piece(&mut request.into_body()).await.unwrap().unwrap().unwrap(), "body");
}

#[tokio::test]
async fn blocks_come_in_pieces() {
    let block = get();
    for cut in 0..block.len() {
        let mut pair = Pair::new().await;
        pair.send(frame(HEADERS, END_STREAM, 1, &block[..cut])).await;
        pair.send(frame(CONTINUATION, 0, 1, [])).await;
        pair.send(frame(CONTINUATION, END_HEADERS, 1, &block[cut..])).await;
        assert_eq!(pair.one().0.uri().path(), "/a");
    }
}

/// However the bytes are cut, the same comes of them.
#[tokio::test]
async fn frames_come_in_pieces() {
    let bytes = [open(1), frame(DATA, 0, 1, b"one"), frame(DATA, END_STREAM, 1, b"two"), request(3)].concat();
    for size in [1, 2, 9, 10, 64] {
        let mut pair = Pair::new().await;
        for piece in bytes.chunks(size) {
            pair.send(piece).await;
        }
        assert_eq!(pair.accepted.len(), 2);
        let (request, _respond) = pair.accepted.remove(0);
        let mut body = request.into_body();
        let mut all = Vec::new();
        while let Some(Some(Ok(piece))) = piece(&mut body).await {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, b"onetwo");
    }
}

#[tokio::test]
async fn large_heads_are_answered_and_the_table_stays_in_step() {
    let mut pair = Pair::new().await;
    let large = with(&[("a", &"x".repeat(9_000)), ("b", &"y".repeat(9_000))]);
    // The last field goes into the table (RFC 7541 section 6.2.1).
    let indexed = [&large[..], &[0x40, 1, b'c', 1, b'd']].concat();
    let (first, second) = indexed.split_at(16_000);
    pair.send([frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, second)].concat())
        .await;
    let answer = pair.only(HEADERS).await;
    // A literal, whose name is `:status`.
    assert!(answer.payload.windows(3).any(|text| text == b"431"), "{answer:?}");
    assert_eq!(answer.flags, END_HEADERS | END_STREAM);
    assert!(pair.accepted.is_empty());
    // A body that was on its way is read, to an end, or until it is too much.
    for (stream, pieces, reset) in [(5, 4, false), (7, 5, true)] {
        let (first, second) = large.split_at(16_000);
        pair.send(
            [frame(HEADERS, 0, stream, first), frame(CONTINUATION, END_HEADERS, stream, second)].concat(),
        )
        .await;
        for at in 1..=pieces {
            let end = if at == 4 { END_STREAM } else { 0 };
            let end = if reset { 0 } else { end };
            pair.send(frame(DATA, end, stream, vec![0; 16_000])).await;
        }
        let frames = pair.frames().await;
        assert_eq!(frames.iter().any(|frame| frame.kind == RST_STREAM), reset, "{stream}: {frames:?}");
    }
    pair.send(frame(HEADERS, END_HEADERS | END_STREAM, 9, [&get()[..], &[0x80 | 62]].concat())).await;
    assert_eq!(pair.one().0.headers()["c"], "d");
}

#[tokio::test]
async fn no_bytes_panic() {
    let mut chance = Chance(7);
    let mut next = move || chance.below(1 << 31) as u32;
    for _ in 0..3_000 {
        let mut pair = Pair::new().await;
        for _ in 0..next() % 12 {
            let length = (next() % 40) as usize;
            let payload: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            let payload = if next() % 3 == 0 { get() } else { payload };
            pair.send(frame((next() % 11) as u8, next() as u8, next() % 6, payload)).await;
        }
        for (_, respond) in &mut pair.accepted {
            ok(respond, next() % 2 == 0);
        }
        pair.frames().await;
    }
}
