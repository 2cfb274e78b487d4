//! The services behind the routes: one that keeps every byte of HTTP/1.1, and one that speaks HTTP/2.

use crate::reading::{self, Message};
use bytes::Bytes;
use http::{Request, Response};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};
use tokio::{runtime::Runtime, task::JoinSet};

/// A service that keeps what it got, byte by byte, for each connection.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    ends: Arc<AtomicBool>,
    accepting: JoinHandle<Vec<Vec<u8>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends = Arc::<AtomicBool>::default();
        let told = Arc::clone(&ends);
        let accepting = thread::spawn(move || {
            let mut connections = Vec::new();
            for socket in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    break;
                }
                let socket = socket.unwrap();
                connections.push(thread::spawn(move || record(socket)));
            }
            connections.into_iter().map(|connection| connection.join().unwrap()).collect()
        });
        Self { port, ends, accepting }
    }

    /// What each connection brought. Whoever connects has to be gone by then.
    pub(crate) fn streams(self) -> Vec<Vec<u8>> {
        self.ends.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)).unwrap());
        self.accepting.join().unwrap()
    }
}

/// Reads to the end, and answers what some reading takes for a whole request: what answers too often shows more.
fn record(mut socket: TcpStream) -> Vec<u8> {
    let (mut all, mut answered, mut piece) = (Vec::new(), 0, [0; 4096]);
    while let Ok(length @ 1..) = socket.read(&mut piece) {
        all.extend_from_slice(&piece[..length]);
        let whole = |reading: reading::Reading| {
            reading
                .requests(&all)
                .iter()
                .filter(|message| message.complete)
                .map(|it| it.method.clone())
                .collect()
        };
        let most: Vec<String> =
            reading::all().into_iter().map(whole).max_by_key(Vec::len).unwrap_or_default();
        for method in most.iter().skip(answered) {
            let body = if method == "HEAD" { "" } else { "ok" };
            let _ = write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
            answered += 1;
        }
    }
    all
}

/// A service over HTTP/2 in clear.
pub(crate) struct H2c {
    pub(crate) port: u16,
    runtime: Runtime,
    seen: Arc<Mutex<Vec<Message>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl H2c {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<Message>>>::default();
        let connections = Arc::<Mutex<JoinSet<()>>>::default();
        let (to, held) = (Arc::clone(&seen), Arc::clone(&connections));
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                held.lock().unwrap().spawn(serve(socket, Arc::clone(&to)));
            }
        });
        Self { port, runtime, seen, connections }
    }

    /// What came. Whoever connects has to be gone by then.
    pub(crate) fn requests(self) -> Vec<Message> {
        let connections = std::mem::take(&mut *self.connections.lock().unwrap());
        self.runtime.block_on(connections.join_all());
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(socket: tokio::net::TcpStream, seen: Arc<Mutex<Vec<Message>>>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let seen = Arc::clone(&seen);
        calls.spawn(async move {
            let message = collect(request).await;
            let (complete, bodiless) = (message.complete, message.method == "HEAD");
            seen.lock().unwrap().push(message);
            if complete
                && let Ok(mut body) = respond.send_response(Response::new(()), bodiless)
                && !bodiless
            {
                let _ = body.send_data(Bytes::from_static(b"ok"), true);
            }
        });
    }
    calls.join_all().await;
}

async fn collect(request: Request<h2::RecvStream>) -> Message {
    let (head, mut body) = request.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut message = Message {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        fields: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: Vec::new(),
        complete: false,
    };
    message
        .fields
        .push(("host".to_owned(), head.uri.authority().map(ToString::to_string).unwrap_or_default()));
    loop {
        match prism_tests::client::http2::next(&mut body).await {
            Ok(Some(piece)) => message.body.extend_from_slice(&piece),
            Ok(None) => break,
            Err(_) => return message,
        }
    }
    if let Ok(trailers) = body.trailers().await {
        message.fields.extend(trailers.iter().flatten().map(|(name, value)| (name.to_string(), text(value))));
        message.complete = true;
    }
    message
}
