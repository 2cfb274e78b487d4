//! What is kept of what a client sends and of what it does not read.

use crate::peer::*;
use prism_http2::Settings;
use tokio::{io::AsyncWriteExt, task::unconstrained};

/// A frame of one byte holds a byte, and not what it was read with.
#[tokio::test]
async fn small_pieces_are_put_together() {
    let mut pair = Pair::new().await;
    pair.send(open(1)).await;
    for at in 0..10_000_u32 {
        pair.send(frame(DATA, 0, 1, [at as u8])).await;
    }
    let (request, _respond) = pair.one();
    let mut body = request.into_body();
    let mut pieces = Vec::new();
    while let Some(Some(Ok(piece))) = piece(&mut body).await {
        pieces.push(piece);
    }
    assert!(pieces.len() <= 130, "{}", pieces.len());
    let all: Vec<u8> = pieces.concat();
    assert_eq!(all, (0..10_000_u32).map(|at| at as u8).collect::<Vec<_>>());
}

/// A piece is a part of what was read at once, and keeps all of that. The more wait, the more of them are copied.
#[tokio::test]
async fn pieces_that_wait_keep_little_more_than_their_bytes() {
    for (size, most) in [(1, 9), (1_000, 9), (4_000, 9), (5_000, 20)] {
        let mut pair = Pair::new().await;
        pair.send([open(1), open(3)].concat()).await;
        let (mut slow, _respond) = pair.accepted.remove(0);
        for at in 0..60_000_u32.div_ceil(size).min(1_000) {
            let piece = vec![at as u8; size.min(60_000 - at * size) as usize];
            pair.send([frame(DATA, 0, 1, piece), frame(0xfe, 0, 0, [0; 9_000])].concat()).await;
        }
        let mut pieces = Vec::new();
        while let Some(Some(Ok(piece))) = piece(slow.body_mut()).await {
            pieces.push(piece);
        }
        assert!(pieces.len() <= most, "{size}: {}", pieces.len());
        let all = pieces.concat();
        assert_eq!(all.len(), 60_000.min(1_000 * size as usize));
        assert!(all.iter().enumerate().all(|(at, byte)| *byte == (at / size as usize) as u8));
    }
}

/// A client that never reads cannot have more kept for it than is said: not of what it is answered, either.
#[tokio::test]
async fn what_is_answered_and_not_read_is_bounded() {
    type Frames = fn(u32) -> Vec<u8>;
    let kinds: [(&str, Frames); 4] = [
        ("answers", |at| request(2 * at + 1)),
        ("resets", |at| [open(2 * at + 1), window_update(2 * at + 1, 0)].concat()),
        ("refusals", |at| [open(2 * at + 1), frame(HEADERS, END_HEADERS, 2 * at + 1, get())].concat()),
        ("windows", |at| [open(2 * at + 1), frame(DATA, 0, 2 * at + 1, [0; 9_000])].concat()),
    ];
    for (why, bytes) in kinds {
        let mut pair = Pair::silent(Settings { most_output: 100_000, ..settings() }, 8_000).await;
        pair.client.write_all(&frame(SETTINGS, 0, 0, [])).await.unwrap();
        let mut sent = 0;
        for at in 0.. {
            let bytes = bytes(at);
            let mut written = 0;
            while written < bytes.len()
                && let Some(part) = now(unconstrained(pair.client.write(&bytes[written..]))).await
            {
                written += part.unwrap();
                pair.turn().await;
                assert!(pair.ended.is_none(), "{why}: {:?}", pair.ended);
            }
            if written < bytes.len() {
                break;
            }
            for (_, mut respond) in pair.accepted.drain(..) {
                ok(&mut respond, true);
            }
            sent = at;
            assert!(sent < 40_000, "{why}: it reads on for ever");
        }
        let mut waits = 0;
        loop {
            match pair.read_anything().await {
                0 => break,
                read => waits += read,
            }
        }
        assert!(waits > 150_000 && waits < 100_000 + (64 << 10) + (64 << 10), "{why}: {sent}: {waits}");
    }
}
