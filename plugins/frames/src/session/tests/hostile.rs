//! Peers that break the protocol, one rule at a time.

use super::*;
use crate::{
    CancelReason, ConnectionError, Frame, GoAway, MAX_CREDIT, MAX_FRAME, MIN_FRAME, OpenHead, PREFACE,
    ProtocolError, Reason, Settings,
};

const SETTINGS: Settings = Settings { minor: 0, max_calls: 8, initial_credit: 1_000, max_frame: MAX_FRAME };

fn preface(settings: Settings) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    Frame::Settings(settings).encode(&mut bytes);
    bytes
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

fn open(call: u32, data: usize, last: bool) -> Frame {
    Frame::Open {
        call,
        head: OpenHead { context: context(), ..OpenHead::default() },
        data: bytes(data),
        last,
    }
}

fn data(call: u32, length: usize) -> Frame {
    Frame::Data { call, data: bytes(length), last: false }
}

fn end(call: u32, data: usize) -> Frame {
    Frame::End { call, end: End::ok(), data: bytes(data) }
}

/// A server that reads these bytes.
struct Server {
    session: ServerSession,
    io: Side,
    peer: Side,
}

impl Server {
    fn new(config: Config) -> Self {
        let (io, peer) = pipe(usize::MAX, usize::MAX);
        Self { session: ServerSession::new(config), io, peer }
    }

    fn greeted() -> Self {
        let mut server = Self::new(Config { max_calls: 8, initial_credit: 1_000, ..Config::default() });
        server.read(&preface(SETTINGS)).unwrap();
        server
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.io.incoming.borrow_mut().bytes.extend(bytes);
        let mut cx = Context::from_waker(Waker::noop());
        let read = self.session.poll_read(&mut cx, &mut self.io);
        let _ = self.session.poll_write(&mut cx, &mut self.io);
        match read {
            Poll::Ready(read) => read,
            Poll::Pending => Ok(()),
        }
    }

    /// The rule that these frames break; the peer must have been told.
    fn refuses(mut self, frames: &[Frame]) -> ProtocolError {
        let error = protocol(self.read(&encoded(frames)));
        let written: Vec<u8> = self.peer.incoming.borrow_mut().bytes.drain(..).collect();
        let told = goaway(&written);
        assert_ne!(told.reason, Reason::Drain);
        assert_eq!(told.text, error.to_string());
        while self.session.accept().is_some() {}
        while let Some(id) = self.session.next_cancelled() {
            self.session.finish(id, End::error(Code::Cancelled, ""), Payload::new());
        }
        assert_eq!(self.session.open_calls(), 0, "a call is left");
        error
    }
}

/// The same for a client, with two calls open (ids 0 and 1) and a third answered (2).
struct Client {
    session: ClientSession,
    io: Side,
    peer: Side,
    calls: [CallId; 2],
}

impl Client {
    fn greeted() -> Self {
        let (io, peer) = pipe(usize::MAX, usize::MAX);
        let session = ClientSession::new(Config { initial_credit: 1_000, ..Config::default() });
        let id = |index| CallId { index, generation: 0 };
        let mut client = Self { session, io, peer, calls: [id(0), id(1)] };
        client.read(&preface(SETTINGS)).unwrap();
        let context = context();
        let head = CallHead { method: Method::Execute, timeout: None, context: &context };
        let ids = [(); 3].map(|()| client.session.open(&head, Payload::new(), false).unwrap());
        assert_eq!(ids[..2], client.calls);
        client.read(&encoded(&[end(2, 0)])).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(client.session.poll_recv(&mut cx, ids[2]), Poll::Ready(ClientEvent::End(_))));
        client
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        self.io.incoming.borrow_mut().bytes.extend(bytes);
        let mut cx = Context::from_waker(Waker::noop());
        let read = self.session.poll_read(&mut cx, &mut self.io);
        let _ = self.session.poll_write(&mut cx, &mut self.io);
        match read {
            Poll::Ready(read) => read,
            Poll::Pending => Ok(()),
        }
    }

    fn refuses(mut self, frames: &[Frame]) -> ProtocolError {
        let error = protocol(self.read(&encoded(frames)));
        let written: Vec<u8> = self.peer.incoming.borrow_mut().bytes.drain(..).collect();
        assert_eq!(goaway(&written).text, error.to_string());
        let mut cx = Context::from_waker(Waker::noop());
        for id in self.calls {
            loop {
                match self.session.poll_recv(&mut cx, id) {
                    Poll::Ready(ClientEvent::Data(_) | ClientEvent::Opened) => {}
                    Poll::Ready(ClientEvent::End(_) | ClientEvent::Broken(_)) => break,
                    Poll::Pending => panic!("a call was not told"),
                }
            }
        }
        assert_eq!(self.session.open_calls(), 0);
        error
    }
}

fn protocol(read: Result<(), ConnectionError>) -> ProtocolError {
    match read {
        Err(ConnectionError::Protocol(error)) => error,
        other => panic!("it was accepted: {other:?}"),
    }
}

/// The GOAWAY at the end of what was written.
fn goaway(written: &[u8]) -> GoAway {
    let mut input = bytes::BytesMut::from(written.strip_prefix(&PREFACE).unwrap_or(written));
    let mut decoder = crate::Decoder::new(MAX_FRAME);
    let frames: Vec<_> = std::iter::from_fn(|| decoder.decode(&mut input).unwrap()).collect();
    match frames.last() {
        Some(Frame::GoAway(goaway)) => goaway.clone(),
        other => panic!("no GOAWAY: {other:?}"),
    }
}

#[test]
fn other_protocols_are_refused_at_the_first_wrong_byte() {
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for bytes in [&http2[..1], http2, b"\0PRISN", b"\0PRISM\0", b"GET / HTTP/1.1\r\n", &[0x16, 3, 1]] {
        let error = protocol(Server::new(Config::default()).read(bytes));
        assert_eq!(error, ProtocolError::NotFrames, "{bytes:?}");
    }
    for cut in 0..PREFACE.len() {
        Server::new(Config::default()).read(&PREFACE[..cut]).unwrap();
    }
}

#[test]
fn other_majors_are_refused_by_name() {
    let error = protocol(Server::new(Config::default()).read(b"\0PRISM/2 whatever it says"));
    assert_eq!(error, ProtocolError::Version('2'));
}

#[test]
fn the_first_bytes_tell() {
    use crate::{Detection, detect};
    for cut in 0..7 {
        assert_eq!(detect(&PREFACE[..cut]), Detection::NeedMore);
    }
    assert_eq!(detect(&PREFACE[..7]), Detection::Frames);
    assert_eq!(detect(&PREFACE), Detection::Frames);
    assert_eq!(detect(b"\0PRISM/2"), Detection::Frames, "a session refuses it better");
    for other in [&b"P"[..], b"PRI * HTTP/2.0\r\n", b"\0PRISMX", b"\x16\x03", b"\0P-"] {
        assert_eq!(detect(other), Detection::Other);
    }
}

#[test]
fn settings_come_first_and_once() {
    for frame in [open(0, 0, true), Frame::Ping([0; 8]), Frame::GoAway(drain(0))] {
        let mut server = Server::new(Config::default());
        server.read(&PREFACE).unwrap();
        assert!(matches!(server.refuses(&[frame]), ProtocolError::SettingsFirst(_)));
    }
    assert_eq!(Server::greeted().refuses(&[Frame::Settings(SETTINGS)]), ProtocolError::SettingsAgain);
    assert_eq!(Client::greeted().refuses(&[Frame::Settings(SETTINGS)]), ProtocolError::SettingsAgain);
}

fn drain(accepted: u64) -> GoAway {
    GoAway { accepted, reason: Reason::Drain, text: "".into() }
}

#[test]
fn settings_nobody_can_work_with_are_refused() {
    let small = Settings { max_frame: MIN_FRAME - 1, ..SETTINGS };
    let error = protocol(Server::new(Config::default()).read(&preface(small)));
    assert_eq!(error, ProtocolError::Settings(MIN_FRAME - 1));
    let much = Settings { initial_credit: MAX_CREDIT + 1, ..SETTINGS };
    let error = protocol(Server::new(Config::default()).read(&preface(much)));
    assert!(matches!(error, ProtocolError::CreditOverflow(_)));
}

#[test]
fn frames_of_the_wrong_direction_are_refused() {
    assert_eq!(Server::greeted().refuses(&[end(0, 0)]), ProtocolError::Direction("END"));
    assert_eq!(Client::greeted().refuses(&[open(5, 0, true)]), ProtocolError::Direction("OPEN"));
    let cancel = Frame::Cancel { call: 0, reason: CancelReason::Gone };
    assert_eq!(Client::greeted().refuses(&[cancel]), ProtocolError::Direction("CANCEL"));
}

#[test]
fn ids_beyond_the_agreed_number_are_refused() {
    let cancel = Frame::Cancel { call: 8, reason: CancelReason::Gone };
    for frame in [open(8, 0, true), data(8, 1), Frame::Credit { call: u32::MAX, bytes: 1 }, cancel] {
        assert!(matches!(Server::greeted().refuses(&[frame]), ProtocolError::UnknownCall(_)));
    }
    for frame in [end(8, 0), data(u32::MAX, 1), Frame::Credit { call: 8, bytes: 1 }] {
        assert!(matches!(Client::greeted().refuses(&[frame]), ProtocolError::UnknownCall(_)));
    }
}

#[test]
fn an_open_id_is_not_opened_again() {
    let error = Server::greeted().refuses(&[open(3, 0, true), open(3, 0, true)]);
    assert_eq!(error, ProtocolError::CallReused(3));
    // Nor after a cancel that the server has not confirmed.
    let mut server = Server::greeted();
    server.read(&encoded(&[open(3, 0, true)])).unwrap();
    server.session.accept().unwrap();
    let cancel = Frame::Cancel { call: 3, reason: CancelReason::Gone };
    assert_eq!(server.refuses(&[cancel, open(3, 0, true)]), ProtocolError::CallReused(3));
}

#[test]
fn data_beyond_credit_is_refused() {
    assert_eq!(Server::greeted().refuses(&[open(0, 1_001, true)]), ProtocolError::CreditExceeded(0));
    let frames = [open(0, 500, false), data(0, 400), data(0, 101)];
    assert_eq!(Server::greeted().refuses(&frames), ProtocolError::CreditExceeded(0));
    assert_eq!(Client::greeted().refuses(&[data(1, 999), data(1, 2)]), ProtocolError::CreditExceeded(1));
    assert_eq!(Client::greeted().refuses(&[data(1, 999), end(1, 2)]), ProtocolError::CreditExceeded(1));
    // A call that was given up has no more than any other.
    let mut client = Client::greeted();
    client.session.cancel(client.calls[1], CancelReason::Gone);
    client.calls[1] = client.calls[0];
    assert_eq!(client.refuses(&[data(1, 1_001)]), ProtocolError::CreditExceeded(1));
}

#[test]
fn credit_beyond_bounds_is_refused() {
    let frames = [open(0, 0, false), Frame::Credit { call: 0, bytes: MAX_CREDIT }];
    assert_eq!(Server::greeted().refuses(&frames), ProtocolError::CreditOverflow(0));
    let credit = |bytes| Frame::Credit { call: 1, bytes };
    assert_eq!(Client::greeted().refuses(&[credit(u32::MAX)]), ProtocolError::CreditOverflow(1));
    let frames = [credit(MAX_CREDIT - 1_000), credit(1)];
    assert_eq!(Client::greeted().refuses(&frames), ProtocolError::CreditOverflow(1));
}

#[test]
fn data_after_the_end_is_refused() {
    let frames = [open(0, 0, true), data(0, 1)];
    assert_eq!(Server::greeted().refuses(&frames), ProtocolError::AfterEnd(0));
    assert_eq!(Client::greeted().refuses(&[end(0, 0), data(0, 1)]), ProtocolError::AfterEnd(0));
    assert_eq!(Client::greeted().refuses(&[end(0, 0), end(0, 0)]), ProtocolError::AfterEnd(0));
}

#[test]
fn an_answer_begins_once() {
    let mut client = Client::greeted();
    client.read(&encoded(&[data(0, 0), data(0, 0), data(0, 5), data(0, 0), data(1, 5), data(1, 0)])).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut recv = |id| client.session.poll_recv(&mut cx, id);
    let [one, other] = client.calls;
    // Bytes say it as well.
    for id in [one, other] {
        assert!(matches!(recv(id), Poll::Ready(ClientEvent::Data(_))));
        assert!(recv(id).is_pending());
    }
    client.read(&encoded(&[data(0, 0), data(1, 0)])).unwrap();
    let mut recv = |id| client.session.poll_recv(&mut cx, id);
    assert!(recv(one).is_pending() && recv(other).is_pending());
}

#[test]
fn frames_for_calls_that_are_over_mean_nothing() {
    let mut server = Server::greeted();
    let cancel = Frame::Cancel { call: 5, reason: CancelReason::Gone };
    server.read(&encoded(&[data(5, 2_000), Frame::Credit { call: 5, bytes: u32::MAX }, cancel])).unwrap();
    assert_eq!(server.session.leftovers(), NONE);
    let mut client = Client::greeted();
    client.read(&encoded(&[data(2, 2_000), Frame::Credit { call: 2, bytes: 1 }, end(2, 0)])).unwrap();
    assert_eq!(client.session.open_calls(), 2);
}

#[test]
fn pings_whose_answers_are_not_read_are_refused() {
    let mut server = Server::greeted();
    server.io.outgoing.borrow_mut().capacity = 0;
    let pings = vec![Frame::Ping([1; 8]); 65];
    assert_eq!(protocol(server.read(&encoded(&pings))), ProtocolError::PingFlood);
    // With answers read there is no bound.
    let mut server = Server::greeted();
    for _ in 0..1_000 {
        server.read(&encoded(&[Frame::Ping([1; 8])])).unwrap();
    }
}

#[test]
fn opening_and_cancelling_without_end_keeps_nothing() {
    let mut server = Server::greeted();
    let cancel = Frame::Cancel { call: 0, reason: CancelReason::Gone };
    let storm: Vec<_> = (0..1_000).flat_map(|_| [open(0, 0, true), cancel.clone()]).collect();
    for _ in 0..50 {
        server.read(&encoded(&storm)).unwrap();
        server.peer.incoming.borrow_mut().bytes.clear();
        assert!(server.session.waiting() <= 2 * 64, "{}", server.session.waiting());
    }
    assert!(server.session.accept().is_none());
    assert_eq!(server.session.leftovers(), NONE);
}

#[test]
fn a_goaway_with_any_number_is_survived() {
    for accepted in [0, 1, 2, 3, u64::MAX] {
        let mut client = Client::greeted();
        client.read(&encoded(&[Frame::GoAway(drain(accepted)), Frame::GoAway(drain(0))])).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        for id in client.calls {
            let event = client.session.poll_recv(&mut cx, id);
            let Poll::Ready(ClientEvent::Broken(broken)) = event else { panic!("{event:?}") };
            assert!(!broken.begun);
        }
        assert_eq!(client.session.leftovers(), NONE);
    }
}
