//! How calls and connections end: cancel, GOAWAY, a peer that goes away, waiting for room.

use super::*;
use crate::{CancelReason, ConnectionError, Reason};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

fn broken(pair: &mut Pair, id: CallId) -> crate::Broken {
    loop {
        match pair.recv(id) {
            Poll::Ready(ClientEvent::Broken(broken)) => return broken,
            Poll::Ready(ClientEvent::Data(_)) => {}
            other => panic!("not broken: {other:?}"),
        }
    }
}

/// Reads until the connection's end.
fn client_error(pair: &mut Pair) -> ConnectionError {
    let mut cx = Context::from_waker(Waker::noop());
    match pair.client.poll_read(&mut cx, &mut pair.client_io) {
        Poll::Ready(Err(error)) => error,
        other => panic!("no error: {other:?}"),
    }
}

#[test]
fn an_id_is_used_again_only_after_the_server_has_confirmed() {
    let server = Config { max_calls: 1, ..Config::default() };
    let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
    let (id, server) = pair.opened();
    pair.client.cancel(id, CancelReason::Deadline);
    assert!(pair.ready().is_pending());
    pair.settle();
    assert_eq!(pair.server_recv(server), Poll::Ready(ServerEvent::Cancelled(CancelReason::Deadline)));
    assert_eq!(pair.server.next_cancelled(), Some(server));
    assert_eq!(pair.server.next_cancelled(), None);
    assert_eq!(pair.server.cancelled(server), Some(CancelReason::Deadline));
    assert_eq!(pair.server.send(server, bytes(1)), Err(Stopped));
    assert_eq!(pair.server_capacity(server), Poll::Ready(Err(Stopped)));
    pair.settle();
    assert!(pair.ready().is_pending(), "the server has not finished it");
    pair.server.finish(server, End::error(Code::Cancelled, "cancelled"), bytes(100));
    pair.settle();
    assert!(pair.ready().is_ready());
    pair.assert_idle();
}

#[test]
fn a_call_cancelled_before_it_was_accepted_is_never_offered() {
    let mut pair = Pair::roomy();
    let id = pair.open(bytes(10), true);
    pair.client.cancel(id, CancelReason::Gone);
    pair.settle();
    assert!(pair.server.accept().is_none());
    assert!(pair.server.next_cancelled().is_none());
    pair.assert_idle();
}

#[test]
fn a_cancel_that_crosses_the_end_changes_nothing() {
    let mut pair = Pair::roomy();
    let (id, server) = pair.opened();
    pair.server.finish(server, End::ok(), bytes(10));
    pair.server_turn();
    // The END is on its way when the client gives up.
    pair.client.cancel(id, CancelReason::Gone);
    pair.settle();
    pair.assert_idle();
    // And once it is here.
    let (id, server) = pair.opened();
    pair.server.finish(server, End::ok(), bytes(10));
    pair.settle();
    pair.client.cancel(id, CancelReason::Gone);
    pair.settle();
    pair.assert_idle();
}

#[test]
fn an_answer_that_waits_for_credit_ends_with_the_cancel() {
    let mut pair = Pair::roomy();
    let (id, server) = pair.opened();
    pair.server.finish(server, End::ok(), bytes(1 << 20));
    pair.settle();
    assert_eq!(pair.server.open_calls(), 1);
    pair.client.cancel(id, CancelReason::Gone);
    pair.settle();
    pair.assert_idle();
}

#[test]
fn the_server_may_end_early_and_the_client_stops_sending() {
    let mut pair = Pair::roomy();
    let id = pair.open(bytes(1 << 20), true);
    pair.settle();
    let call = pair.server.accept().unwrap();
    pair.server.finish(call.id, End::error(Code::ResourceExhausted, "too much"), Payload::new());
    pair.settle();
    assert_eq!(pair.capacity(id), Poll::Ready(Err(Stopped)));
    assert_eq!(pair.client.send(id, bytes(1), false), Err(Stopped));
    assert_eq!(pair.end(id).code, Some(Code::ResourceExhausted));
    pair.assert_idle();
}

#[test]
fn goaway_tells_which_calls_were_not_begun() {
    let mut pair = Pair::roomy();
    let (kept, kept_server) = pair.opened();
    pair.server.goaway(Reason::Drain, "bye");
    // Both cross the GOAWAY.
    let late = [pair.open(bytes(10), true), pair.open(bytes(100_000), true)];
    pair.client_turn();
    pair.settle();
    assert!(pair.server.accept().is_none());
    for id in late {
        let broken = broken(&mut pair, id);
        assert!(!broken.begun && broken.reason.contains("bye"), "{broken:?}");
    }
    assert!(pair.client.is_going_away() && pair.server.is_going_away());
    assert_eq!(pair.ready(), Poll::Ready(Err(OpenError::GoAway)));
    // The accepted one goes on.
    pair.server.finish(kept_server, End::ok(), bytes(5));
    pair.settle();
    assert_eq!(pair.data(kept), bytes(5));
    assert!(pair.end(kept).is_ok());
    pair.assert_idle();
}

#[test]
fn a_lost_connection_breaks_every_call_after_what_arrived_of_it() {
    let mut pair = Pair::roomy();
    let (answered, answered_server) = pair.opened();
    let (waiting, _) = pair.opened();
    let (cancelled, _) = pair.opened();
    pair.server.send(answered_server, bytes(10)).unwrap();
    pair.settle();
    pair.client.cancel(cancelled, CancelReason::Gone);
    pair.client_turn();
    // Never leaves the queue.
    pair.client_io.outgoing.borrow_mut().capacity = 0;
    let unsent = pair.open(bytes(10), true);
    pair.client_io.incoming.borrow_mut().closed = true;
    assert!(matches!(client_error(&mut pair), ConnectionError::Closed));

    assert_eq!(pair.data(answered), bytes(10));
    assert!(broken(&mut pair, answered).begun);
    assert!(broken(&mut pair, waiting).begun);
    assert!(!broken(&mut pair, unsent).begun, "no byte of it has left");
    assert_eq!(pair.client.open_calls(), 0);
    assert!(matches!(pair.ready(), Poll::Ready(Err(OpenError::Closed(_)))));
    assert!(matches!(client_error(&mut pair), ConnectionError::Closed));
}

#[test]
fn a_server_that_loses_its_client_cancels_every_call() {
    let mut pair = Pair::roomy();
    let (_, one) = pair.opened();
    let (_, other) = pair.opened();
    pair.open(bytes(1), true);
    pair.settle();
    pair.server_io.incoming.borrow_mut().closed = true;
    let mut cx = Context::from_waker(Waker::noop());
    let read = pair.server.poll_read(&mut cx, &mut pair.server_io);
    assert!(matches!(read, Poll::Ready(Err(ConnectionError::Closed))));
    assert!(pair.server.accept().is_none());
    assert_eq!(pair.server_recv(one), Poll::Ready(ServerEvent::Cancelled(CancelReason::Connection)));
    assert_eq!((pair.server.next_cancelled(), pair.server.next_cancelled()), (Some(one), Some(other)));
    for id in [one, other] {
        pair.server.finish(id, End::error(Code::Cancelled, ""), Payload::new());
    }
    assert_eq!(pair.server.open_calls(), 0);
}

#[test]
fn a_socket_that_fails_to_write_breaks_every_call() {
    let mut pair = Pair::roomy();
    let (id, _) = pair.opened();
    pair.client_io.outgoing.borrow_mut().closed = true;
    let unsent = pair.open(bytes(1), true);
    let mut cx = Context::from_waker(Waker::noop());
    let written = pair.client.poll_write(&mut cx, &mut pair.client_io);
    assert!(matches!(written, Poll::Ready(Err(ConnectionError::Io(_)))));
    assert!(broken(&mut pair, id).begun);
    let broken = broken(&mut pair, unsent);
    assert!(!broken.begun && broken.reason.contains("broken pipe"), "{broken:?}");
}

#[test]
fn a_ping_is_answered_and_only_one_is_due() {
    let mut pair = Pair::roomy();
    pair.client.ping();
    pair.client.ping();
    assert!(pair.client.is_ping_outstanding());
    let before = pair.server.frames_received();
    pair.settle();
    assert!(!pair.client.is_ping_outstanding());
    assert_eq!(pair.server.frames_received(), before + 1);
    pair.server.ping();
    pair.settle();
    assert!(!pair.server.is_ping_outstanding());
    pair.assert_idle();
}

#[test]
fn an_owner_may_declare_the_connection_over() {
    let mut pair = Pair::roomy();
    let (id, _) = pair.opened();
    pair.client.close("it did not answer a ping");
    assert_eq!(broken(&mut pair, id).reason, "it did not answer a ping");
    assert!(pair.client.is_going_away());
}

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn counter() -> (Arc<Counter>, Waker) {
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    (Arc::clone(&counter), counter.into())
}

#[test]
fn waiters_are_told_until_the_room_is_taken() {
    let server = Config { max_calls: 2, ..Config::default() };
    let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
    let calls = [pair.opened(), pair.opened()];
    let waiters: Vec<_> = (0..5).map(|_| counter()).collect();
    for (_, waker) in &waiters {
        assert!(pair.client.poll_ready(&mut Context::from_waker(waker)).is_pending());
    }
    pair.settle();
    let told = |waiters: &[(Arc<Counter>, Waker)]| {
        waiters.iter().map(|(counter, _)| counter.0.load(Ordering::Relaxed)).collect::<Vec<_>>()
    };
    assert_eq!(told(&waiters), [0; 5]);
    for (_, server) in calls {
        pair.server.finish(server, End::ok(), Payload::new());
    }
    pair.settle();
    for (id, _) in calls {
        assert!(pair.end(id).is_ok());
    }
    // The first two are told; they are gone, so the driver comes again, for as long as nobody takes the room.
    pair.client_turn();
    assert_eq!(told(&waiters), [1, 1, 0, 0, 0]);
    pair.client_turn();
    assert_eq!(told(&waiters), [1, 1, 1, 1, 0]);
    pair.open(bytes(1), true);
    pair.open(bytes(1), true);
    pair.client_turn();
    assert_eq!(told(&waiters), [1, 1, 1, 1, 0], "there is no room any more");
}

#[test]
fn the_driver_is_told_once_per_turn_and_not_in_its_own() {
    let mut pair = Pair::roomy();
    let (driver, waker) = counter();
    let told = || driver.0.load(Ordering::Relaxed);
    let mut cx = Context::from_waker(&waker);
    assert!(pair.client.poll_read(&mut cx, &mut pair.client_io).is_pending());
    // In its turn.
    pair.open(bytes(1), true);
    assert!(pair.client.poll_write(&mut cx, &mut pair.client_io).is_ready());
    assert_eq!(told(), 0);
    // Between two turns.
    let id = pair.open(bytes(1), true);
    assert_eq!(told(), 1);
    pair.open(bytes(1), true);
    pair.client.cancel(id, CancelReason::Gone);
    assert_eq!(told(), 1);
}

#[test]
fn who_waits_is_told() {
    let mut pair = Pair::roomy();
    let (id, server) = pair.opened();
    let (reader, waker) = counter();
    let mut cx = Context::from_waker(&waker);
    assert!(pair.client.poll_recv(&mut cx, id).is_pending());
    pair.server.send(server, bytes(1)).unwrap();
    pair.settle();
    assert_eq!(reader.0.load(Ordering::Relaxed), 1);

    let (writer, waker) = counter();
    let mut cx = Context::from_waker(&waker);
    while let Poll::Ready(Ok(capacity)) = pair.client.poll_capacity(&mut cx, id) {
        pair.client.send(id, bytes(capacity), false).unwrap();
    }
    pair.settle();
    while let Poll::Ready(ServerEvent::Data(_)) = pair.server_recv(server) {}
    pair.settle();
    assert_eq!(writer.0.load(Ordering::Relaxed), 1);
    assert!(pair.client.poll_capacity(&mut cx, id).is_ready());

    let (server_reader, waker) = counter();
    assert!(pair.server.poll_recv(&mut Context::from_waker(&waker), server).is_pending());
    pair.client.cancel(id, CancelReason::Gone);
    pair.settle();
    assert_eq!(server_reader.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_hundred_thousand_cancelled_calls_leave_nothing() {
    let mut pair = Pair::roomy();
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for _ in 0..1_000 {
        let ids: Vec<_> = (0..100).map(|_| pair.open(bytes(next(3) as usize * 40), next(2) == 0)).collect();
        for id in ids {
            match next(4) {
                0 => pair.client_turn(),
                1 => pair.server_turn(),
                _ => {}
            }
            if let Some(call) = pair.server.accept() {
                match next(3) {
                    0 => pair.server.finish(call.id, End::ok(), call.body),
                    1 => pair.server.send(call.id, bytes(50)).unwrap_or_default(),
                    _ => {}
                }
            }
            pair.client.cancel(id, CancelReason::Gone);
        }
        pair.settle();
        while pair.server.accept().is_some() {}
        while let Some(id) = pair.server.next_cancelled() {
            pair.server.finish(id, End::error(Code::Cancelled, ""), Payload::new());
        }
        pair.settle();
        pair.assert_idle();
    }
    assert!(pair.client.slots() <= 200, "{} slots", pair.client.slots());
}
