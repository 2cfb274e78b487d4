//! Who is woken, and how often: nobody waits for what has come, and nobody is woken for nothing.

use crate::peer::*;
use bytes::Bytes;
use prism_http2::Respond;
use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};
use tokio::io::AsyncWriteExt;

/// A connection and its streams in one task, as the proxy has them: every one is polled whenever it is woken. How often that is
/// until nothing more happens.
fn turns(pair: &mut Pair, bell: &Arc<Bell>, responds: &mut [Respond]) -> usize {
    let waker = Waker::from(Arc::clone(bell));
    let mut cx = Context::from_waker(&waker);
    for turn in 1..=100 {
        bell.take();
        while let Poll::Ready(Some(Ok(_))) = pair.server.poll_accept(&mut cx) {}
        for respond in &mut *responds {
            while let Poll::Ready(Some(room)) = respond.poll_room(&mut cx) {
                respond.send_data(Bytes::from(vec![0; room]));
            }
        }
        let _ = pair.server.poll_flush(&mut cx);
        if bell.take() == 0 {
            return turn;
        }
    }
    panic!("it spins");
}

#[tokio::test]
async fn a_stream_that_waits_for_a_window_sleeps() {
    // Its own window, and the connection's.
    for (window, streams) in [(10, 1), (60_000, 3)] {
        let mut pair = Pair::new().await;
        pair.send(frame(SETTINGS, 0, 0, setting(4, window))).await;
        pair.send((0..streams).flat_map(|at| request(2 * at + 1)).collect::<Vec<_>>()).await;
        let mut responds: Vec<_> = pair.accepted.drain(..).map(|(_, respond)| respond).collect();
        for respond in &mut responds {
            ok(respond, false);
        }
        let bell = Arc::<Bell>::default();
        assert!(turns(&mut pair, &bell, &mut responds) <= 4, "{streams} streams");
        // And is woken when it has grown.
        pair.send([window_update(0, 5), window_update(1, 5)].concat()).await;
        assert!(bell.take() > 0, "{streams} streams");
        pair.frames().await;
        assert!(turns(&mut pair, &bell, &mut responds) <= 4, "{streams} streams");
        let sent: usize = pair.frames().await.iter().map(|frame| frame.payload.len()).sum();
        assert_eq!(sent, 5, "{streams} streams");
    }
}

/// Polls the connection until it has nothing to do.
fn drive(pair: &mut Pair, bell: &Arc<Bell>) -> usize {
    turns(pair, bell, &mut [])
}

#[tokio::test]
async fn as_many_are_woken_as_there_is_room_for_and_the_next_when_they_do_not_want_it() {
    let mut pair = Pair::new().await;
    pair.send((0..8).flat_map(|at| request(2 * at + 1)).collect::<Vec<_>>()).await;
    let mut responds: Vec<_> = pair.accepted.drain(..).map(|(_, respond)| respond).collect();
    for respond in &mut responds {
        ok(respond, false);
    }
    responds[0].send_data(Bytes::from(vec![0; 65_535]));
    let bells: Vec<Arc<Bell>> = (0..8).map(|_| Arc::default()).collect();
    for (respond, bell) in responds.iter_mut().zip(&bells) {
        assert_eq!(poll(bell, |cx| respond.poll_room(cx)), None);
    }
    // The first has none of its own.
    pair.client.write_all(&window_update(0, 10)).await.unwrap();
    let main = Arc::<Bell>::default();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pair.server.poll_accept(&mut cx).is_pending());
    let rung = || bells.iter().map(|bell| bell.0.load(Ordering::SeqCst)).collect::<Vec<_>>();
    assert_eq!(rung(), [0, 1, 0, 0, 0, 0, 0, 0]);
    responds[1].send_data(Bytes::from_static(b"ten bytes!"));
    assert_eq!(drive(&mut pair, &main), 1);
    assert_eq!(rung(), [0, 1, 0, 0, 0, 0, 0, 0], "all of it was taken");
    assert_eq!(poll(&bells[1], |cx| responds[1].poll_room(cx)), None);
    pair.client.write_all(&window_update(0, 10)).await.unwrap();
    assert!(drive(&mut pair, &main) <= 10);
    assert_eq!(rung(), [0, 2, 1, 1, 1, 1, 1, 1], "nobody took it");
    assert_eq!(poll(&bells[7], |cx| responds[7].poll_room(cx)), Some(Some(10)));
}

#[tokio::test]
async fn whoever_waits_for_room_in_the_output_is_found_though_windows_grow_meanwhile() {
    let mut pair = Pair::silent(settings(), 1_000).await;
    pair.send([frame(SETTINGS, 0, 0, setting(4, 1 << 24)), window_update(0, 1 << 24)].concat()).await;
    pair.send([request(1), request(3), request(5)].concat()).await;
    let mut responds: Vec<_> = pair.accepted.drain(..).map(|(_, respond)| respond).collect();
    let bells: Vec<Arc<Bell>> = (0..3).map(|_| Arc::default()).collect();
    for (respond, bell) in responds.iter_mut().zip(&bells) {
        ok(respond, false);
        while let Some(Some(room)) = poll(bell, |cx| respond.poll_room(cx)) {
            respond.send_data(Bytes::from(vec![0; room]));
        }
    }
    // Full by more than the socket takes meanwhile.
    responds[0].send_data(Bytes::from(vec![0; 10_000]));
    pair.send([window_update(0, 9), window_update(3, 9)].concat()).await;
    pair.send(frame(SETTINGS, 0, 0, setting(4, (1 << 24) + 1))).await;
    assert!(bells.iter().all(|bell| bell.take() == 0), "it is full");
    while pair.read_anything().await > 0 {}
    assert!(bells.iter().all(|bell| bell.take() > 0));
}

/// Whatever ends a stream is told to who waits for anything of it, wherever that is.
#[tokio::test]
async fn whoever_waits_is_told_of_the_end() {
    type End = fn(&mut Pair) -> Vec<u8>;
    let ends: [(&str, End); 5] = [
        ("its client resets it", |_| frame(RST_STREAM, 0, 1, [0; 4])),
        ("its client has it reset", |_| window_update(1, 0)),
        ("its connection breaks", |_| frame(PING, 0, 1, [])),
        ("its client closes", |pair| {
            pair.client = tokio::io::duplex(1).0;
            Vec::new()
        }),
        ("it is ended here", |pair| {
            pair.server.abrupt_shutdown(prism_http2::Reason::NO_ERROR);
            Vec::new()
        }),
    ];
    for (why, end) in ends {
        for window in [0, 1] {
            let mut pair = Pair::new().await;
            pair.send([frame(SETTINGS, 0, 0, setting(4, window)), open(1)].concat()).await;
            let (request, mut respond) = pair.one();
            ok(&mut respond, false);
            respond.send_data(Bytes::from_static(b"x"));
            let mut body = request.into_body();
            let bells: [Arc<Bell>; 2] = Default::default();
            assert!(poll(&bells[0], |cx| body.poll_data(cx)).is_none());
            assert!(poll(&bells[1], |cx| respond.poll_room(cx)).is_none());
            pair.frames().await;
            let bytes = end(&mut pair);
            pair.send(bytes).await;
            pair.turn().await;
            assert!(bells.iter().all(|bell| bell.take() > 0), "{why}");
            assert!(matches!(poll(&bells[0], |cx| body.poll_data(cx)), Some(Some(Err(_)))), "{why}");
            assert!(matches!(poll(&bells[1], |cx| respond.poll_room(cx)), Some(None)), "{why}");
            assert!(poll(&bells[1], |cx| respond.poll_reset(cx)).is_some(), "{why}");
        }
    }
}

/// What is done on another thread while the connection sleeps is written: it is woken for it, once.
#[tokio::test]
async fn the_connection_is_woken_for_what_others_do() {
    let mut pair = Pair::new().await;
    pair.send([open(1), open(3), open(5)].concat()).await;
    for stream in [1, 3] {
        pair.send([frame(DATA, 0, stream, [0; 16_000]), frame(DATA, 0, stream, [0; 16_000])].concat()).await;
        pair.send(frame(DATA, 0, stream, [0; 16_000])).await;
    }
    let bell = Arc::<Bell>::default();
    let (request, one) = pair.accepted.remove(0);
    let mut body = request.into_body();
    let (other_request, other) = pair.accepted.remove(0);
    let (last_request, mut last) = pair.one();
    pair.frames().await;
    drive(&mut pair, &bell);
    std::thread::spawn(move || body.release(48_000)).join().unwrap();
    assert_eq!(bell.take(), 1);
    drive(&mut pair, &bell);
    assert_eq!(pair.only(WINDOW_UPDATE).await.stream, 1);
    drive(&mut pair, &bell);
    std::thread::spawn(move || drop((other, other_request, one))).join().unwrap();
    assert!(bell.take() > 0);
    drive(&mut pair, &bell);
    assert!(pair.frames().await.iter().filter(|frame| frame.kind == RST_STREAM).count() == 2);
    // And behind the end of a session.
    pair.server.graceful_shutdown();
    let ping = pair.frames().await.pop().unwrap();
    pair.send(frame(PING, ACK, 0, ping.payload)).await;
    drive(&mut pair, &bell);
    std::thread::spawn(move || {
        ok(&mut last, true);
        drop(last_request);
    })
    .join()
    .unwrap();
    assert!(bell.take() > 0);
    drive(&mut pair, &bell);
    pair.turn().await;
    assert!(matches!(pair.ended, Some(None)), "{:?}", pair.ended);
}

/// A client that reads nothing has its connection sleep, whatever there is to write and to end.
#[tokio::test]
async fn a_connection_whose_client_does_not_read_sleeps() {
    for case in 0..5 {
        let mut pair = Pair::silent(settings(), 2_000).await;
        pair.send([frame(SETTINGS, 0, 0, setting(4, 1 << 24)), window_update(0, 1 << 24)].concat()).await;
        pair.send([open(1), open(3)].concat()).await;
        let (request, mut respond) = pair.accepted.remove(0);
        let (_, mut other) = pair.one();
        for respond in [&mut respond, &mut other] {
            ok(respond, false);
            respond.send_data(Bytes::from(vec![0; 400_000]));
            assert!(poll(&Arc::default(), |cx| respond.poll_room(cx)).is_none());
        }
        pair.rest().await;
        match case {
            // It reads on no more.
            0 => pair.client.write_all(&frame(PING, 0, 0, [0; 8])).await.unwrap(),
            1 => pair.server.graceful_shutdown(),
            2 => pair.server.abrupt_shutdown(prism_http2::Reason::NO_ERROR),
            3 => drop((request, respond)),
            _ => {
                respond.send_end(None);
                other.send_end(None);
                drop((request, respond, other));
                pair.server.graceful_shutdown();
            }
        }
        pair.rest().await;
        assert!(pair.ended.is_none(), "{case}");
        // And goes on when it does.
        let mut read = 0;
        while let count @ 1.. = pair.read_anything().await {
            read += count;
            pair.rest().await;
        }
        assert!(read > 800_000, "{case}: {read}");
        assert_eq!(pair.ended.is_some(), case == 2, "{case}");
    }
}
