//! Random scheduling: whatever the order of turns and steps, each side gets exactly what the other sent, and
//! nothing is left behind.

use super::*;
use crate::{
    CHUNK, CancelReason,
    testing::{Channel, pattern},
};
use proptest::prelude::*;
use std::{cell::RefCell, collections::HashMap, rc::Rc};

#[derive(Clone, Debug)]
enum Step {
    ClientTurn,
    ServerTurn,
    /// A call with so many bytes at once; is it all?
    Open(usize, bool),
    ClientSend(usize, usize, bool),
    ClientRecv(usize),
    Cancel(usize),
    Accept,
    ServerRecv(usize),
    ServerSend(usize, usize),
    OpenAnswer(usize),
    Finish(usize, usize),
    ServeCancelled,
    Ping,
    /// What both directions hold, and move at once.
    Pipe(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..64_usize;
    let size = || prop_oneof![4 => 0..300_usize, 2 => 0..20_000_usize, 1 => 0..300_000_usize];
    prop_oneof![
        8 => Just(Step::ClientTurn),
        8 => Just(Step::ServerTurn),
        4 => (size(), any::<bool>()).prop_map(|(size, last)| Step::Open(size, last)),
        4 => (which(), size(), prop::bool::weighted(0.3)).prop_map(|(at, size, last)| Step::ClientSend(at, size, last)),
        6 => which().prop_map(Step::ClientRecv),
        2 => which().prop_map(Step::Cancel),
        5 => Just(Step::Accept),
        6 => which().prop_map(Step::ServerRecv),
        4 => (which(), size()).prop_map(|(at, size)| Step::ServerSend(at, size)),
        1 => which().prop_map(Step::OpenAnswer),
        2 => (which(), size()).prop_map(|(at, size)| Step::Finish(at, size)),
        2 => Just(Step::ServeCancelled),
        1 => Just(Step::Ping),
        1 => (1..300_000_usize, prop_oneof![1..30_usize, 1..100_000_usize])
            .prop_map(|(capacity, step)| Step::Pipe(capacity, step)),
    ]
}

/// One call, as both sides know it. Its bodies are `pattern(seed)` and `pattern(seed + 1)`.
#[derive(Debug)]
struct Call {
    seed: u64,
    id: CallId,
    /// What the client sent; whether that is all; what the server got of it.
    up: (usize, bool, usize),
    /// The same in the other direction.
    down: (usize, bool, usize),
    /// The server has said that its answer begins; the client has heard it.
    begun: bool,
    heard: bool,
    cancelled: bool,
    over: bool,
}

struct Model {
    pair: Pair,
    calls: Vec<Call>,
    /// By the seed that travels as the request id.
    accepted: HashMap<u64, CallId>,
    context: prism_plugin_abi::CallContext,
}

fn body(seed: u64, from: usize, length: usize) -> Payload {
    // In pieces of all sizes.
    let mut payload = Payload::new();
    let mut at = from;
    while at < from + length {
        let size = (from + length - at).min(1 + (at.wrapping_mul(7_919) % 9_000));
        payload.push((at..at + size).map(|at| pattern(seed, at)).collect());
        at += size;
    }
    payload
}

fn check(seed: u64, from: usize, data: &[u8]) {
    for (at, byte) in data.iter().enumerate() {
        assert_eq!(*byte, pattern(seed, from + at), "byte {} of body {seed}", from + at);
    }
}

impl Model {
    fn new(client: Config, server: Config) -> Self {
        let pair = Pair::new(client, server, 300_000, 100_000);
        Self { pair, calls: Vec::new(), accepted: HashMap::new(), context: context() }
    }

    /// A call that is under way; which of them is the step's choice.
    fn pick(&self, choice: usize) -> Option<usize> {
        let live: Vec<_> = (0..self.calls.len()).filter(|at| !self.calls[*at].over).collect();
        live.get(choice % live.len().max(1)).copied()
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::ClientTurn => self.pair.client_turn(),
            Step::ServerTurn => self.pair.server_turn(),
            Step::Open(size, last) => self.open(size, last),
            Step::ClientSend(at, size, last) => {
                let Some(at) = self.pick(at) else { return };
                self.client_send(at, size, last);
            }
            Step::ClientRecv(at) => {
                let Some(at) = self.pick(at) else { return };
                self.client_recv(at);
            }
            Step::Cancel(at) => {
                let Some(at) = self.pick(at) else { return };
                let call = &mut self.calls[at];
                self.pair.client.cancel(call.id, CancelReason::Gone);
                (call.cancelled, call.over) = (true, true);
            }
            Step::Accept => self.accept(),
            Step::ServerRecv(at) => {
                let Some(at) = self.pick(at) else { return };
                self.server_recv(at);
            }
            Step::ServerSend(at, size) => {
                let Some(at) = self.pick(at) else { return };
                self.server_send(at, size);
            }
            Step::OpenAnswer(at) => {
                let Some(at) = self.pick(at) else { return };
                self.open_answer(at);
            }
            Step::Finish(at, size) => {
                let Some(at) = self.pick(at) else { return };
                self.finish(at, size);
            }
            Step::ServeCancelled => self.serve_cancelled(),
            Step::Ping => {
                self.pair.client.ping();
                self.pair.server.ping();
            }
            Step::Pipe(capacity, step) => {
                let set = |channel: &Rc<RefCell<Channel>>| {
                    let mut channel = channel.borrow_mut();
                    (channel.capacity, channel.step) = (capacity, step);
                };
                set(&self.pair.client_io.outgoing);
                set(&self.pair.server_io.outgoing);
            }
        }
    }

    fn open(&mut self, size: usize, last: bool) {
        let seed = 2 * self.calls.len() as u64;
        self.context.request_id = seed.to_string().into();
        let head = CallHead { method: Method::ExecuteStream, timeout: None, context: &self.context };
        match self.pair.client.open(&head, body(seed, 0, size), last) {
            Ok(id) => self.calls.push(Call {
                seed,
                id,
                up: (size, last, 0),
                down: (0, false, 0),
                begun: false,
                heard: false,
                cancelled: false,
                over: false,
            }),
            Err(error) => assert_eq!(error, OpenError::Full),
        }
    }

    fn client_send(&mut self, at: usize, size: usize, last: bool) {
        let call = &mut self.calls[at];
        if call.up.1 {
            return;
        }
        // Small sends ignore the capacity, which is allowed.
        let size = match self.pair.client.poll_capacity(&mut Context::from_waker(Waker::noop()), call.id) {
            Poll::Ready(Ok(capacity)) => size.min(capacity),
            Poll::Pending => size.min(1_000),
            Poll::Ready(Err(Stopped)) => return,
        };
        assert!(size <= 2 * CHUNK);
        self.pair.client.send(call.id, body(call.seed, call.up.0, size), last).unwrap();
        call.up.0 += size;
        call.up.1 = last;
    }

    fn client_recv(&mut self, at: usize) {
        let id = self.calls[at].id;
        let event = self.pair.recv(id);
        let call = &mut self.calls[at];
        match event {
            Poll::Ready(ClientEvent::Data(data)) => {
                assert!(!data.is_empty());
                check(call.seed + 1, call.down.2, &data);
                call.down.2 += data.len();
                assert!(call.down.2 <= call.down.0);
            }
            Poll::Ready(ClientEvent::Opened) => {
                assert!(call.begun && !call.heard && call.down.2 == 0);
                call.heard = true;
            }
            Poll::Ready(ClientEvent::End(end)) => {
                assert_eq!(end, End::error(Code::DataLoss, call.seed.to_string()));
                assert!(call.down.1, "an end that nobody sent");
                assert_eq!(call.down.0, call.down.2, "the end came before all data");
                call.over = true;
            }
            Poll::Ready(ClientEvent::Broken(broken)) => panic!("{broken}"),
            Poll::Pending => {}
        }
    }

    fn accept(&mut self) {
        let Some(accepted) = self.pair.server.accept() else { return };
        let seed: u64 = accepted.head.context.request_id.parse().unwrap();
        let call = &mut self.calls[seed as usize / 2];
        let data = accepted.body.into_bytes();
        check(seed, 0, &data);
        call.up.2 = data.len();
        if accepted.last {
            assert!(call.up.1);
            assert_eq!(call.up.0, call.up.2);
        }
        assert!(self.accepted.insert(seed, accepted.id).is_none(), "offered twice");
    }

    fn server_recv(&mut self, at: usize) {
        let seed = self.calls[at].seed;
        let Some(id) = self.accepted.get(&seed).copied() else { return };
        let event = self.pair.server_recv(id);
        let call = &mut self.calls[at];
        match event {
            Poll::Ready(ServerEvent::Data(data)) => {
                assert!(!data.is_empty());
                check(seed, call.up.2, &data);
                call.up.2 += data.len();
            }
            Poll::Ready(ServerEvent::HalfClose) => {
                assert!(call.up.1, "an end that nobody sent");
                assert_eq!(call.up.0, call.up.2, "the end came before all data");
            }
            Poll::Ready(ServerEvent::Cancelled(_)) => assert!(call.cancelled || call.down.1),
            Poll::Pending => {}
        }
    }

    fn server_send(&mut self, at: usize, size: usize) {
        let call = &mut self.calls[at];
        let Some(id) = self.accepted.get(&call.seed).copied().filter(|_| !call.down.1) else { return };
        let Poll::Ready(Ok(capacity)) = self.pair.server_capacity(id) else { return };
        let size = size.min(capacity);
        self.pair.server.send(id, body(call.seed + 1, call.down.0, size)).unwrap();
        call.down.0 += size;
        call.begun |= size > 0;
    }

    fn open_answer(&mut self, at: usize) {
        let call = &mut self.calls[at];
        let Some(id) = self.accepted.get(&call.seed).copied().filter(|_| !call.begun) else { return };
        call.begun = self.pair.server.open_answer(id).is_ok();
    }

    fn finish(&mut self, at: usize, size: usize) {
        let call = &mut self.calls[at];
        let Some(id) = self.accepted.get(&call.seed).copied().filter(|_| !call.down.1) else { return };
        let end = End::error(Code::DataLoss, call.seed.to_string());
        self.pair.server.finish(id, end, body(call.seed + 1, call.down.0, size));
        call.down.0 += size;
        (call.down.1, call.begun) = (true, true);
    }

    fn serve_cancelled(&mut self) {
        while let Some(id) = self.pair.server.next_cancelled() {
            self.pair.server.finish(id, End::error(Code::Cancelled, ""), bytes(10));
        }
    }

    /// Everybody does what is left to do, until every call is over.
    fn wind_up(&mut self) {
        self.run(&Step::Pipe(1 << 20, 1 << 20));
        for round in 0.. {
            assert!(
                round < 10_000,
                "stuck: {:?}",
                self.calls.iter().filter(|call| !call.over).collect::<Vec<_>>()
            );
            self.pair.settle();
            self.accept();
            self.serve_cancelled();
            let mut over = true;
            for at in 0..self.calls.len() {
                if self.calls[at].over {
                    continue;
                }
                over = false;
                self.client_send(at, 0, true);
                self.server_recv(at);
                if self.accepted.contains_key(&self.calls[at].seed) {
                    self.finish(at, 100);
                }
                self.client_recv(at);
            }
            if over && self.pair.client.open_calls() == 0 && self.pair.server.open_calls() == 0 {
                break;
            }
        }
        self.pair.settle();
        self.pair.assert_idle();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives_and_nothing_stays(
        steps in prop::collection::vec(step(), 1..300),
        credits in (prop_oneof![1..5_000_u32, 1..100_000_u32], prop_oneof![1..5_000_u32, 1..100_000_u32]),
        max_calls in prop_oneof![1..4_u32, 1..40_u32],
        growth in prop_oneof![Just(0_u64), 0..1_000_000_u64],
    ) {
        let client = Config { initial_credit: credits.0, growth, ..Config::default() };
        let server = Config { initial_credit: credits.1, growth, max_calls, ..Config::default() };
        let mut model = Model::new(client, server);
        for step in &steps {
            model.run(step);
        }
        model.wind_up();
    }
}
