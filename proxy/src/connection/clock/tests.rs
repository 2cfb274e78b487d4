use super::*;
use prism_http2::Connection;
use prism_platform::time::timeout;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The server's side of a connection whose client has said its preface and nothing else.
async fn handshake() -> (Connection<DuplexStream>, DuplexStream) {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    // The preface and an empty SETTINGS frame (RFC 9113 section 3.4).
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    (Connection::handshake(server, crate::connection::h2::settings(&limits())).await.unwrap(), client)
}

fn limits() -> Http2 {
    Http2::default()
}

/// What is due next. An hour of (paused) time is a guard against nothing ever being due.
async fn due(clock: &mut Clock, idle: bool, grown: bool) -> Due {
    timeout(Duration::from_secs(3_600), poll_fn(|cx| clock.poll(cx, idle, grown, None)))
        .await
        .expect("never due")
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_found_dead() {
    let (connection, _client) = handshake().await;
    let mut clock = Clock::new(&limits(), Duration::from_secs(7_200), connection.pinger(), Rc::default());
    let start = Instant::now();
    assert!(matches!(due(&mut clock, false, false).await, Due::Dead));
    let after = limits().keepalive_interval.get() + limits().keepalive_timeout.get();
    assert_eq!(Instant::now() - start, after);
}

/// An unanswered PING of a measurement must not stand in the way of the one that tells whether the peer lives.
#[tokio::test(start_paused = true)]
async fn also_when_it_owes_the_answer_to_an_earlier_ping() {
    let (connection, _client) = handshake().await;
    let reads = Rc::new(Cell::new(0));
    let mut clock = Clock::new(&limits(), Duration::from_secs(7_200), connection.pinger(), Rc::clone(&reads));
    assert!(clock.ping());
    assert!(!clock.ping(), "one at a time");
    // It still sends for a while.
    reads.set(1);
    assert!(matches!(due(&mut clock, false, false).await, Due::Dead));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_lives_whether_it_answers_pings_or_not() {
    let (connection, _client) = handshake().await;
    let reads = Rc::new(Cell::new(0));
    let mut clock = Clock::new(&limits(), Duration::from_secs(7_200), connection.pinger(), Rc::clone(&reads));
    assert!(clock.ping());
    let sending = async {
        for _ in 0..100 {
            prism_platform::time::sleep(Duration::from_secs(5)).await;
            reads.set(reads.get() + 1);
        }
    };
    tokio::select! {
        biased;
        () = sending => {}
        _ = due(&mut clock, false, false) => panic!("it lives"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answered_ping_is_told_and_can_be_sent_again() {
    let (mut connection, mut client) = handshake().await;
    let mut clock = Clock::new(&limits(), Duration::from_secs(7_200), connection.pinger(), Rc::default());
    for _ in 0..3 {
        assert!(clock.ping());
        let answering = async {
            loop {
                let mut head = [0; 9];
                client.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; usize::from(head[2])];
                client.read_exact(&mut payload).await.unwrap();
                // PING without ACK (RFC 9113 section 6.7).
                if head[3] == 6 && head[4] == 0 {
                    client.write_all(&[0, 0, 8, 6, 1, 0, 0, 0, 0]).await.unwrap();
                    client.write_all(&payload).await.unwrap();
                    break;
                }
            }
        };
        let told = tokio::join!(
            answering,
            poll_fn(|cx| {
                assert!(connection.poll_accept(cx).is_pending());
                let due = clock.poll(cx, false, false, None);
                assert!(connection.poll_flush(cx).is_ready());
                due
            })
        );
        assert!(matches!(told.1, Due::Pong));
    }
}

#[tokio::test(start_paused = true)]
async fn windows_are_made_small_before_an_idle_connection_goes() {
    let (connection, _client) = handshake().await;
    let mut limits = limits();
    limits.keepalive_timeout = prism_config::Duration::seconds(7_200);
    let mut clock = Clock::new(&limits, Duration::from_secs(600), connection.pinger(), Rc::default());
    assert!(matches!(due(&mut clock, true, true).await, Due::Quiet));
    assert!(matches!(due(&mut clock, true, false).await, Due::Idle));
}

#[tokio::test(start_paused = true)]
async fn and_never_while_there_is_a_stream() {
    let (connection, _client) = handshake().await;
    let mut clock = Clock::new(&limits(), Duration::from_secs(600), connection.pinger(), Rc::default());
    assert!(matches!(due(&mut clock, false, true).await, Due::Dead));
}

/// The deadline of an unread rest may pass after the rests were looked at and before the clock is.
#[tokio::test(start_paused = true)]
async fn a_rest_whose_deadline_has_just_passed_is_looked_at_again() {
    let (connection, _client) = handshake().await;
    let mut clock = Clock::new(&limits(), Duration::from_secs(7_200), connection.pinger(), Rc::default());
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut turns = 0;
    let looked_at_again = poll_fn(|cx| {
        turns += 1;
        // The second turn is the one that the timer has woken.
        if turns == 3 {
            return Poll::Ready(Instant::now());
        }
        let polled = clock.poll(cx, false, false, Some(deadline));
        assert!(polled.is_pending());
        Poll::Pending
    });
    let again = timeout(Duration::from_secs(3_600), looked_at_again).await.expect("never looked at again");
    // Timers fire on the next whole millisecond.
    assert!(again <= deadline + Duration::from_millis(1), "{:?} later", again - deadline);
}
