//! Credit, chunks and turns.

use super::*;
use crate::{CHUNK, Decoder, Frame, MAX_FRAME, MIN_FRAME, session::outbox::QUEUE, wire::HEADER};
use bytes::BytesMut;

/// What the client has written and nobody read.
fn on_the_wire(pair: &Pair) -> Vec<Frame> {
    let mut input: BytesMut = pair.client_io.outgoing.borrow().bytes.iter().copied().collect();
    let mut decoder = Decoder::new(MAX_FRAME);
    std::iter::from_fn(|| decoder.decode(&mut input).unwrap()).collect()
}

#[test]
fn nothing_is_sent_without_credit() {
    for credit in [1_u32, 100, 4096, 5000, 64 << 10] {
        let server = Config { initial_credit: credit, ..Config::default() };
        let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
        let id = pair.open(bytes(1 << 20), true);
        pair.settle();
        let call = pair.server.accept().unwrap();
        assert_eq!(call.body.len(), credit as usize);
        assert_eq!(pair.capacity(id), Poll::Ready(Err(Stopped)), "it has handed in its end");
        // Taking it let more come; all of it arrives in the end.
        let mut got = call.body.len();
        loop {
            pair.settle();
            match pair.server_recv(call.id) {
                Poll::Ready(ServerEvent::Data(data)) => got += data.len(),
                Poll::Ready(ServerEvent::HalfClose) => break,
                other => panic!("after {got} bytes of credit {credit}: {other:?}"),
            }
        }
        assert_eq!(got, 1 << 20);
        pair.server.finish(call.id, End::ok(), Payload::new());
        pair.settle();
        assert!(pair.end(id).is_ok());
        pair.assert_idle();
    }
}

#[test]
fn the_smallest_credit_without_growth_still_moves() {
    for credit in 1..=5 {
        let server = Config { initial_credit: credit, growth: 0, ..Config::default() };
        let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
        pair.open(bytes(20), true);
        pair.settle();
        let call = pair.server.accept().unwrap();
        let mut got = call.body.len();
        while got < 20 {
            pair.settle();
            match pair.server_recv(call.id) {
                Poll::Ready(ServerEvent::Data(data)) => got += data.len(),
                other => panic!("after {got} bytes with a credit of {credit}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_consumer_that_takes_nothing_stops_its_own_sender_only() {
    let mut pair = Pair::roomy();
    let (stalled, stalled_server) = pair.opened();
    let mut sent = 0;
    while let Poll::Ready(Ok(capacity)) = pair.server_capacity(stalled_server) {
        pair.server.send(stalled_server, bytes(capacity)).unwrap();
        sent += capacity;
        pair.settle();
    }
    assert_eq!(sent, 64 << 10, "what the client's initial credit allows");
    for _ in 0..100 {
        let (other, other_server) = pair.opened();
        pair.server.finish(other_server, End::ok(), bytes(32 << 10));
        pair.settle();
        let mut got = 0;
        while let Poll::Ready(ClientEvent::Data(data)) = pair.recv(other) {
            got += data.len();
        }
        assert_eq!(got, 32 << 10);
    }
    assert!(pair.server_capacity(stalled_server).is_pending());
    pair.data(stalled);
    pair.settle();
    assert!(pair.server_capacity(stalled_server).is_ready(), "taking resumes it");
}

#[test]
fn a_window_grows_while_its_consumer_keeps_up_and_is_given_back() {
    let mut pair = Pair::roomy();
    let (id, server) = pair.opened();
    let mut received = 0;
    for _ in 0..200 {
        if let Poll::Ready(Ok(capacity)) = pair.server_capacity(server) {
            pair.server.send(server, bytes(capacity)).unwrap();
        }
        pair.settle();
        while let Poll::Ready(ClientEvent::Data(data)) = pair.recv(id) {
            received += data.len();
        }
    }
    assert!(received > 4 << 20, "{received}");
    let max = u64::from(Config::default().max_credit - Config::default().initial_credit);
    assert_eq!(pair.client.leftovers()[2], max);
    pair.server.finish(server, End::ok(), Payload::new());
    pair.settle();
    assert!(pair.end(id).is_ok());
    pair.assert_idle();
}

#[test]
fn growth_is_shared_and_bounded() {
    let client = Config { growth: 300 << 10, ..Config::default() };
    let mut pair = Pair::new(client, Config::default(), usize::MAX, usize::MAX);
    let calls: Vec<_> = (0..8).map(|_| pair.opened()).collect();
    for _ in 0..50 {
        for (id, server) in &calls {
            if let Poll::Ready(Ok(capacity)) = pair.server_capacity(*server) {
                pair.server.send(*server, bytes(capacity)).unwrap();
            }
            pair.settle();
            while let Poll::Ready(ClientEvent::Data(_)) = pair.recv(*id) {}
            assert!(pair.client.leftovers()[2] <= 300 << 10);
        }
    }
}

#[test]
fn many_small_pieces_cost_no_more_than_their_bytes() {
    let mut pair = Pair::roomy();
    let (id, server) = pair.opened();
    for _ in 0..10_000 {
        pair.server.send(server, bytes(1)).unwrap();
        pair.server_turn();
    }
    pair.settle();
    let mut pieces = 0;
    while let Poll::Ready(ClientEvent::Data(_)) = pair.recv(id) {
        pieces += 1;
    }
    assert!(pieces < 10, "{pieces} pieces");
}

#[test]
fn a_large_body_lets_small_calls_pass_after_one_chunk() {
    let server = Config { initial_credit: 1 << 20, ..Config::default() };
    let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
    // The socket takes nothing, so that everything queues.
    pair.client_io.outgoing.borrow_mut().capacity = 0;
    let large: Vec<_> = (0..3).map(|_| pair.open(bytes(1 << 20), true)).collect();
    pair.client_turn();
    let small = pair.open(bytes(10), true);
    pair.client_turn();
    pair.client_io.outgoing.borrow_mut().capacity = usize::MAX;
    pair.client_turn();
    let mut before = [0; 3];
    for frame in on_the_wire(&pair) {
        match frame {
            Frame::Data { call, data, .. } => {
                let at = large.iter().position(|id| id.index() == call as usize).unwrap();
                before[at] += data.len();
            }
            Frame::Open { call, .. } if call as usize == small.index() => {
                assert!(before.iter().all(|bytes| *bytes <= CHUNK), "{before:?}");
                return;
            }
            _ => {}
        }
    }
    panic!("the small call did not leave");
}

#[test]
fn large_bodies_take_turns() {
    let server = Config { initial_credit: 1 << 20, ..Config::default() };
    let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
    for _ in 0..4 {
        pair.open(bytes(512 << 10), true);
    }
    for _ in 0..4 {
        pair.client_turn();
    }
    let mut sent = [0_usize; 4];
    for frame in on_the_wire(&pair) {
        if let Frame::Data { call, data, .. } = frame {
            sent[call as usize] += data.len();
            let (least, most) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
            assert!(most - least <= CHUNK, "{sent:?}");
        }
    }
    assert_eq!(sent, [512 << 10; 4]);
}

#[test]
fn large_pieces_are_not_copied() {
    let server = Config { initial_credit: 1 << 20, ..Config::default() };
    let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
    let body = bytes(CHUNK);
    let mut seen = false;
    pair.open(body.clone(), true);
    // A slice of the very buffer waits for the socket: it is referred to until it is written.
    pair.client_io.outgoing.borrow_mut().capacity = 0;
    pair.client_turn();
    seen |= !body.is_unique();
    pair.client_io.outgoing.borrow_mut().capacity = usize::MAX;
    pair.client_turn();
    assert!(seen && body.is_unique());
}

#[test]
fn frames_stay_within_what_the_peer_accepts() {
    let server = Config { max_frame: MIN_FRAME, initial_credit: 1 << 20, ..Config::default() };
    let mut pair = Pair::new(Config::default(), server, usize::MAX, usize::MAX);
    pair.open(bytes(256 << 10), true);
    pair.client_turn();
    let wire: Vec<u8> = pair.client_io.outgoing.borrow().bytes.iter().copied().collect();
    let mut at = 0;
    while at < wire.len() {
        let length = u32::from_le_bytes(wire[at..at + 4].try_into().unwrap());
        assert!(length <= MIN_FRAME);
        at += HEADER + length as usize;
    }
    pair.settle();
    assert!(pair.server.accept().is_some());
}

#[test]
fn what_is_queued_is_bounded_while_the_socket_takes_nothing() {
    let mut pair = Pair::roomy();
    pair.client_io.outgoing.borrow_mut().capacity = 0;
    let context = context();
    let head = CallHead { method: Method::Execute, timeout: None, context: &context };
    let mut opened = Vec::new();
    let refused = loop {
        match pair.client.open(&head, Payload::from(bytes(2_000)), true) {
            Ok(id) => opened.push(id),
            Err(error) => break error,
        }
        pair.client_turn();
    };
    assert_eq!(refused, OpenError::Full);
    assert!(pair.ready().is_pending());
    let queued = pair.client.leftovers()[3] as usize;
    assert!((QUEUE..QUEUE + 4_096).contains(&queued), "{queued}");
    // Cancelling them does not grow it either.
    for id in opened {
        pair.client.cancel(id, crate::CancelReason::Gone);
    }
    for _ in 0..200 {
        pair.client.ping();
    }
    assert!((pair.client.leftovers()[3] as usize) < QUEUE + 4_096);
    pair.client_io.outgoing.borrow_mut().capacity = usize::MAX;
    pair.settle();
    assert!(pair.ready().is_ready());
    pair.assert_idle();
}

#[test]
fn a_socket_that_takes_a_few_bytes_at_a_time_gets_all_of_them() {
    for step in [1, 7, 1_000, 70_000] {
        let mut pair = Pair::new(Config::default(), Config::default(), 100_000, step);
        let id = pair.open(bytes(60_000), true);
        pair.settle();
        let call = pair.server.accept().unwrap();
        assert_eq!((call.body.len(), call.last), (60_000, true));
        pair.server.finish(call.id, End::error(Code::Aborted, "again"), call.body);
        pair.settle();
        let mut got = 0;
        while let Poll::Ready(event) = pair.recv(id) {
            match event {
                ClientEvent::Data(data) => got += data.len(),
                ClientEvent::End(end) => {
                    assert_eq!(end, End::error(Code::Aborted, "again"));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(got, 60_000);
        pair.assert_idle();
    }
}
