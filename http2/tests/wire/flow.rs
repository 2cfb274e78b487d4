//! Windows, both ways (RFC 9113 section 5.2).

use crate::peer::*;
use bytes::Bytes;
use prism_http2::Settings;
use std::future::poll_fn;

fn updates(frames: &[Frame], stream: u32) -> u32 {
    let updates = frames.iter().filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == stream);
    updates.map(|frame| code_of(&frame.payload)).sum()
}

fn sent(frames: &[Frame], stream: u32) -> usize {
    frames
        .iter()
        .filter(|frame| frame.kind == DATA && frame.stream == stream)
        .map(|frame| frame.payload.len())
        .sum()
}

#[tokio::test]
async fn settings_say_what_is_taken_and_the_connections_window_is_opened() {
    let changed = Settings { max_frame: 20_000, stream_window: 1_000, ..settings() };
    let mut pair = Pair::with(changed).await;
    let frames = pair.frames().await;
    let settings = &frames[0];
    assert_eq!((settings.kind, settings.flags), (SETTINGS, 0));
    let expected = [setting(3, 8), setting(4, 1_000), setting(5, 20_000), setting(6, 16 << 10)].concat();
    assert_eq!(settings.payload, expected);
    assert_eq!(updates(&frames, 0), (1 << 20) - 65_535);
    assert!(frames.iter().any(|frame| frame.kind == SETTINGS && frame.flags == ACK));
}

#[tokio::test]
async fn a_window_is_given_back_when_it_was_read() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    pair.frames().await;
    pair.send((0..3).flat_map(|_| frame(DATA, 0, 1, vec![0; 16_000])).collect::<Vec<_>>()).await;
    let (request, _respond) = pair.one();
    let mut body = request.into_body();
    assert_eq!(updates(&pair.frames().await, 1), 0);
    let mut read = 0;
    while let Some(Some(Ok(piece))) = piece(&mut body).await {
        read += piece.len();
    }
    assert_eq!(read, 48_000);
    assert_eq!(updates(&pair.frames().await, 1), 0, "read, and not taken care of");
    body.release(17_000);
    assert_eq!(updates(&pair.frames().await, 1), 0, "less than is left");
    body.release(31_000);
    assert_eq!(updates(&pair.frames().await, 1), 48_000);
    body.release(1 << 20);
    assert_eq!(updates(&pair.frames().await, 1), 0, "nothing is given back twice");
}

/// What is never read, padding, and what comes for streams that are gone take no window of the connection for good.
#[tokio::test]
async fn the_connections_window_is_never_lost() {
    let mut pair = Pair::with(Settings { connection_window: 131_070, ..settings() }).await;
    pair.send([open(1), frame(DATA, 0, 1, [0; 10_000]), frame(DATA, 0, 1, [0; 10_000])].concat()).await;
    let unread = pair.one();
    let mut given = updates(&pair.frames().await, 0);
    let mut used = 20_000;
    for round in 0..60_u32 {
        let stream = 4 * round + 5;
        let (data, padded) = (vec![0; 10_000], [vec![99], vec![0; 1_000], vec![0; 99]].concat());
        pair.send(
            [open(stream), frame(DATA, 0, stream, &data), frame(DATA, PADDED, stream, &padded)].concat(),
        )
        .await;
        match round % 6 {
            // Longer than it said.
            4 => {
                pair.accepted.clear();
                let head = [get(), field("content-length", "100")].concat();
                pair.send(frame(HEADERS, END_HEADERS, stream + 2, head)).await;
                pair.send(frame(DATA, 0, stream + 2, vec![0; 10_000])).await;
                used += 10_000;
            }
            // Refused with its head, and its body read and thrown away.
            5 => {
                pair.accepted.clear();
                let head = [get(), field("x", &"y".repeat(16_000)), field("z", &"y".repeat(300))].concat();
                let (first, second) = head.split_at(16_000);
                pair.send(frame(HEADERS, 0, stream + 2, first)).await;
                pair.send(frame(CONTINUATION, END_HEADERS, stream + 2, second)).await;
                pair.send(frame(DATA, END_STREAM, stream + 2, vec![0; 10_000])).await;
                used += 10_000;
            }
            // Dropped, unread.
            0 => pair.accepted.clear(),
            // Reset by its client, with a piece in a reader's hands.
            1 => {
                let (request, respond) = pair.one();
                let mut body = request.into_body();
                assert!(piece(&mut body).await.is_some());
                pair.send(frame(RST_STREAM, 0, stream, [0; 4])).await;
                body.release(10_000);
                drop((body, respond));
            }
            // Read to the end, and answered.
            2 => {
                pair.send(frame(DATA, END_STREAM, stream, [])).await;
                let (request, mut respond) = pair.one();
                let mut body = request.into_body();
                while let Some(Some(Ok(piece))) = piece(&mut body).await {
                    body.release(piece.len());
                }
                assert!(ok(&mut respond, true));
            }
            // Answered, and the body read afterwards.
            _ => {
                pair.send(frame(DATA, END_STREAM, stream, [])).await;
                let (request, mut respond) = pair.one();
                assert!(ok(&mut respond, true));
                drop(respond);
                let mut body = request.into_body();
                let first = piece(&mut body).await.unwrap().unwrap().unwrap();
                body.release(first.len());
            }
        }
        // And some that nobody waits for.
        pair.send(frame(DATA, 0, stream, [0; 100])).await;
        used += 11_200;
        let frames = pair.frames().await;
        given += updates(&frames, 0);
        assert!(frames.iter().all(|frame| frame.kind != GOAWAY), "round {round}: {frames:?}");

        pair.accepted.clear();
    }
    given += updates(&pair.frames().await, 0);
    pair.lives("sixty bodies").await;
    // What is unread is missing, and of the rest not more than half: that is what is not worth a frame yet.
    let left = 65_535 + given - used;
    assert!((111_070 - 65_535..=111_070).contains(&left), "{left} bytes are left");
    drop(unread);
}

/// An answer may go on for days after its request's rest was let go.
#[tokio::test]
async fn what_nobody_reads_takes_its_streams_window_alone() {
    let mut pair = Pair::with(Settings { connection_window: 65_535, ..settings() }).await;
    pair.send([open(1), frame(DATA, 0, 1, vec![0; 10_000])].concat()).await;
    let (request, mut respond) = pair.one();
    ok(&mut respond, false);
    let mut given = updates(&pair.frames().await, 0);
    drop(request);
    for _ in 0..3 {
        pair.send(frame(DATA, 0, 1, vec![0; 16_000])).await;
    }
    let frames = pair.frames().await;
    given += updates(&frames, 0);
    assert_eq!(updates(&frames, 1), 0);
    assert!(given >= 58_000 - 32_767, "{given}");
    pair.send(frame(DATA, 0, 1, vec![0; 8_000])).await;
    pair.was_reset(1, FLOW_CONTROL_ERROR, "beyond its window").await;
}

#[tokio::test]
async fn a_writer_is_woken_when_what_it_sent_too_early_is_gone() {
    let mut pair = Pair::new().await;
    pair.send(frame(SETTINGS, 0, 0, setting(4, 10))).await;
    pair.send(request(1)).await;
    let (_, mut respond) = pair.one();
    ok(&mut respond, false);
    respond.send_data(Bytes::from_static(b"0123456789abcdef"));
    let room = tokio::spawn(async move { poll_fn(|cx| respond.poll_room(cx)).await });
    tokio::task::yield_now().await;
    assert!(!room.is_finished());
    pair.send(window_update(1, 100)).await;
    assert_eq!(room.await.unwrap(), Some(94));
}

#[tokio::test]
async fn more_than_the_connections_window_ends_it() {
    let mut pair = Pair::with(Settings { connection_window: 65_535, ..settings() }).await;
    pair.send([open(1), open(3)].concat()).await;
    pair.frames().await;
    for stream in [1, 3] {
        pair.send((0..3).flat_map(|_| frame(DATA, 0, stream, vec![0; 12_000])).collect::<Vec<_>>()).await;
    }
    pair.has_ended(FLOW_CONTROL_ERROR, "72,000 bytes").await;
}

#[tokio::test]
async fn an_answer_waits_for_the_windows_of_both() {
    let mut pair = Pair::new().await;
    pair.send(frame(SETTINGS, 0, 0, setting(4, 10))).await;
    pair.send(request(1)).await;
    let (_, mut respond) = pair.one();
    ok(&mut respond, false);
    assert_eq!(now(poll_fn(|cx| respond.poll_room(cx))).await, Some(Some(10)));
    respond.send_data(Bytes::from_static(b"0123456789abcdef"));
    respond.send_end(None);
    assert_eq!(sent(&pair.frames().await, 1), 10);
    pair.send(window_update(1, 3)).await;
    assert_eq!(sent(&pair.frames().await, 1), 3);
    // By SETTINGS, too: thirteen more than before.
    pair.send(frame(SETTINGS, 0, 0, setting(4, 12))).await;
    assert_eq!(sent(&pair.frames().await, 1), 2);
    // Below zero.
    pair.send(frame(SETTINGS, 0, 0, setting(4, 0))).await;
    pair.send(window_update(1, 12)).await;
    assert_eq!(sent(&pair.frames().await, 1), 0);
    pair.send(window_update(1, 1)).await;
    let last = pair.only(DATA).await;
    assert_eq!((last.payload, last.flags), (b"f".to_vec(), END_STREAM));

    // And the connection's.
    pair.send(frame(SETTINGS, 0, 0, setting(4, 1 << 20))).await;
    pair.send([request(3), request(5)].concat()).await;
    let (_, mut one) = pair.accepted.remove(0);
    let (_, mut other) = pair.one();
    ok(&mut one, false);
    ok(&mut other, false);
    one.send_data(Bytes::from(vec![0; 65_000]));
    other.send_data(Bytes::from(vec![0; 65_000]));
    let frames = pair.frames().await;
    assert_eq!((sent(&frames, 3), sent(&frames, 5)), (65_000, 65_535 - 16 - 65_000));
    assert!(now(poll_fn(|cx| other.poll_room(cx))).await.is_none());
    pair.send(window_update(0, 100_000)).await;
    assert_eq!(sent(&pair.frames().await, 5), 65_000 - (65_535 - 16 - 65_000));
}

#[tokio::test]
async fn a_window_that_settings_make_too_large_ends_it() {
    let mut pair = Pair::new().await;
    pair.send([request(1), window_update(1, (1 << 31) - 1 - 65_535)].concat()).await;
    pair.frames().await;
    pair.send(frame(SETTINGS, 0, 0, setting(4, 65_536))).await;
    pair.has_ended(FLOW_CONTROL_ERROR, "one more").await;
}

/// A client that reads nothing holds as much memory as is said, whatever its windows.
#[tokio::test]
async fn what_is_not_read_is_not_written() {
    let mut pair = Pair::silent(settings(), 1_000).await;
    pair.send(frame(SETTINGS, 0, 0, setting(4, (1 << 31) - 1))).await;
    pair.send(window_update(0, (1 << 31) - 1 - 65_535)).await;
    pair.send(request(1)).await;
    let (_, mut respond) = pair.one();
    ok(&mut respond, false);
    let mut taken = 0;
    while let Some(Some(room)) = now(poll_fn(|cx| respond.poll_room(cx))).await {
        assert!(room <= 64 << 10);
        respond.send_data(Bytes::from(vec![0; room]));
        taken += room;
        assert!(taken <= 512 << 10, "it takes without end");
        pair.turn().await;
    }
    assert!(taken >= 256 << 10);
    // It goes on when somebody reads.
    let mut read = 0;
    while read < 200 << 10 {
        read += pair.read_anything().await;
    }
    assert!(matches!(now(poll_fn(|cx| respond.poll_room(cx))).await, Some(Some(_))));
}

#[tokio::test]
async fn windows_grow_and_shrink() {
    let mut pair = Pair::new().await;
    pair.send(frame(SETTINGS, ACK, 0, [])).await;
    pair.send(open(1)).await;
    pair.frames().await;
    assert!(pair.server.set_stream_window(200_000));
    assert!(!pair.server.set_stream_window(300_000), "one at a time");
    let frames = pair.frames().await;
    assert_eq!(frames[0].payload, setting(4, 200_000));
    // Before it is acknowledged the old one holds.
    pair.send((0..4).flat_map(|_| frame(DATA, 0, 1, vec![0; 16_000])).collect::<Vec<_>>()).await;
    pair.send(frame(SETTINGS, ACK, 0, [])).await;
    pair.send((0..8).flat_map(|_| frame(DATA, 0, 1, vec![0; 16_000])).collect::<Vec<_>>()).await;
    pair.lives("192,000 bytes in 200,000").await;
    pair.server.set_connection_window(4 << 20);
    assert_eq!(updates(&pair.frames().await, 0), 3 << 20);
    assert!(pair.server.set_stream_window(1_000));
    pair.send(frame(SETTINGS, ACK, 0, [])).await;
    pair.frames().await;
    let (request, _respond) = pair.one();
    let mut body = request.into_body();
    while let Some(Some(Ok(piece))) = piece(&mut body).await {
        body.release(piece.len());
    }
    // 8,000 were left, of which 199,000 were taken away; all was read, and a thousand is given.
    assert_eq!(updates(&pair.frames().await, 1), 192_000);
    pair.send(frame(DATA, 0, 1, vec![0; 1_000])).await;
    pair.lives("a thousand").await;
    pair.send(frame(DATA, 0, 1, [0])).await;
    pair.was_reset(1, FLOW_CONTROL_ERROR, "one more").await;
}

/// What one reader leaves lying takes its share of the connection's window, and not what is left for the others.
#[tokio::test]
async fn what_is_unread_leaves_the_rest_of_the_window_to_others() {
    let mut pair = Pair::with(Settings { connection_window: 65_535, ..settings() }).await;
    pair.frames().await;
    pair.send([open(1), open(3)].concat()).await;
    let (_unread, _respond) = pair.accepted.remove(0);
    let (request, _other) = pair.one();
    let mut body = request.into_body();
    pair.send((0..4).flat_map(|_| frame(DATA, 0, 1, [0; 10_000])).collect::<Vec<_>>()).await;
    let (mut left, mut uploaded) = (65_535 - 40_000, 0);
    while uploaded < 500_000 {
        assert!(left > 0, "it waits for ever after {uploaded} bytes");
        let size = left.min(10_000);
        pair.send(frame(DATA, 0, 3, vec![0; size as usize])).await;
        while let Some(Some(Ok(piece))) = piece(&mut body).await {
            body.release(piece.len());
        }
        uploaded += size;
        left += updates(&pair.frames().await, 0);
        left -= size;
        assert!(left <= 25_535, "what is unread was given back");
    }
}

/// A reader that cannot go on before more has come (a message that is not whole) gives back what it can, and gets more.
#[tokio::test]
async fn what_a_reader_keeps_leaves_the_rest_of_its_window() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    let (request, _respond) = pair.one();
    let mut body = request.into_body();
    pair.frames().await;
    let data = |size: usize| frame(DATA, 0, 1, vec![0; size]);
    pair.send([data(15_000), data(10_000)].concat()).await;
    body.release(25_000);
    assert_eq!(updates(&pair.frames().await, 1), 0, "less than half of it");
    pair.send([data(15_000), data(15_000), data(10_535)].concat()).await;
    assert_eq!(updates(&pair.frames().await, 1), 25_000, "there is nothing left, and this is free");
    // And of the connection's.
    let mut pair = Pair::with(Settings { connection_window: 65_535, ..settings() }).await;
    pair.send([open(1), open(3)].concat()).await;
    let mut bodies: Vec<_> = pair.accepted.drain(..).collect();
    pair.frames().await;
    pair.send([data(15_000), data(10_000)].concat()).await;
    bodies[0].0.body_mut().release(25_000);
    assert_eq!(updates(&pair.frames().await, 0), 0, "less than half of it");
    pair.send((0..4).flat_map(|_| frame(DATA, 0, 3, [0; 10_000])).collect::<Vec<_>>()).await;
    assert_eq!(updates(&pair.frames().await, 0), 25_000, "535 are left, and these are free");
}

/// A client may send with the window that it knows. When it learns of the smaller one, what was read meanwhile is given back: it
/// can send nothing more, and so nothing else would ever do that.
#[tokio::test]
async fn a_window_that_shrinks_behind_what_was_read_is_opened() {
    let mut pair = Pair::with(Settings { stream_window: 16_384, ..settings() }).await;
    pair.send([open(1), frame(DATA, 0, 1, [0; 15_000]), frame(DATA, 0, 1, [0; 15_000])].concat()).await;
    let (request, _respond) = pair.one();
    let mut body = request.into_body();
    while let Some(Some(Ok(piece))) = piece(&mut body).await {
        body.release(piece.len());
    }
    let before = updates(&pair.frames().await, 1);
    pair.send(frame(SETTINGS, ACK, 0, [])).await;
    assert_eq!(before + updates(&pair.frames().await, 1), 30_000);
    pair.send(frame(DATA, 0, 1, [0; 16_384])).await;
    pair.lives("all of the smaller one").await;
    pair.send(frame(DATA, 0, 1, [0])).await;
    pair.was_reset(1, FLOW_CONTROL_ERROR, "one more").await;
}

/// What is left of a request that was refused is read for a while only, and its client is told when it cannot send any more:
/// its window is not opened again.
#[tokio::test]
async fn a_refused_request_ends_with_its_window_at_the_latest() {
    for padding in [0, 99] {
        let mut pair = Pair::with(Settings { stream_window: 16_384, ..settings() }).await;
        pair.send(frame(SETTINGS, ACK, 0, [])).await;
        let head = [get(), field("x", &"y".repeat(16_000)), field("z", &"y".repeat(300))].concat();
        let (first, second) = head.split_at(16_000);
        pair.send([frame(HEADERS, 0, 1, first), frame(CONTINUATION, END_HEADERS, 1, second)].concat()).await;
        assert_eq!(pair.only(HEADERS).await.flags, END_HEADERS | END_STREAM);
        for _ in 0..16 {
            assert!(pair.frames().await.iter().all(|frame| frame.kind != RST_STREAM));
            let payload = [vec![padding], vec![0; 1_023]].concat();
            pair.send(frame(DATA, if padding > 0 { PADDED } else { 0 }, 1, payload)).await;
        }
        pair.was_reset(1, NO_ERROR, "there is nothing left of its window").await;
    }
}
