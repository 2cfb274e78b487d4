#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use std::task::Waker;
use tokio::io::AsyncWriteExt;

/// What a client has had at its busiest, and given up, costs nothing while it is idle.
#[tokio::test]
async fn an_idle_connection_keeps_no_room_for_what_there_was() {
    let settings = Settings {
        max_concurrent_streams: 100,
        max_header_list: 16 << 10,
        max_frame: 16_384,
        stream_window: 65_535,
        connection_window: 1 << 20,
        most_turn: 64 << 10,
        most_output: 256 << 10,
    };
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(PREFACE).await.unwrap();
    client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut connection = Connection::handshake(server, settings).await.unwrap();
    for stream in (1..2_000_u32).step_by(2) {
        let [.., high, low] = stream.to_be_bytes();
        // GET of http, "/", and its end.
        client.write_all(&[0, 0, 3, 1, 5, 0, 0, high, low, 0x82, 0x86, 0x84]).await.unwrap();
        client.write_all(&[0, 0, 4, 3, 0, 0, 0, high, low, 0, 0, 0, 8]).await.unwrap();
    }
    let mut cx = Context::from_waker(Waker::noop());
    // Reads end where they end, and some show.
    let mut shown = 0;
    while let Poll::Ready(Some(Ok(_))) = connection.poll_accept(&mut cx) {
        shown += 1;
    }
    assert!(shown < 100);
    assert_eq!(connection.take_given_up(), 1_000 - shown);
    assert!(connection.session.incoming.capacity() > 100);
    assert!(connection.poll_flush(&mut cx).is_ready());
    assert!(connection.session.incoming.capacity() <= KEPT_INCOMING);
    assert_eq!(connection.buffer.capacity(), 0);
    let state = connection.shared.lock();
    assert_eq!((state.streams.open(), state.streams.kept(), state.streams.keys().capacity()), (0, 0, 0));
}
