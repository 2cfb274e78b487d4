//! The other end: a client that sends any bytes, and reads frames.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use prism_http2::{Accepted, Connection, Error, RecvStream, Respond, Settings};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::unconstrained,
};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

/// Names of codes (RFC 9113 section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field as a literal that is not indexed, without Huffman code.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127 * 128, "one byte more than the prefix is enough for tests");
        if text.len() < 127 {
            bytes.push(text.len() as u8);
        } else {
            let more = text.len() - 127;
            bytes.extend([127, (more & 0x7f) as u8 | 0x80, (more >> 7) as u8]);
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "edge"), (":path", "/a?b")];

pub(crate) fn get() -> Vec<u8> {
    fields(&GET)
}

/// HEADERS that are a whole request.
pub(crate) fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, get())
}

/// HEADERS whose body follows.
pub(crate) fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, get())
}

pub(crate) fn window_update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, more.to_be_bytes())
}

pub(crate) fn setting(identifier: u16, value: u32) -> Vec<u8> {
    [&identifier.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

pub(crate) fn settings() -> Settings {
    Settings {
        max_concurrent_streams: 8,
        max_header_list: 16 << 10,
        max_frame: 16_384,
        stream_window: 65_535,
        connection_window: 1 << 20,
        most_turn: 64 << 10,
        most_output: 256 << 10,
    }
}

/// A connection and its client.
pub(crate) struct Pair {
    pub(crate) server: Connection<DuplexStream>,
    pub(crate) client: DuplexStream,
    /// What was accepted so far.
    pub(crate) accepted: Vec<Accepted>,
    pub(crate) ended: Option<Option<Error>>,
    /// Rung when the server is to have a turn.
    pub(crate) bell: Arc<Bell>,
}

impl Pair {
    pub(crate) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let mut pair = Self::silent(settings, 1 << 22).await;
        pair.send(frame(SETTINGS, 0, 0, [])).await;
        pair
    }

    /// Whose client has said the preface and nothing else.
    pub(crate) async fn silent(settings: Settings, pipe: usize) -> Self {
        let (mut client, server) = tokio::io::duplex(pipe);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let server = Connection::handshake(server, settings).await.unwrap();
        Self { server, client, accepted: Vec::new(), ended: None, bell: Arc::default() }
    }

    /// Has the client send, and the server do what there is to do.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let mut bytes = bytes.as_ref();
        while !bytes.is_empty() {
            let part = bytes.len().min(1 << 16);
            // A server that has ended reads no more.
            if self.client.write_all(&bytes[..part]).await.is_err() {
                return;
            }
            bytes = &bytes[part..];
            self.turn().await;
        }
    }

    /// One turn of the server.
    pub(crate) async fn turn(&mut self) {
        // All that can be done is done in this turn.
        let waker = Waker::from(Arc::clone(&self.bell));
        unconstrained(poll_fn(|_| {
            let cx = &mut Context::from_waker(&waker);
            while self.ended.is_none() {
                match self.server.poll_accept(cx) {
                    Poll::Ready(Some(Ok(accepted))) => self.accepted.push(accepted),
                    Poll::Ready(Some(Err(error))) => self.ended = Some(Some(error)),
                    Poll::Ready(None) => self.ended = Some(None),
                    Poll::Pending => break,
                }
            }
            let _ = self.server.poll_flush(cx);
            Poll::Ready(())
        }))
        .await;
    }

    /// Turns until the server has nothing more to do.
    pub(crate) async fn rest(&mut self) {
        for _ in 0..100 {
            self.bell.take();
            self.turn().await;
            if self.bell.take() == 0 {
                return;
            }
        }
        panic!("it spins");
    }

    /// Every frame that the server has written.
    pub(crate) async fn frames(&mut self) -> Vec<Frame> {
        self.turn().await;
        let mut bytes = Vec::new();
        // What is there is there at once.
        while let Some(Ok(read)) = now(unconstrained(self.client.read_buf(&mut bytes))).await
            && read > 0
        {}
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while let Some((head, more)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (payload, more) = more.split_at(length);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            frames.push(Frame { kind: head[3], flags: head[4], stream, payload: payload.to_vec() });
            rest = more;
        }
        assert!(rest.is_empty(), "a frame is cut: {rest:?}");
        frames
    }

    /// Reads what there is, whole frames or not; how many bytes.
    pub(crate) async fn read_anything(&mut self) -> usize {
        self.turn().await;
        let mut bytes = Vec::new();
        let reading = tokio::time::timeout(Duration::from_millis(1), self.client.read_buf(&mut bytes)).await;
        reading.map_or(0, Result::unwrap)
    }

    /// The only frame of this kind.
    pub(crate) async fn only(&mut self, kind: u8) -> Frame {
        let frames = self.frames().await;
        let mut found = frames.iter().filter(|frame| frame.kind == kind);
        let first = found.next().cloned().unwrap_or_else(|| panic!("none of kind {kind}: {frames:?}"));
        assert!(found.next().is_none(), "several: {frames:?}");
        first
    }

    /// Asserts that the connection has ended with this code.
    pub(crate) async fn has_ended(&mut self, code: u32, why: &str) {
        let goaway = self.only(GOAWAY).await;
        assert_eq!(code_of(&goaway.payload[4..]), code, "{why}: {goaway:?}");
        assert!(
            matches!(&self.ended, Some(Some(Error::Connection(reason, _))) if u32::from(*reason) == code),
            "{why}: {:?}",
            self.ended
        );
    }

    /// Asserts that this stream was reset with this code, and the connection goes on.
    pub(crate) async fn was_reset(&mut self, stream: u32, code: u32, why: &str) {
        let reset = self.only(RST_STREAM).await;
        assert_eq!((reset.stream, code_of(&reset.payload)), (stream, code), "{why}");
        self.lives(why).await;
    }

    /// Asserts that the connection goes on.
    pub(crate) async fn lives(&mut self, why: &str) {
        assert!(self.ended.is_none(), "{why}: {:?}", self.ended);
        self.send(frame(PING, 0, 0, *b"are you?")).await;
        let pong = self.only(PING).await;
        assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"are you?"[..]), "{why}");
    }

    /// The only request that was accepted.
    pub(crate) fn one(&mut self) -> Accepted {
        assert_eq!(self.accepted.len(), 1);
        self.accepted.remove(0)
    }
}

pub(crate) fn code_of(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[..4].try_into().unwrap())
}

/// What a future gives at once.
pub(crate) async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// The next piece of a body, if it is there.
pub(crate) async fn piece(body: &mut RecvStream) -> Option<Option<Result<Bytes, Error>>> {
    now(poll_fn(|cx| body.poll_data(cx))).await
}

pub(crate) async fn trailers(body: &mut RecvStream) -> Option<Result<Option<HeaderMap>, Error>> {
    now(poll_fn(|cx| body.poll_trailers(cx))).await
}

pub(crate) fn ok(respond: &mut Respond, end: bool) -> bool {
    respond.send_head(StatusCode::OK, &HeaderMap::new(), end)
}

/// Counts how often it is woken.
#[derive(Default)]
pub(crate) struct Bell(pub(crate) AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::SeqCst)
    }
}

/// What one poll gives; what it waits for rings the bell.
pub(crate) fn poll<T>(bell: &Arc<Bell>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell)))) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
