//! A service behind a forward route, over HTTP/1.1 or HTTP/2, that tells what it was asked and breaks off on demand.

use bytes::Bytes;
use futures_util::stream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    future::pending,
    io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::oneshot,
};

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A service that answers every request with what it was asked, but for these paths: `/never` (no answer), `/break`
/// (half an answer), `/trailers` (`x-sum: 7` behind the body), `/status/N`, `/large` (8 MiB).
pub struct Backend {
    /// Where it listens, as a target's `address`.
    pub address: String,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Value>>,
    connections: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Backend {
    /// Listens on loopback.
    #[must_use]
    pub fn start(speaks: Speaks) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self::run(address, move |seen| async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((io, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(speaks, io, Arc::clone(&seen)));
            }
        })
    }

    /// Listens on a unix socket.
    #[must_use]
    pub fn unix(speaks: Speaks, path: &Path) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::run(format!("unix:{}", path.display()), move |seen| async move {
            let listener = UnixListener::from_std(listener).unwrap();
            loop {
                let Ok((io, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(speaks, io, Arc::clone(&seen)));
            }
        })
    }

    fn run<F: Future<Output = ()>>(
        address: String,
        accept: impl FnOnce(Arc<Seen>) -> F + Send + 'static,
    ) -> Self {
        let seen = Arc::<Seen>::default();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(seen) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        Self { address, seen, stop: Some(stop), thread: Some(thread) }
    }

    /// What it was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Connections it has taken.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Requests whose answer nobody waits for any more.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.seen.cancelled.load(Ordering::SeqCst)
    }

    /// Closes its socket and all connections.
    pub fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(speaks: Speaks, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, seen: Arc<Seen>) {
    seen.connections.fetch_add(1, Ordering::SeqCst);
    match speaks {
        Speaks::Http1 => {
            let service = service_fn(move |request| one(request, Arc::clone(&seen)));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
        }
        Speaks::Http2 => {
            let Ok(mut connection) = h2::server::handshake(io).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::spawn(over_http2(request, respond, Arc::clone(&seen)));
            }
        }
    }
}

/// Counts a request that is dropped without an answer.
struct Waiting(Arc<Seen>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

fn note<B>(request: &Request<B>, body: &[u8], seen: &Seen) -> Value {
    let headers: Vec<Value> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let asked = json!({
        "method": request.method().as_str(),
        "target": request.uri().path_and_query().map_or("", |target| target.as_str()),
        "authority": request.uri().authority().map(|authority| authority.as_str()),
        "headers": headers,
        "length": body.len(),
    });
    seen.requests.lock().unwrap().push(asked.clone());
    asked
}

/// Long enough for what came before to be on its way already.
const LATE: Duration = Duration::from_millis(100);

const LARGE: usize = 8 << 20;

fn whole(path: &str, asked: &Value) -> Response<Bytes> {
    let mut response = Response::new(match path {
        "/large" => Bytes::from(vec![b'x'; LARGE]),
        _ => Bytes::from(asked.to_string()),
    });
    if let Some(status) = path.strip_prefix("/status/") {
        *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).unwrap();
        if ["204", "304"].contains(&status) {
            *response.body_mut() = Bytes::new();
        }
    }
    response
}

fn hop_by_hop(headers: &mut HeaderMap) {
    headers.insert("x-kept", "1".parse().unwrap());
    headers.insert("x-prism-principal", "forged".parse().unwrap());
    headers.insert("x_prism_principal", "forged".parse().unwrap());
}

/// `x-sum: 7`, and what no trailers may hold.
fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    hop_by_hop(&mut trailers);
    trailers.insert("x-sum", "7".parse().unwrap());
    trailers.insert("content-length", "3".parse().unwrap());
    trailers.insert("keep_alive", "1".parse().unwrap());
    trailers
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn one(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let Ok(body) = body.collect().await else { return pending().await };
    let asked = note(&Request::from_parts(head, ()), &body.to_bytes(), &seen);
    let full = |bytes| Full::new(bytes).map_err(|never: Infallible| match never {});
    let mut answer = match path.as_str() {
        "/never" => {
            let _waiting = Waiting(seen);
            pending().await
        }
        "/break" => {
            let mut answer = Response::new(half());
            answer.headers_mut().insert(header::CONTENT_LENGTH, 8.into());
            answer
        }
        "/break-chunked" => Response::new(half()),
        "/trailers" => {
            let body = full(Bytes::from_static(b"body")).with_trailers(async { Some(Ok(trailers())) });
            let mut answer = Response::new(BodyExt::boxed(body));
            answer.headers_mut().insert(header::TRAILER, "x-sum".parse().unwrap());
            answer
        }
        path => whole(path, &asked).map(|bytes| BodyExt::boxed(full(bytes))),
    };
    hop_by_hop(answer.headers_mut());
    answer.headers_mut().insert(header::CONNECTION, "x-hop".parse().unwrap());
    answer.headers_mut().insert("x-hop", "1".parse().unwrap());
    Ok(answer)
}

/// A body that breaks off when its first half is on its way.
fn half() -> BoxBody<Bytes, io::Error> {
    let pieces = stream::unfold(0, async |at| match at {
        0 => Some((Ok(hyper::body::Frame::data(Bytes::from_static(b"half"))), 1)),
        1 => {
            tokio::time::sleep(LATE).await;
            Some((Err(io::Error::other("it breaks off")), 2))
        }
        _ => None,
    });
    BodyExt::boxed(http_body_util::StreamBody::new(Box::pin(pieces)))
}

async fn over_http2(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, seen: Arc<Seen>) {
    let (head, mut stream) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let Ok(piece) = piece else { return };
        let _ = stream.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    let asked = note(&Request::from_parts(head, ()), &body, &seen);
    let mut answer = whole(&path, &asked);
    hop_by_hop(answer.headers_mut());
    let (head, bytes) = answer.into_parts();
    match path.as_str() {
        "/never" => {
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok();
            drop(Waiting(seen));
        }
        "/break" | "/break-chunked" => {
            if let Ok(mut send) = respond.send_response(Response::from_parts(head, ()), false) {
                let _ = send.send_data(Bytes::from_static(b"half"), false);
                tokio::task::yield_now().await;
                send.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        }
        "/trailers" | "/late-trailers" => {
            if let Ok(mut send) = respond.send_response(Response::from_parts(head, ()), false) {
                let _ = send.send_data(Bytes::from_static(b"body"), false);
                if path == "/late-trailers" {
                    tokio::time::sleep(LATE).await;
                }
                let _ = send.send_trailers(trailers());
            }
        }
        "/empty-then-trailers" => {
            let mut head = Response::from_parts(head, ());
            head.headers_mut().insert("content-length", "0".parse().unwrap());
            head.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            if let Ok(mut send) = respond.send_response(head, false) {
                tokio::time::sleep(LATE).await;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "5".parse().unwrap());
                let _ = send.send_trailers(trailers);
            }
        }
        _ => {
            let empty = bytes.is_empty() || asked["method"] == "HEAD";
            if let Ok(mut send) = respond.send_response(Response::from_parts(head, ()), empty)
                && !empty
            {
                let _ = send.send_data(bytes, true);
            }
        }
    }
}
