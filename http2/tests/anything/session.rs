//! A connection against a client that says anything: frames with true lengths and false contents, or no frames at all, while
//! requests are read, answered, given up and left alone, and while the client reads as little as it likes. Nothing panics, what
//! is sent are whole frames within the client's windows, and what waits for the client stays within its bound.
//!
//! The fuzzer's target and `anything` of the tests are both this file.

use super::judge::{ends_whole, judge};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use prism_http2::{Connection, Reason, RecvStream, Respond, Settings};
use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
struct Wire {
    input: VecDeque<u8>,
    closed: bool,
    /// Bytes that it still takes.
    room: usize,
    /// All that the client said behind its preface, and all that it was told.
    said: Vec<u8>,
    told: Vec<u8>,
}

impl Wire {
    fn say(&mut self, bytes: &[u8]) {
        self.input.extend(bytes);
        self.said.extend(bytes);
    }
}

#[derive(Clone, Default)]
struct Io(Rc<RefCell<Wire>>);

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        let count = wire.input.len().min(to.remaining());
        if count == 0 && !wire.closed {
            return Poll::Pending;
        }
        let bytes: Vec<u8> = wire.input.drain(..count).collect();
        to.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let count = bytes.len().min(wire.room);
        wire.room -= count;
        wire.told.extend(&bytes[..count]);
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
}

/// What is held of one request.
struct Held {
    body: Option<RecvStream>,
    respond: Option<Respond>,
    read: usize,
}

const SETTINGS: Settings = Settings {
    max_concurrent_streams: 4,
    max_header_list: 1 << 10,
    max_frame: 16_384,
    stream_window: 5_000,
    connection_window: 70_000,
    most_turn: 1_000,
    most_output: 4_000,
};

/// What may wait for a client that does not read: bodies up to their bound and one more turn, heads of answers, and answers to
/// what the client sends, which is 64 KiB at most before nothing more of it is read.
const MOST_WAITS: usize =
    2 * SETTINGS.most_output + (64 << 10) + (32 << 10) + SETTINGS.max_concurrent_streams as usize * LARGE;

/// A piece of a body that is larger than there is room for, ever.
const LARGE: usize = 10_000;

/// A header block that is a request.
const GET: [u8; 6] = [0x82, 0x84, 0x86, 0x40 | 1, 1, b'a'];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    bytes.extend(payload);
    bytes
}

fn act(held: &mut Held, choice: u8, cx: &mut Context<'_>) {
    match (choice, &mut held.body, &mut held.respond) {
        (0, Some(body), _) => {
            if let Poll::Ready(Some(Ok(piece))) = body.poll_data(cx) {
                assert!(piece.len() <= 16_384);
                held.read += piece.len();
            }
        }
        (1, Some(body), _) => body.release(std::mem::take(&mut held.read)),
        (2, Some(body), _) => drop(body.poll_trailers(cx)),
        (3, Some(body), _) => drop(body.is_end_stream()),
        (4, body, _) => *body = None,
        (5, _, Some(respond)) => {
            let mut headers = HeaderMap::new();
            headers.insert("x-a", HeaderValue::from_static("b"));
            respond.send_head(StatusCode::OK, &headers, false);
        }
        (6, _, Some(respond)) => drop(respond.send_head(StatusCode::NOT_FOUND, &HeaderMap::new(), true)),
        (7, _, Some(respond)) => {
            if let Poll::Ready(Some(room)) = respond.poll_room(cx) {
                assert!(room <= SETTINGS.most_turn);
                respond.send_data(Bytes::from(vec![0; room]));
            }
        }
        // More than there is room for: it waits for its windows.
        (8, _, Some(respond)) => {
            if let Poll::Ready(Some(_)) = respond.poll_room(cx) {
                respond.send_data(Bytes::from_static(&[7; LARGE]));
            }
        }
        (9, _, Some(respond)) => respond.send_end(None),
        (10, _, Some(respond)) => {
            respond
                .send_end(Some(HeaderMap::from_iter([(http::header::AGE, HeaderValue::from_static("1"))])));
        }
        (11, _, Some(respond)) => respond.reset(Reason::CANCEL),
        (12, _, Some(respond)) => drop(respond.poll_reset(cx)),
        (13, _, respond) => *respond = None,
        _ => {}
    }
}

/// Lives through one connection, as these bytes say.
pub(crate) fn run(input: &[u8]) {
    let io = Io::default();
    live(input, &io);
    let wire = io.0.borrow();
    judge(&wire.said, &wire.told);
}

fn live(input: &[u8], io: &Io) {
    let mut choices = Choices(input);
    io.0.borrow_mut().input.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    // SETTINGS_INITIAL_WINDOW_SIZE: small enough to be felt.
    io.0.borrow_mut().say(&frame(4, 0, 0, &[0, 4, 0, 0, choices.next().unwrap_or(1), 0]));
    let mut cx = Context::from_waker(Waker::noop());
    let handshake = pin!(Connection::handshake(io.clone(), SETTINGS)).poll(&mut cx);
    let Poll::Ready(Ok(mut connection)) = handshake else { panic!("a preface that is whole") };
    let mut pinger = connection.pinger();
    let mut held: Vec<Held> = Vec::new();
    while let Some(choice) = choices.next() {
        let stream = 2 * (choice >> 4) + 1;
        match choice & 15 {
            // Any bytes, and frames whose lengths are true.
            0 => io.0.borrow_mut().say(&choices.bytes().unwrap_or_default()),
            1 => {
                let (kind, flags) = (choices.next().unwrap_or(0) % 11, choices.next().unwrap_or(0));
                let payload = choices.bytes().unwrap_or_default();
                io.0.borrow_mut().say(&frame(kind, flags, stream, &payload));
            }
            2 | 3 => {
                io.0.borrow_mut().say(&frame(1, 4 | choice & 1, stream, &GET));
            }
            4 | 5 => {
                let payload = choices.bytes().unwrap_or_default();
                io.0.borrow_mut().say(&frame(0, choice & 1, stream, &payload));
            }
            6 => io.0.borrow_mut().say(&frame(3, 0, stream, &[0, 0, 0, 8])),
            7 => io.0.borrow_mut().room += 1_000 << (choice >> 4),
            8 => connection.graceful_shutdown(),
            9 if choice == 0xf9 => connection.abrupt_shutdown(Reason::INTERNAL_ERROR),
            9 => drop(pinger.send()),
            10 => drop(connection.set_stream_window(u32::from(choice >> 4) * 1_000)),
            11 => connection.set_connection_window(65_535 + u32::from(choice >> 4) * 10_000),
            12 if choice == 0xfc => io.0.borrow_mut().closed = true,
            13 => {
                let stream = if choice == 0xfd { 0 } else { stream };
                let more = [0, 0, choices.next().unwrap_or(0), 1];
                io.0.borrow_mut().say(&frame(8, 0, stream, &more));
            }
            _ => {
                let which = usize::from(choices.next().unwrap_or(0)) % held.len().max(1);
                let what = choices.next().unwrap_or(0) % 14;
                if let Some(held) = held.get_mut(which) {
                    act(held, what, &mut cx);
                }
            }
        }
        loop {
            match connection.poll_accept(&mut cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    held.push(Held { body: Some(request.into_body()), respond: Some(respond), read: 0 });
                    held.retain(|held| held.body.is_some() || held.respond.is_some());
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    // Handles may outlive it.
                    drop(connection);
                    for held in &mut held {
                        (0..14).for_each(|choice| act(held, choice, &mut cx));
                    }
                    return;
                }
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(Err(_)) = connection.poll_flush(&mut cx) {
            return;
        }
        let _ = pinger.poll_answer(&mut cx);
    }
    // What still waits is what could not be written: it ends with a frame, and has its bound.
    let before = io.0.borrow().told.len();
    io.0.borrow_mut().room = usize::MAX / 2;
    if matches!(connection.poll_flush(&mut cx), Poll::Ready(Ok(()))) {
        let wire = io.0.borrow();
        assert!(ends_whole(&wire.told));
        let waited = wire.told.len() - before;
        assert!(waited <= MOST_WAITS, "{waited} bytes waited");
    }
}
