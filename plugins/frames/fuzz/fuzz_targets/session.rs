//! A session against a peer that says anything: frames with true lengths and false contents, or no frames at all,
//! while calls are opened, answered and given up. Nothing panics, nothing grows beyond its bound, and when the
//! connection ends nothing is left.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prism_plugin_abi::{CallContext, Code, Payload};
use prism_plugin_frames::{
    Accepted, CallHead, CallId, CancelReason, ClientEvent, ClientSession, Config, End, Frame, MAX_FRAME,
    Method, OpenHead, PREFACE, Reason, ServerEvent, ServerSession, Settings,
};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
struct Io {
    input: VecDeque<u8>,
    closed: bool,
    /// Bytes that it still takes.
    room: usize,
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.input.len().min(to.remaining());
        if count == 0 && !self.closed {
            return Poll::Pending;
        }
        let bytes: Vec<u8> = self.input.drain(..count).collect();
        to.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.room);
        self.room -= count;
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(count)) }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads the fuzzer's choices off its bytes.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(self.next()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes.to_vec())
    }

    /// Something to send: mostly small, sometimes large.
    fn body(&mut self) -> Option<Payload> {
        let size = usize::from(self.next()?);
        Some(Payload::from(Bytes::from(vec![7; if size < 200 { size } else { (size - 199) * 4_000 }])))
    }

    /// What a peer might say.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let mut to = Vec::new();
        let kind = self.next()?;
        let call = u32::from(self.next()? % 10);
        let data = || Bytes::from(vec![9; 300]);
        match kind % 12 {
            0 => {
                let head = OpenHead { method: Method::from_number(kind / 12), ..OpenHead::default() };
                Frame::Open { call, head, data: data(), last: kind >= 128 }.encode(&mut to);
            }
            1 => Frame::Data { call, data: data(), last: kind >= 128 }.encode(&mut to),
            2 => Frame::Data { call, data: Bytes::from(vec![9; 5_000]), last: kind >= 128 }.encode(&mut to),
            3 => Frame::Data { call, data: Bytes::new(), last: kind >= 128 }.encode(&mut to),
            4 => Frame::End { call, end: End::error(Code::Aborted, "x"), data: data() }.encode(&mut to),
            5 => {
                let bytes = u32::from_le_bytes([self.next()?, self.next()?, self.next()?, self.next()?]);
                Frame::Credit { call, bytes }.encode(&mut to);
            }
            6 => Frame::Cancel { call, reason: CancelReason::from_number(kind / 12) }.encode(&mut to),
            7 => Frame::Ping([kind; 8]).encode(&mut to),
            8 => Frame::Pong([1, 0, 0, 0, 0, 0, 0, 0]).encode(&mut to),
            // Any kind, with a true length and any content.
            9 | 10 => {
                let payload = self.bytes()?;
                to.extend_from_slice(&(payload.len() as u32).to_le_bytes());
                to.extend_from_slice(&[self.next()? % 11, kind, 0, 0]);
                to.extend_from_slice(&call.to_le_bytes());
                to.extend_from_slice(&payload);
            }
            _ => to = self.bytes()?,
        }
        Some(to)
    }
}

const CONFIG: Config =
    Config { max_calls: 8, initial_credit: 6_000, max_credit: 50_000, growth: 60_000, max_frame: MAX_FRAME };

/// What may be queued: the bound, what one more frame of a call adds, a PONG each for the PINGs, a GOAWAY.
const QUEUE: u64 = (256 << 10) + (100 << 10);

fn greeting(credit: u32) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    Frame::Settings(Settings { minor: 0, max_calls: 8, initial_credit: credit, max_frame: MAX_FRAME })
        .encode(&mut bytes);
    bytes
}

fn within_bounds([open, ring, grown, queued]: [u64; 4]) {
    assert!(open <= 8 && ring <= 8 && grown <= 60_000 && queued <= QUEUE, "{open} {ring} {grown} {queued}");
}

fn server(mut choices: Choices<'_>) -> Option<()> {
    let mut session = ServerSession::new(CONFIG);
    let mut io = Io { room: usize::MAX, ..Io::default() };
    let mut cx = Context::from_waker(Waker::noop());
    io.input.extend(greeting(u32::from(choices.next()?) * 100));
    let mut calls: VecDeque<CallId> = VecDeque::new();
    let mut alive = true;
    let mut step = |choices: &mut Choices<'_>, session: &mut ServerSession, io: &mut Io| {
        match choices.next()? % 16 {
            0..=6 => io.input.extend(choices.frame()?),
            7 => io.room = usize::from(choices.next()?) * 100,
            8 => io.room = usize::MAX,
            9 => {
                if let Some(Accepted { id, .. }) = session.accept() {
                    calls.push_back(id);
                }
            }
            10 => {
                if let Some(id) = calls.front() {
                    let _ = session.open_answer(*id);
                    let _ = session.send(*id, choices.body()?);
                }
            }
            11 => {
                if let Some(id) = calls.pop_front() {
                    session.finish(id, End::error(Code::Internal, "no"), choices.body()?);
                }
            }
            12 => {
                if let Some(id) = calls.front() {
                    if let Poll::Ready(ServerEvent::Data(data)) = session.poll_recv(&mut cx, *id) {
                        assert!(!data.is_empty());
                    }
                    let _ = session.poll_capacity(&mut cx, *id);
                }
                calls.rotate_left(usize::from(!calls.is_empty()));
            }
            13 => {
                while let Some(id) = session.next_cancelled() {
                    session.finish(id, End::error(Code::Cancelled, ""), Payload::new());
                }
            }
            14 => session.ping(),
            _ => {
                if choices.next()? == 0 {
                    session.goaway(Reason::Drain, "bye");
                }
            }
        }
        if alive && matches!(session.poll_read(&mut cx, io), Poll::Ready(Err(_))) {
            alive = false;
        }
        let _ = session.poll_write(&mut cx, io);
        within_bounds(session.leftovers());
        Some(())
    };
    while step(&mut choices, &mut session, &mut io).is_some() {}
    // The connection ends.
    io.closed = true;
    io.room = usize::MAX;
    while !matches!(session.poll_read(&mut cx, &mut io), Poll::Ready(Err(_))) {}
    assert!(session.accept().is_none());
    while let Some(id) = session.next_cancelled() {
        session.finish(id, End::error(Code::Cancelled, ""), Payload::new());
    }
    while session.poll_write(&mut cx, &mut io).is_pending() {}
    assert_eq!(session.leftovers(), [0; 4]);
    Some(())
}

fn client(mut choices: Choices<'_>) -> Option<()> {
    let mut session = ClientSession::new(CONFIG);
    let mut io = Io { room: usize::MAX, ..Io::default() };
    let mut cx = Context::from_waker(Waker::noop());
    io.input.extend(greeting(u32::from(choices.next()?) * 100));
    let context = CallContext::default();
    let head = CallHead { method: Method::Execute, timeout: None, context: &context };
    let mut calls: VecDeque<CallId> = VecDeque::new();
    let mut step = |choices: &mut Choices<'_>, session: &mut ClientSession, io: &mut Io| {
        match choices.next()? % 16 {
            0..=6 => io.input.extend(choices.frame()?),
            7 => io.room = usize::from(choices.next()?) * 100,
            8 => io.room = usize::MAX,
            9 | 10 => {
                let last = choices.next()? < 128;
                if let Ok(id) = session.open(&head, choices.body()?, last) {
                    calls.push_back(id);
                }
            }
            11 => {
                if let Some(id) = calls.front() {
                    let last = choices.next()? < 128;
                    let _ = session.send(*id, choices.body()?, last);
                }
            }
            12 => {
                if let Some(id) = calls.pop_front() {
                    session.cancel(id, CancelReason::Gone);
                }
            }
            13 => {
                if let Some(id) = calls.pop_front() {
                    match session.poll_recv(&mut cx, id) {
                        Poll::Ready(ClientEvent::End(_) | ClientEvent::Broken(_)) => {}
                        Poll::Ready(ClientEvent::Data(_) | ClientEvent::Opened) | Poll::Pending => {
                            calls.push_back(id)
                        }
                    }
                }
            }
            14 => session.ping(),
            _ => drop(session.poll_ready(&mut cx)),
        }
        let _ = session.poll_read(&mut cx, io);
        let _ = session.poll_write(&mut cx, io);
        within_bounds(session.leftovers());
        Some(())
    };
    while step(&mut choices, &mut session, &mut io).is_some() {}
    io.closed = true;
    io.room = usize::MAX;
    while !matches!(session.poll_read(&mut cx, &mut io), Poll::Ready(Err(_))) {}
    for id in calls {
        loop {
            match session.poll_recv(&mut cx, id) {
                Poll::Ready(ClientEvent::End(_) | ClientEvent::Broken(_)) => break,
                Poll::Ready(ClientEvent::Data(_) | ClientEvent::Opened) => {}
                Poll::Pending => panic!("a call was not told"),
            }
        }
    }
    while session.poll_write(&mut cx, &mut io).is_pending() {}
    assert_eq!(session.leftovers(), [0; 4]);
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    match choices.next() {
        Some(side) if side % 2 == 0 => drop(server(choices)),
        Some(_) => drop(client(choices)),
        None => {}
    }
});
