//! Two sessions against each other over a pipe in memory.

use super::*;
use crate::{CallHead, Config, End, Method};
use bytes::Bytes;
use prism_plugin_abi::{CallContext, Code, Payload};
use std::task::{Context, Poll, Waker};
use tokio::io::DuplexStream;

/// Both ends of a connection, driven by hand.
pub(super) struct Pair {
    pub(super) client: ClientSession,
    pub(super) server: ServerSession,
    client_io: DuplexStream,
    server_io: DuplexStream,
}

impl Pair {
    pub(super) fn new(client: Config, server: Config, pipe: usize) -> Self {
        let (client_io, server_io) = tokio::io::duplex(pipe);
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

    pub(super) fn client_turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.client.poll_read(&mut cx, &mut self.client_io) {
            read.unwrap();
        }
        if let Poll::Ready(written) = self.client.poll_write(&mut cx, &mut self.client_io) {
            written.unwrap();
        }
    }

    pub(super) fn server_turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.server.poll_read(&mut cx, &mut self.server_io) {
            read.unwrap();
        }
        if let Poll::Ready(written) = self.server.poll_write(&mut cx, &mut self.server_io) {
            written.unwrap();
        }
    }

    /// Turns until nothing moves any more, without anybody taking anything.
    pub(super) fn settle(&mut self) {
        loop {
            let before = (self.client.frames_received(), self.server.frames_received());
            for _ in 0..4 {
                self.client_turn();
                self.server_turn();
            }
            if before == (self.client.frames_received(), self.server.frames_received()) {
                return;
            }
        }
    }

    pub(super) fn recv(&mut self, id: CallId) -> Poll<ClientEvent> {
        self.client.poll_recv(&mut Context::from_waker(Waker::noop()), id)
    }

    pub(super) fn server_recv(&mut self, id: CallId) -> Poll<ServerEvent> {
        self.server.poll_recv(&mut Context::from_waker(Waker::noop()), id)
    }
}

pub(super) fn context() -> CallContext {
    CallContext {
        instance: prism_plugin_abi::InstanceId(7),
        namespace: "demo".into(),
        principal: Some("somebody".into()),
        request_id: "0123456789abcdef".into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        deadline: None,
    }
}

fn data(pair: &mut Pair, id: CallId) -> Bytes {
    match pair.recv(id) {
        Poll::Ready(ClientEvent::Data(data)) => data,
        other => panic!("no data: {other:?}"),
    }
}

fn end(pair: &mut Pair, id: CallId) -> End {
    match pair.recv(id) {
        Poll::Ready(ClientEvent::End(end)) => end,
        other => panic!("no end: {other:?}"),
    }
}

#[test]
fn a_small_call_is_one_frame_each_way() {
    let mut pair = Pair::new(Config::default(), Config::default(), 1 << 20);
    let context = context();
    let head = CallHead { method: Method::Execute, timeout: None, context: &context };
    let before = (pair.client.frames_received(), pair.server.frames_received());
    let id = pair.client.open(&head, Payload::from(Bytes::from(vec![1; 128])), true).unwrap();
    pair.client_turn();
    pair.server_turn();
    let call = pair.server.accept().unwrap();
    assert!(call.last);
    assert_eq!(call.head.context.principal.as_deref(), Some("somebody"));
    assert_eq!(call.body.len(), 128);
    pair.server.finish(call.id, End::error(Code::NotFound, "gone"), call.body);
    pair.server_turn();
    pair.client_turn();
    assert_eq!(data(&mut pair, id), vec![1; 128]);
    assert_eq!(end(&mut pair, id), End::error(Code::NotFound, "gone"));
    assert_eq!(before, (pair.client.frames_received() - 1, pair.server.frames_received() - 1));
    assert_eq!((pair.client.leftovers(), pair.server.leftovers()), ([0; 4], [0; 4]));
}
