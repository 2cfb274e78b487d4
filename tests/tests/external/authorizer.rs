//! An authorizer that does as a test says. It reads and writes the types that are generated from Envoy's definitions.

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption},
        service::auth::v3::{
            CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse, attribute_context::HttpRequest,
            check_response::HttpResponse,
        },
        r#type::v3::HttpStatus,
    },
    google::rpc::Status,
};
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use prism_tests::wire::{claimed, framed, messages};
use prost::Message;
use std::{
    collections::HashMap,
    future::pending,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::oneshot,
};

/// What it does with a question.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers.
    Says(Box<CheckResponse>),
    /// Answers with bytes that are no answer.
    Babbles(Bytes),
    /// Fails with a gRPC status, and nothing else.
    Fails(u8),
    /// Answers with an HTTP status.
    Http(u16),
    /// Ends its answer without a status.
    Forgets,
    /// Says how it ends before it has begun, and not at its end.
    Foretells,
    /// Resets the call.
    Resets,
    /// Says nothing, ever.
    Sleeps,
}

/// It, listening.
pub(crate) struct Authorizer {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct State {
    does: Does,
    asked: Vec<CheckRequest>,
    seen: Vec<u8>,
    heads: Vec<HeaderMap>,
}

pub(crate) fn says(code: i32, response: Option<HttpResponse>) -> Does {
    let status = Status { code, message: "its words".into(), details: Vec::new() };
    let answer = CheckResponse { status: Some(status), http_response: response, ..Default::default() };
    Does::Says(Box::new(answer))
}

pub(crate) fn yes() -> Does {
    says(0, None)
}

pub(crate) fn no(http: i32) -> Does {
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: http }),
        body: "not on a Friday".into(),
        ..Default::default()
    };
    says(7, Some(HttpResponse::DeniedResponse(denied)))
}

pub(crate) fn yes_with(change: impl FnOnce(&mut OkHttpResponse)) -> Does {
    let mut response = OkHttpResponse::default();
    change(&mut response);
    says(0, Some(HttpResponse::OkResponse(response)))
}

pub(crate) fn header(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.into(), value: value.into(), ..Default::default() }),
        ..Default::default()
    }
}

impl Authorizer {
    /// Listens on loopback.
    pub(crate) fn start(does: Does) -> Self {
        Self::at("127.0.0.1:0", does)
    }

    /// Listens there.
    pub(crate) fn at(address: &str, does: Does) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self::run(address, does, |state| async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((io, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(io, Arc::clone(&state)));
            }
        })
    }

    /// Listens on a unix socket.
    pub(crate) fn unix(path: &Path, does: Does) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::run(format!("unix:{}", path.display()), does, |state| async move {
            let listener = UnixListener::from_std(listener).unwrap();
            loop {
                let Ok((io, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(io, Arc::clone(&state)));
            }
        })
    }

    fn run<F: Future<Output = ()>>(
        address: String,
        does: Does,
        accept: impl FnOnce(Arc<Mutex<State>>) -> F + Send + 'static,
    ) -> Self {
        let state = State { does, asked: Vec::new(), seen: Vec::new(), heads: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept(shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// From now on it does this.
    pub(crate) fn set(&self, does: Does) {
        self.state.lock().unwrap().does = does;
    }

    /// What it was asked since this was called last.
    pub(crate) fn asked(&self) -> Vec<CheckRequest> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    /// Every byte of every question so far.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The heads of all questions so far.
    pub(crate) fn heads(&self) -> Vec<HeaderMap> {
        self.state.lock().unwrap().heads.clone()
    }

    /// Closes its socket and all connections.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Authorizer {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, state: Arc<Mutex<State>>) {
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(one(request, respond, Arc::clone(&state)));
    }
}

async fn one(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>, state: Arc<Mutex<State>>) {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        bytes.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    let does = {
        let mut state = state.lock().unwrap();
        state.seen.extend_from_slice(&bytes);
        state.heads.push(head.headers);
        assert_eq!(head.uri.path(), "/envoy.service.auth.v3.Authorization/Check");
        state.asked.push(CheckRequest::decode(messages(&bytes)[0]).unwrap());
        state.does.clone()
    };
    let grpc = || Response::builder().header("content-type", "application/grpc");
    let mut trailers = HeaderMap::new();
    let _ = match does {
        Does::Sleeps => pending().await,
        Does::Resets => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            return;
        }
        Does::Http(status) => {
            respond.send_response(Response::builder().status(status).body(()).unwrap(), true).map(drop)
        }
        Does::Fails(code) => {
            let answer = grpc().header("grpc-status", u64::from(code)).header("grpc-message", "out of order");
            respond.send_response(answer.body(()).unwrap(), true).map(drop)
        }
        Does::Foretells => {
            match respond.send_response(grpc().header("grpc-status", 0).body(()).unwrap(), false) {
                Ok(mut stream) => stream.send_data(framed(&yes_bytes()), true),
                Err(error) => Err(error),
            }
        }
        Does::Says(_) | Does::Babbles(_) | Does::Forgets => {
            let body = match does {
                Does::Says(answer) => framed(&answer.encode_to_vec()),
                Does::Babbles(bytes) => bytes,
                _ => framed(b""),
            };
            if !matches!(state.lock().unwrap().does, Does::Forgets) {
                trailers.insert("grpc-status", 0.into());
            }
            match respond.send_response(grpc().body(()).unwrap(), false) {
                Ok(mut stream) => {
                    let _ = stream.send_data(body, false);
                    stream.send_trailers(trailers)
                }
                Err(error) => Err(error),
            }
        }
    };
}

fn yes_bytes() -> Vec<u8> {
    CheckResponse { status: Some(Status::default()), ..Default::default() }.encode_to_vec()
}

/// Bytes in a frame that claims more or less of itself.
pub(crate) fn babble(flag: u8, length: u32, bytes: &[u8]) -> Does {
    Does::Babbles(claimed(flag, length, bytes))
}

/// What a question says of the request itself, and of what is about to be done.
pub(crate) fn told(question: &CheckRequest) -> (HttpRequest, HashMap<String, String>) {
    let attributes = question.attributes.clone().unwrap();
    (attributes.request.unwrap().http.unwrap(), attributes.context_extensions)
}
