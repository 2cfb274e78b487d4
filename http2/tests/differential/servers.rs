//! Both servers behind the same face, each polled by hand until there is nothing left to do.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use prism_http2::{Connection, Respond, Settings};
use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

pub(crate) const MOST_HEADER_LIST: usize = 2_048;

/// How a request's body has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Not,
    With(Option<Vec<(String, Vec<Vec<u8>>)>>),
    Broken,
}

/// A request as the application sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) headers: Vec<(String, Vec<Vec<u8>>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
}

/// What the server told its client, of what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    Answer(u32),
    Reset(u32, u32),
    End(u32),
    Acknowledged,
    Pong,
}

/// Everything until now, and what was said just now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Seen>,
    pub(crate) said: Vec<Said>,
}

impl Outcome {
    /// Whether the two are the same. How much was read of a body that broke off is for chance to say: ours gives out parts of frames.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let seen = |outcome: &Self| -> Vec<Seen> {
            let whole = |seen: &Seen| match seen.end {
                End::Broken => Seen { body: Vec::new(), ..seen.clone() },
                _ => seen.clone(),
            };
            outcome.seen.iter().map(whole).collect()
        };
        self.said == other.said && seen(self) == seen(other)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.said.iter().any(|said| matches!(said, Said::End(_)))
    }
}

/// A body, and the way of its answer.
pub(crate) trait Call {
    fn data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>>;
    fn trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, ()>>;
    fn answer(&mut self);
}

pub(crate) trait Server {
    type Call: Call;
    /// Crumbs of a cookie are joined (section 8.2.3) by whoever uses it.
    const LEAVES_CRUMBS: bool;
    /// The next request, and whatever else there is to do.
    fn poll(&mut self, cx: &mut Context<'_>) -> Option<(Request<()>, Self::Call)>;
}

pub(crate) struct Run<S: Server> {
    server: S,
    client: DuplexStream,
    calls: Vec<S::Call>,
    seen: Vec<Seen>,
    answers: bool,
    said: Vec<u8>,
}

fn sorted(headers: &HeaderMap, joins: bool) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut all: Vec<_> = headers
        .keys()
        .map(|name| {
            let mut values: Vec<_> =
                headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
            if joins && name == header::COOKIE {
                values = vec![values.join(&b"; "[..])];
            }
            (name.to_string(), values)
        })
        .collect();
    all.sort();
    all
}

impl<S: Server> Run<S> {
    /// A connection whose client has said the preface.
    pub(crate) fn new(server: impl FnOnce(DuplexStream) -> S, answers: bool) -> Self {
        let (mut client, io) = tokio::io::duplex(1 << 20);
        write(&mut client, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        Self { server: server(io), client, calls: Vec::new(), seen: Vec::new(), answers, said: Vec::new() }
    }

    /// Has the client say this, in two parts, and the server do what there is to do.
    pub(crate) fn feed(&mut self, bytes: &[u8], cut: usize) -> Outcome {
        let mut cx = Context::from_waker(Waker::noop());
        for part in [&bytes[..cut], &bytes[cut..]] {
            write(&mut self.client, part);
            self.turn(&mut cx);
        }
        self.read(&mut cx);
        let mut said = parse(&mut self.said);
        said.sort();
        Outcome { seen: self.seen.clone(), said }
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        loop {
            let before = (self.calls.len(), self.seen.clone());
            while let Some((request, call)) = self.server.poll(cx) {
                self.seen.push(Seen {
                    method: request.method().to_string(),
                    uri: request.uri().to_string(),
                    headers: sorted(request.headers(), S::LEAVES_CRUMBS),
                    body: Vec::new(),
                    end: End::Not,
                });
                self.calls.push(call);
            }
            for (call, seen) in self.calls.iter_mut().zip(&mut self.seen) {
                read(call, seen, self.answers, cx);
            }
            if before == (self.calls.len(), self.seen.clone()) {
                break;
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) {
        let mut room = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut self.client).poll_read(cx, &mut buffer);
            if buffer.filled().is_empty() || polled.is_pending() {
                return;
            }
            self.said.extend(buffer.filled());
        }
    }
}

fn write(client: &mut DuplexStream, bytes: &[u8]) {
    // A server that is gone reads nothing; there is room for all that is said.
    let _ = Pin::new(client).poll_write(&mut Context::from_waker(Waker::noop()), bytes);
}

fn read(call: &mut impl Call, seen: &mut Seen, answers: bool, cx: &mut Context<'_>) {
    if seen.end != End::Not {
        return;
    }
    loop {
        match call.data(cx) {
            Poll::Ready(Some(Ok(piece))) => seen.body.extend(piece),
            Poll::Ready(Some(Err(()))) => return seen.end = End::Broken,
            Poll::Ready(None) => break,
            Poll::Pending => return,
        }
    }
    match call.trailers(cx) {
        Poll::Ready(Ok(trailers)) => {
            // Trailers of nothing are none.
            let trailers = trailers.filter(|trailers| !trailers.is_empty());
            seen.end = End::With(trailers.as_ref().map(|trailers| sorted(trailers, false)));
            if answers {
                call.answer();
            }
        }
        Poll::Ready(Err(())) => seen.end = End::Broken,
        Poll::Pending => {}
    }
}

/// Takes whole frames.
fn parse(bytes: &mut Vec<u8>) -> Vec<Said> {
    let mut said = Vec::new();
    let mut rest = &bytes[..];
    while let Some((head, more)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, more)) = more.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let code = |payload: &[u8]| u32::from_be_bytes(payload[..4].try_into().unwrap());
        match (head[3], head[4] & 1) {
            (1, _) => said.push(Said::Answer(stream)),
            (3, _) => said.push(Said::Reset(stream, code(payload))),
            (4, 1) => said.push(Said::Acknowledged),
            (6, 1) => said.push(Said::Pong),
            (7, _) => said.push(Said::End(code(&payload[4..]))),
            _ => {}
        }
        rest = more;
    }
    *bytes = rest.to_vec();
    said
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the preface is there"),
    }
}

pub(crate) struct Ours(Option<Connection<DuplexStream>>);

impl Ours {
    pub(crate) fn new(io: DuplexStream) -> Self {
        let settings = Settings {
            max_concurrent_streams: 8,
            max_header_list: MOST_HEADER_LIST as u32,
            max_frame: 16_384,
            stream_window: 65_535,
            connection_window: 1 << 20,
            most_turn: 64 << 10,
            most_output: 256 << 10,
        };
        Self(Some(now(Connection::handshake(io, settings)).unwrap()))
    }
}

impl Server for Ours {
    type Call = (prism_http2::RecvStream, Respond);
    const LEAVES_CRUMBS: bool = false;

    fn poll(&mut self, cx: &mut Context<'_>) -> Option<(Request<()>, Self::Call)> {
        let connection = self.0.as_mut()?;
        match connection.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                let (head, body) = request.into_parts();
                return Some((Request::from_parts(head, ()), (body, respond)));
            }
            Poll::Ready(Some(Err(_)) | None) => self.0 = None,
            Poll::Pending => {
                let _ = connection.poll_flush(cx);
            }
        }
        None
    }
}

impl Call for (prism_http2::RecvStream, Respond) {
    fn data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
        let piece = self.0.poll_data(cx);
        if let Poll::Ready(Some(Ok(piece))) = &piece {
            self.0.release(piece.len());
        }
        piece.map_err(drop)
    }

    fn trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, ()>> {
        self.0.poll_trailers(cx).map_err(drop)
    }

    fn answer(&mut self) {
        self.1.send_head(StatusCode::OK, &HeaderMap::new(), true);
    }
}

pub(crate) struct Theirs(Option<h2::server::Connection<DuplexStream, Bytes>>);

impl Theirs {
    pub(crate) fn new(io: DuplexStream) -> Self {
        let handshake = h2::server::Builder::new()
            .max_concurrent_streams(8)
            .max_header_list_size(MOST_HEADER_LIST as u32)
            .initial_connection_window_size(1 << 20)
            .handshake(io);
        Self(Some(now(handshake).unwrap()))
    }
}

impl Server for Theirs {
    type Call = (h2::RecvStream, h2::server::SendResponse<Bytes>);
    const LEAVES_CRUMBS: bool = true;

    fn poll(&mut self, cx: &mut Context<'_>) -> Option<(Request<()>, Self::Call)> {
        match self.0.as_mut()?.poll_accept(cx) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                let (head, body) = request.into_parts();
                return Some((Request::from_parts(head, ()), (body, respond)));
            }
            Poll::Ready(Some(Err(_)) | None) => self.0 = None,
            Poll::Pending => {}
        }
        None
    }
}

impl Call for (h2::RecvStream, h2::server::SendResponse<Bytes>) {
    fn data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
        let piece = self.0.poll_data(cx);
        if let Poll::Ready(Some(Ok(piece))) = &piece {
            let _ = self.0.flow_control().release_capacity(piece.len());
        }
        piece.map_err(drop)
    }

    fn trailers(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, ()>> {
        self.0.poll_trailers(cx).map_err(drop)
    }

    fn answer(&mut self) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::OK;
        let _ = self.1.send_response(response, true);
    }
}
