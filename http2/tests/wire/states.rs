//! States of streams (RFC 9113 section 5.1).

use crate::peer::*;

/// What no client may send on a stream that it has not begun.
#[tokio::test]
async fn frames_of_streams_that_nobody_has_begun_end_it() {
    // Even ones are a server's, and ours begins none: they are not over because a later one is open.
    for stream in [2, 4, 6, 7, (1 << 31) - 2, (1 << 31) - 1] {
        let frames = [
            frame(DATA, 0, stream, b"x"),
            frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes()),
            window_update(stream, 1),
        ];
        for bytes in frames {
            let mut pair = Pair::new().await;
            pair.send(request(5)).await;
            pair.frames().await;
            pair.send(&bytes).await;
            pair.has_ended(PROTOCOL_ERROR, &format!("{bytes:?}")).await;
        }
    }
}

#[tokio::test]
async fn the_last_stream_there_can_be_is_served() {
    let mut pair = Pair::new().await;
    pair.frames().await;
    pair.send(open((1 << 31) - 1)).await;
    pair.send(frame(DATA, END_STREAM, (1 << 31) - 1, b"x")).await;
    assert!(ok(&mut pair.one().1, true));
    assert_eq!(pair.only(HEADERS).await.stream, (1 << 31) - 1);
    pair.lives("nothing follows").await;
    pair.server.graceful_shutdown();
    let ping = pair.frames().await.pop().unwrap();
    pair.send(frame(PING, ACK, 0, &ping.payload)).await;
    let goaway = pair.only(GOAWAY).await;
    assert_eq!(code_of(&goaway.payload), (1 << 31) - 1);
    assert!(matches!(pair.ended, Some(None)));
}
