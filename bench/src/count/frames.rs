//! Prism frames: the codec, and two sessions against each other over a pipe in memory.

use super::{Scenario, Work, parts::SMALL};
use crate::client::echo_request;
use bytes::BytesMut;
use prism_plugin_abi::{CallContext, InstanceId, Payload};
use prism_plugin_frames::{
    CallHead, ClientEvent, ClientSession, Config, Decoder, End, Frame, MAX_FRAME, Method, OpenHead,
    ServerSession,
};
use std::{
    hint::black_box,
    task::{Context, Poll, Waker},
};
use tokio::io::DuplexStream;

pub(super) const SCENARIOS: [Scenario; 4] = [
    Scenario { name: "frames: encode a small call", iterations: 10_000, prepare: encode },
    Scenario { name: "frames: decode a small call", iterations: 10_000, prepare: decode },
    Scenario { name: "frames: a session's small call, alone", iterations: 10_000, prepare: || session(1) },
    Scenario {
        name: "frames: a session's small call, 32 at once",
        iterations: 10_000,
        prepare: || session(32),
    },
];

fn context() -> CallContext {
    CallContext {
        instance: InstanceId(7),
        namespace: "bench".into(),
        principal: None,
        request_id: "0123456789abcdef0123456789abcdef".into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        deadline: None,
    }
}

fn open() -> Frame {
    let head = OpenHead { method: Method::Execute, timeout: None, context: context() };
    Frame::Open { call: 3, head, data: echo_request(SMALL), last: true }
}

fn encode() -> Work {
    let frame = open();
    let mut bytes = Vec::new();
    Box::new(move |times| {
        for _ in 0..times {
            bytes.clear();
            black_box(&frame).encode(&mut bytes);
            black_box(&bytes);
        }
    })
}

fn decode() -> Work {
    let mut bytes = Vec::new();
    open().encode(&mut bytes);
    let mut decoder = Decoder::new(MAX_FRAME);
    let mut input = BytesMut::with_capacity(64 << 10);
    Box::new(move |times| {
        for _ in 0..times {
            input.extend_from_slice(&bytes);
            let frame = decoder.decode(&mut input);
            assert!(matches!(frame, Ok(Some(Frame::Open { last: true, .. }))));
        }
    })
}

/// Both ends of a connection, driven by hand.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    client_io: DuplexStream,
    server_io: DuplexStream,
}

impl Pair {
    fn new() -> Self {
        let (client_io, server_io) = tokio::io::duplex(1 << 20);
        let (client, server) = (ClientSession::new(Config::default()), ServerSession::new(Config::default()));
        let mut pair = Self { client, server, client_io, server_io };
        for _ in 0..4 {
            pair.client_turn();
            pair.server_turn();
        }
        assert!(pair.client.is_established() && pair.server.is_established());
        pair
    }

    fn client_turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.client.poll_read(&mut cx, &mut self.client_io) {
            read.expect("a connection");
        }
        assert!(self.client.poll_write(&mut cx, &mut self.client_io).is_ready());
    }

    fn server_turn(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.server.poll_read(&mut cx, &mut self.server_io) {
            read.expect("a connection");
        }
        while let Some(accepted) = self.server.accept() {
            self.server.finish(accepted.id, End::ok(), accepted.body);
        }
        assert!(self.server.poll_write(&mut cx, &mut self.server_io).is_ready());
    }
}

fn session(at_once: u32) -> Work {
    let mut pair = Pair::new();
    let context = context();
    let message = echo_request(SMALL);
    let mut calls = Vec::with_capacity(at_once as usize);
    Box::new(move |times| {
        let mut cx = Context::from_waker(Waker::noop());
        let head = CallHead { method: Method::Execute, timeout: None, context: &context };
        for _ in 0..times / at_once {
            for _ in 0..at_once {
                let body = Payload::from(message.clone());
                calls.push(pair.client.open(&head, body, true).expect("room for a call"));
            }
            pair.client_turn();
            pair.server_turn();
            pair.client_turn();
            for call in calls.drain(..) {
                let data = pair.client.poll_recv(&mut cx, call);
                assert!(matches!(data, Poll::Ready(ClientEvent::Data(data)) if data.len() == message.len()));
                assert!(
                    matches!(pair.client.poll_recv(&mut cx, call), Poll::Ready(ClientEvent::End(end)) if end.is_ok())
                );
            }
        }
    })
}
