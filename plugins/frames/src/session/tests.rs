//! Two sessions against each other over a pipe in memory, driven by hand.

mod ends;
mod flow;
mod hostile;
mod model;

use super::*;
use crate::{
    CallHead, Config, End, Method, OpenError, Stopped,
    testing::{Side, context, pipe},
};
use bytes::Bytes;
use prism_plugin_abi::{Code, Payload};
use std::task::{Context, Poll, Waker};

/// Both ends of a connection.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    client_io: Side,
    server_io: Side,
}

const NONE: [u64; 4] = [0; 4];

impl Pair {
    fn new(client: Config, server: Config, capacity: usize, step: usize) -> Self {
        let (client_io, server_io) = pipe(capacity, step);
        let mut pair = Self {
            client: ClientSession::new(client),
            server: ServerSession::new(server),
            client_io,
            server_io,
        };
        pair.settle();
        assert!(pair.client.is_established() && pair.server.is_established());
        pair
    }

    /// With the defaults, and a pipe that takes everything.
    fn roomy() -> Self {
        Self::new(Config::default(), Config::default(), usize::MAX, usize::MAX)
    }

    fn client_turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.client.poll_read(&mut cx, &mut self.client_io) {
            read.unwrap();
        }
        if let Poll::Ready(written) = self.client.poll_write(&mut cx, &mut self.client_io) {
            written.unwrap();
        }
    }

    fn server_turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.server.poll_read(&mut cx, &mut self.server_io) {
            read.unwrap();
        }
        if let Poll::Ready(written) = self.server.poll_write(&mut cx, &mut self.server_io) {
            written.unwrap();
        }
    }

    /// Turns until nothing moves any more, without anybody taking anything.
    fn settle(&mut self) {
        loop {
            let moved = |pair: &Self| (pair.client.read_bytes(), pair.server.read_bytes());
            let before = moved(self);
            for _ in 0..2 {
                self.client_turn();
                self.server_turn();
            }
            if before == moved(self) {
                return;
            }
        }
    }

    fn open(&mut self, body: impl Into<Payload>, last: bool) -> CallId {
        let context = context();
        let head = CallHead { method: Method::Execute, timeout: None, context: &context };
        self.client.open(&head, body.into(), last).unwrap()
    }

    /// A call that is open on both sides, without bodies.
    fn opened(&mut self) -> (CallId, CallId) {
        let id = self.open(Payload::new(), false);
        self.settle();
        (id, self.server.accept().unwrap().id)
    }

    fn recv(&mut self, id: CallId) -> Poll<ClientEvent> {
        self.client.poll_recv(&mut Context::from_waker(Waker::noop()), id)
    }

    fn server_recv(&mut self, id: CallId) -> Poll<ServerEvent> {
        self.server.poll_recv(&mut Context::from_waker(Waker::noop()), id)
    }

    fn capacity(&mut self, id: CallId) -> Poll<Result<usize, Stopped>> {
        self.client.poll_capacity(&mut Context::from_waker(Waker::noop()), id)
    }

    fn server_capacity(&mut self, id: CallId) -> Poll<Result<usize, Stopped>> {
        self.server.poll_capacity(&mut Context::from_waker(Waker::noop()), id)
    }

    fn ready(&mut self) -> Poll<Result<(), OpenError>> {
        self.client.poll_ready(&mut Context::from_waker(Waker::noop()))
    }

    /// What the client has of a call's answer; it must be there.
    fn data(&mut self, id: CallId) -> Bytes {
        match self.recv(id) {
            Poll::Ready(ClientEvent::Data(data)) => data,
            other => panic!("no data: {other:?}"),
        }
    }

    fn end(&mut self, id: CallId) -> End {
        match self.recv(id) {
            Poll::Ready(ClientEvent::End(end)) => end,
            other => panic!("no end: {other:?}"),
        }
    }

    /// Nothing is left of any call.
    fn assert_idle(&self) {
        assert_eq!((self.client.leftovers(), self.server.leftovers()), (NONE, NONE));
    }
}

fn bytes(length: usize) -> Bytes {
    vec![b'x'; length].into()
}

#[test]
fn a_small_call_is_one_frame_and_one_write_each_way() {
    let mut pair = Pair::roomy();
    let before = (pair.client.frames_received(), pair.server.frames_received());
    let writes =
        |pair: &Pair| (pair.client_io.outgoing.borrow().writes, pair.server_io.outgoing.borrow().writes);
    let written = writes(&pair);
    let ids: Vec<_> = (0..100).map(|_| pair.open(bytes(128), true)).collect();
    pair.client_turn();
    pair.server_turn();
    while let Some(call) = pair.server.accept() {
        assert!(call.last);
        assert_eq!(call.head.context.principal.as_deref(), Some("somebody"));
        pair.server.finish(call.id, End::error(Code::NotFound, "gone"), call.body);
    }
    pair.server_turn();
    pair.client_turn();
    for id in ids {
        assert_eq!(pair.data(id), bytes(128));
        assert_eq!(pair.end(id), End::error(Code::NotFound, "gone"));
    }
    assert_eq!(before, (pair.client.frames_received() - 100, pair.server.frames_received() - 100));
    // A hundred calls of one turn are one write.
    let after = writes(&pair);
    assert_eq!((after.0 - written.0, after.1 - written.1), (1, 1));
    pair.assert_idle();
}

#[test]
fn the_context_arrives_as_it_was() {
    let mut pair = Pair::roomy();
    let sent = context();
    let timeout = Some(std::time::Duration::from_micros(1_500));
    let head = CallHead { method: Method::GetMetrics, timeout, context: &sent };
    pair.client.open(&head, Payload::new(), true).unwrap();
    pair.settle();
    let head = pair.server.accept().unwrap().head;
    assert_eq!((head.method, head.timeout), (Method::GetMetrics, timeout));
    let got = head.context;
    assert_eq!(
        (got.instance, got.namespace, got.principal, got.request_id, got.traceparent),
        (sent.instance, sent.namespace, sent.principal, sent.request_id, sent.traceparent)
    );
}

#[test]
fn a_context_that_is_too_long_is_refused_and_costs_nothing() {
    let mut pair = Pair::roomy();
    let context = prism_plugin_abi::CallContext { request_id: "x".repeat(17_000).into(), ..context() };
    let head = CallHead { method: Method::Execute, timeout: None, context: &context };
    let refused = pair.client.open(&head, Payload::new(), true);
    assert!(matches!(refused, Err(OpenError::HeadTooLarge(_))));
    pair.assert_idle();
}

#[test]
fn a_method_of_a_later_minor_is_unimplemented() {
    let mut pair = Pair::roomy();
    let context = context();
    let head = CallHead { method: Method::Other(99), timeout: None, context: &context };
    let id = pair.client.open(&head, Payload::from(bytes(10)), true).unwrap();
    pair.settle();
    assert!(pair.server.accept().is_none());
    assert_eq!(pair.end(id).code, Some(Code::Unimplemented));
    pair.assert_idle();
}

#[test]
fn a_stale_handle_touches_nobody() {
    let mut pair = Pair::roomy();
    let (old, old_server) = pair.opened();
    pair.server.finish(old_server, End::ok(), Payload::new());
    pair.settle();
    assert!(pair.end(old).is_ok());
    let (new, new_server) = pair.opened();
    assert_eq!((old.index(), old_server.index()), (new.index(), new_server.index()));

    assert_eq!(pair.client.send(old, bytes(1), true), Err(Stopped));
    assert_eq!(pair.server.send(old_server, bytes(1)), Err(Stopped));
    assert_eq!(pair.capacity(old), Poll::Ready(Err(Stopped)));
    assert_eq!(pair.server_capacity(old_server), Poll::Ready(Err(Stopped)));
    assert!(matches!(pair.recv(old), Poll::Ready(ClientEvent::Broken(_))));
    assert!(matches!(pair.server_recv(old_server), Poll::Ready(ServerEvent::Cancelled(_))));
    pair.client.cancel(old, crate::CancelReason::Gone);
    pair.server.finish(old_server, End::error(Code::Internal, "not me"), bytes(1));
    pair.settle();

    assert!(pair.recv(new).is_pending());
    assert!(pair.server_recv(new_server).is_pending());
    pair.server.finish(new_server, End::ok(), bytes(3));
    pair.settle();
    assert_eq!(pair.data(new), bytes(3));
    assert!(pair.end(new).is_ok());
    pair.assert_idle();
}
