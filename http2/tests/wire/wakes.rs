//! Who is woken, and how often: nobody waits for what has come, and nobody is woken for nothing.

use crate::peer::*;
use bytes::Bytes;
use prism_http2::Respond;
use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

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
