//! Calls to a plugin server written on h2 itself, so that it can misbehave.

use super::{
    connection::Endpoint,
    forward::{GrpcChannel, Link},
};
use crate::{
    ForwardError, Forwarding, PluginChannel, ReplyBody, Rpc, WireBody, WireReply, WorkerLocal,
    error_trailers, ok_trailers,
    testing::{Feed, Server, all, answer, grpc_head, local, next_frame, read, refuse, socket, worker},
};
use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request};
use prism_platform::{Address, BindOptions, Platform, time};
use prism_plugin_abi::{CallContext, Code, InstanceId, Payload};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

mod errors;
mod streams;

/// A plugin and a worker's way to it.
struct Rig {
    _directory: tempfile::TempDir,
    server: Server,
    worker: WorkerLocal,
    channel: GrpcChannel,
    link: Arc<Link>,
}

impl Rig {
    async fn new<F: Future<Output = ()> + 'static>(
        handler: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
    ) -> Self {
        Self::with(h2::server::Builder::new(), handler).await
    }

    async fn with<F: Future<Output = ()> + 'static>(
        builder: h2::server::Builder,
        handler: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
    ) -> Self {
        let (directory, address) = socket();
        let server = Server::start(&address, builder, handler).await;
        let (channel, link) = channel(&address);
        Self { _directory: directory, server, worker: worker(), channel, link }
    }

    fn call(&self, rpc: Rpc, body: WireBody) -> Forwarding {
        let context = CallContext { namespace: "demo".into(), instance: InstanceId(7), ..Default::default() };
        self.channel.forward(&self.worker, rpc, context, body)
    }

    fn unary(&self, body: &'static str) -> Forwarding {
        self.call(Rpc::Execute, WireBody::Whole(Bytes::from_static(body.as_bytes()).into()))
    }
}

fn channel(address: &Address) -> (GrpcChannel, Arc<Link>) {
    let link = Arc::new(Link::default());
    (GrpcChannel::new(Arc::new(Endpoint::new(address.clone())), Arc::clone(&link)), link)
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

#[test]
fn a_call_arrives_with_its_context_and_comes_back() {
    local(async {
        let heads = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&heads);
        let rig = Rig::new(move |request, respond| {
            seen.borrow_mut().push((request.uri().path().to_owned(), request.headers().clone()));
            echo(request, respond)
        })
        .await;
        for rpc in [Rpc::Execute, Rpc::ExecuteStream] {
            let reply = rig.call(rpc, WireBody::Whole(Bytes::from_static(b"hello").into())).await.unwrap();
            assert_eq!(reply.headers["content-type"], "application/grpc");
            assert_eq!(text(reply).await, "hello");
        }
        let heads = heads.borrow();
        assert_eq!(heads[0].0, "/prism.plugin.BackendPlugin/Execute");
        assert_eq!(heads[1].0, "/prism.plugin.BackendPlugin/ExecuteStream");
        assert_eq!(heads[0].1["x-prism-namespace"], "demo");
        assert_eq!(heads[0].1["x-prism-instance"], "7");
        assert_eq!(rig.server.connections.get(), 1);
    });
}

#[test]
fn an_answer_that_is_here_is_handed_over_whole() {
    local(async {
        let rig = Rig::new(echo).await;
        let reply = rig.unary("hello").await.unwrap();
        assert!(matches!(reply.body, ReplyBody::Whole { .. }), "{reply:?}");
    });
}

#[test]
fn an_empty_body_ends() {
    local(async {
        let rig = Rig::new(echo).await;
        assert_eq!(text(rig.unary("").await.unwrap()).await, "");
    });
}

#[test]
fn a_thousand_callers_share_one_dial() {
    local(async {
        let rig = Rig::new(echo).await;
        let replies = join_all((0..1000).map(|_| rig.unary("x"))).await;
        for reply in replies {
            assert_eq!(text(reply.unwrap()).await, "x");
        }
        assert_eq!(rig.server.connections.get(), 1);
    });
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
        let reply = rig.unary("x").await.unwrap();
        let ours = |headers: &HeaderMap| headers.keys().any(|name| name.as_str().starts_with("x-prism-"));
        assert!(!ours(&reply.headers) && reply.headers["x-own"] == "kept");
        let (_, trailers) = all(reply).await.unwrap();
        assert!(!ours(&trailers) && trailers["x-own"] == "kept");
    });
}

#[test]
fn calls_beyond_the_peer_s_limit_wait_their_turn() {
    local(async {
        let (at_once, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let seen = Rc::clone(&most);
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(3);
        let rig = Rig::with(builder, move |request, respond| {
            let (at_once, seen) = (Rc::clone(&at_once), Rc::clone(&seen));
            async move {
                at_once.set(at_once.get() + 1);
                seen.set(at_once.get().max(seen.get()));
                time::sleep(Duration::from_millis(1)).await;
                echo(request, respond).await;
                at_once.set(at_once.get() - 1);
            }
        })
        .await;
        let replies = join_all((0..40).map(|_| async { text(rig.unary("x").await.unwrap()).await })).await;
        assert_eq!(replies.len(), 40);
        assert!((1..=3).contains(&most.get()), "{}", most.get());
    });
}

#[test]
fn the_queue_has_an_end() {
    local(async {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(3);
        let rig = Rig::with(builder, |request, respond| async move {
            let _held = (request, respond);
            std::future::pending::<()>().await;
        })
        .await;
        let mut calls: Vec<_> = (0..2000).map(|_| rig.unary("x")).collect();
        let mut refused = 0;
        for _ in 0..3 {
            // The first round dials; after that, all are polled with the connection open.
            calls.retain_mut(|call| match call.as_mut().now_or_never() {
                None => true,
                Some(Err(ForwardError::Overloaded(_))) => {
                    refused += 1;
                    false
                }
                Some(other) => panic!("{other:?}"),
            });
            settle().await;
        }
        assert_eq!(refused, 2000 - 1024);
        calls.clear();
        // Those who left made room.
        assert!(rig.unary("x").now_or_never().is_none());
    });
}
