//! What only gRPC can get wrong, on a plugin server written on h2 itself, so that it can misbehave.

use crate::{
    ForwardError, Forwarding, PluginChannel, Rpc, WireBody, WireReply, WorkerLocal, ok_trailers,
    testing::{Feed, Server, all, answer, grpc_head, local, read, socket, worker},
    upstream::{Endpoint, RemoteChannel, Target},
};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request};
use prism_platform::{Address, BindOptions, Platform, time};
use prism_plugin_abi::CallContext;
use std::{cell::Cell, future::Future, rc::Rc, sync::Arc, time::Duration};

/// A plugin and a worker's way to it.
struct Rig {
    _directory: tempfile::TempDir,
    _server: Server,
    worker: WorkerLocal,
    channel: RemoteChannel,
}

impl Rig {
    async fn new<F: Future<Output = ()> + 'static>(
        handler: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
    ) -> Self {
        let (directory, address) = socket();
        let server = Server::start(&address, h2::server::Builder::new(), handler).await;
        Self { _directory: directory, _server: server, worker: worker(), channel: channel(&address) }
    }

    fn call(&self, rpc: Rpc, body: WireBody) -> Forwarding {
        self.channel.forward(&self.worker, rpc, CallContext::default(), body)
    }

    fn unary(&self, body: &'static str) -> Forwarding {
        self.call(Rpc::Execute, WireBody::Whole(Bytes::from_static(body.as_bytes()).into()))
    }
}

fn channel(address: &Address) -> RemoteChannel {
    RemoteChannel::new(vec![(Arc::new(Endpoint::new(Target::here(address.clone()))), Arc::default())])
}

/// Answers with what it was sent.
async fn echo(request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    if let Ok(body) = read(&mut request.into_body()).await {
        answer(respond, body);
    }
}

async fn text(reply: WireReply) -> String {
    let (messages, trailers) = all(reply).await.unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    String::from_utf8(messages.into_bytes().to_vec()).unwrap()
}

/// Lets everything that can move, move: for "nothing more happens", which no event announces.
async fn settle() {
    for _ in 0..50 {
        time::sleep(Duration::from_millis(1)).await;
    }
}

fn unavailable(outcome: Result<WireReply, ForwardError>) -> String {
    match outcome {
        Err(ForwardError::Unavailable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

fn protocol(outcome: Result<WireReply, ForwardError>) -> String {
    match outcome {
        Err(ForwardError::Protocol(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_plugin_says_of_trusted_context_is_dropped() {
    local(async {
        let rig = Rig::new(|_, mut respond: SendResponse<Bytes>| async move {
            let mut head = grpc_head();
            head.headers_mut().insert("x-prism-principal", HeaderValue::from_static("admin"));
            head.headers_mut().append("x-prism-namespace", HeaderValue::from_static("a"));
            head.headers_mut().append("x-prism-namespace", HeaderValue::from_static("b"));
            head.headers_mut().insert("x-own", HeaderValue::from_static("kept"));
            let mut stream = respond.send_response(head, false).unwrap();
            let mut trailers = ok_trailers();
            trailers.insert("x-prism-reason", HeaderValue::from_static("none"));
            trailers.insert("x-own", HeaderValue::from_static("kept"));
            stream.send_trailers(trailers).unwrap();
        })
        .await;
        let mut reply = rig.unary("x").await.unwrap();
        let ours = |headers: &HeaderMap| headers.keys().any(|name| name.as_str().starts_with("x-prism-"));
        let headers = reply.take_headers();
        assert!(!ours(&headers) && headers["x-own"] == "kept");
        let (_, trailers) = all(reply).await.unwrap();
        assert!(!ours(&trailers) && trailers["x-own"] == "kept");
    });
}

/// Refuses so many calls before it looks at them.
async fn refusing(times: usize) -> (Rig, Rc<Cell<usize>>) {
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let rig = Rig::new(move |request, mut respond: SendResponse<Bytes>| {
        count.set(count.get() + 1);
        let refuse = count.get() <= times;
        async move {
            match refuse {
                true => respond.send_reset(Reason::REFUSED_STREAM),
                false => echo(request, respond).await,
            }
        }
    })
    .await;
    (rig, calls)
}

#[test]
fn a_call_refused_before_it_began_is_sent_once_more() {
    local(async {
        let (rig, calls) = refusing(1).await;
        assert_eq!(text(rig.unary("x").await.unwrap()).await, "x");
        assert_eq!(calls.get(), 2);
    });
}

#[test]
fn but_only_once() {
    local(async {
        let (rig, calls) = refusing(usize::MAX).await;
        assert!(unavailable(rig.unary("x").await).contains("REFUSED_STREAM"));
        assert_eq!(calls.get(), 2);
    });
}

#[test]
fn and_not_when_its_body_is_gone() {
    local(async {
        let (rig, calls) = refusing(1).await;
        let (feed, body) = Feed::new();
        feed.send("x");
        // More than is kept.
        feed.send(vec![b'x'; 70 << 10]);
        unavailable(rig.call(Rpc::Execute, body).await);
        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn and_not_when_it_was_reset_for_another_reason() {
    local(async {
        for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::NO_ERROR] {
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| {
                count.set(count.get() + 1);
                async move { respond.send_reset(reason) }
            })
            .await;
            assert!(unavailable(rig.unary("x").await).contains(&format!("{reason:?}")));
            assert_eq!(calls.get(), 1);
        }
    });
}

#[test]
fn after_a_goodbye_calls_go_to_a_new_connection() {
    local(async {
        let (_directory, address) = socket();
        let listener = Platform::system().bind(&address, BindOptions::default()).await.unwrap();
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            loop {
                let io = listener.accept().await.unwrap().io;
                count.set(count.get() + 1);
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(io).await.unwrap();
                    // One call for each connection, as a server with a very short memory.
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        connection.graceful_shutdown();
                        tokio::task::spawn_local(echo(request, respond));
                    }
                });
            }
        });
        let channel = channel(&address);
        let worker = worker();
        for round in 1..=5 {
            let body = WireBody::Whole(Bytes::from_static(b"x").into());
            let reply = channel.forward(&worker, Rpc::Execute, CallContext::default(), body).await.unwrap();
            assert_eq!(text(reply).await, "x");
            settle().await;
            assert_eq!(connections.get(), round);
        }
    });
}

#[test]
fn an_answer_that_is_no_grpc_is_refused() {
    local(async {
        fn field(name: &'static str, value: &'static str) -> impl Fn(&mut http::Response<()>) {
            move |head| drop(head.headers_mut().insert(name, HeaderValue::from_static(value)))
        }
        fn status(status: http::StatusCode) -> impl Fn(&mut http::Response<()>) {
            move |head| *head.status_mut() = status
        }
        type Change = Box<dyn Fn(&mut http::Response<()>)>;
        let heads: [(Change, &str); 6] = [
            (Box::new(status(http::StatusCode::NOT_FOUND)), "HTTP status 404"),
            (Box::new(status(http::StatusCode::NO_CONTENT)), "HTTP status 204"),
            (Box::new(field("content-type", "text/html")), "text/html"),
            (Box::new(field("content-type", "application/grpc-web")), "grpc-web"),
            (Box::new(field("content-type", "")), "content type ``"),
            (Box::new(field("grpc-encoding", "gzip")), "compressed"),
        ];
        for (change, problem) in heads {
            let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| {
                let mut head = grpc_head();
                change(&mut head);
                async move {
                    let mut stream = respond.send_response(head, false).unwrap();
                    stream.send_trailers(ok_trailers()).unwrap();
                }
            })
            .await;
            let found = protocol(rig.unary("x").await);
            assert!(found.contains(problem), "{found}");
        }
    });
}

#[test]
fn an_answer_without_a_status_is_refused() {
    local(async {
        // Headers alone; headers and data; trailers that say nothing.
        for form in 0..3 {
            let rig = Rig::new(move |_, mut respond: SendResponse<Bytes>| async move {
                let mut stream = respond.send_response(grpc_head(), form == 0).unwrap();
                match form {
                    0 => {}
                    1 => stream.send_data(Bytes::from_static(b"x"), true).unwrap(),
                    _ => stream.send_trailers(HeaderMap::new()).unwrap(),
                }
            })
            .await;
            let outcome = match rig.unary("x").await {
                Ok(reply) => all(reply).await.map(drop),
                Err(error) => Err(error),
            };
            assert!(
                matches!(&outcome, Err(ForwardError::Protocol(problem)) if problem.contains("grpc-status")),
                "{form}: {outcome:?}"
            );
        }
    });
}

#[test]
fn a_plugin_that_stops_the_upload_may_still_answer() {
    local(async {
        let rig = Rig::new(|request: Request<RecvStream>, mut respond: SendResponse<Bytes>| async move {
            let mut stream = respond.send_response(grpc_head(), false).unwrap();
            stream.send_data(Bytes::from_static(b"enough"), false).unwrap();
            stream.send_trailers(ok_trailers()).unwrap();
            // RFC 9113 section 8.1: RST_STREAM with NO_ERROR after a complete answer.
            settle().await;
            drop(request);
            respond.send_reset(Reason::NO_ERROR);
        })
        .await;
        let (feed, body) = Feed::new();
        for _ in 0..100 {
            feed.send(vec![0; 10_000]);
        }
        let reply = rig.call(Rpc::ExecuteStream, body).await.unwrap();
        settle().await;
        settle().await;
        assert_eq!(text(reply).await, "enough");
    });
}
