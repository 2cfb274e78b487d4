//! What calls to another process may rely on, whatever they travel over: each test runs over every transport.

use super::{Endpoint, Link, PeerIdentity, Protocol, RemoteChannel, Target};
use crate::{
    ForwardError, Forwarding, PluginChannel, ReplyBody, Rpc, WireBody, WireReply, WorkerLocal,
    testing::{
        Feed, Server, all, local, next_frame,
        plugin::{Gone, Head, PluginCall, echo, hold, ping_pong, start},
        socket, worker,
    },
};
use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
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

/// Runs a test once over each transport.
fn over_each(test: impl AsyncFn(Protocol)) {
    for protocol in [Protocol::Grpc, Protocol::Frames] {
        local(test(protocol));
    }
}

/// A plugin and a worker's way to it.
struct Rig {
    _directory: tempfile::TempDir,
    server: Server,
    worker: WorkerLocal,
    channel: RemoteChannel,
    link: Arc<Link>,
}

impl Rig {
    async fn new<F: Future<Output = ()> + 'static>(
        protocol: Protocol,
        handler: impl Fn(PluginCall) -> F + 'static,
    ) -> Self {
        Self::with(protocol, None, handler).await
    }

    /// An echo, and how many calls it got.
    async fn counting(protocol: Protocol) -> (Self, Rc<Cell<usize>>) {
        let calls = Rc::new(Cell::new(0));
        let count = Rc::clone(&calls);
        let rig = Self::new(protocol, move |call| {
            count.set(count.get() + 1);
            echo(call)
        });
        (rig.await, calls)
    }

    async fn with<F: Future<Output = ()> + 'static>(
        protocol: Protocol,
        at_once: Option<u32>,
        handler: impl Fn(PluginCall) -> F + 'static,
    ) -> Self {
        let (directory, address) = socket();
        let server = start(protocol, &address, at_once, handler).await;
        let (channel, link) = channel(protocol, &address);
        Self { _directory: directory, server, worker: worker(), channel, link }
    }

    fn call(&self, rpc: Rpc, body: WireBody) -> Forwarding {
        let context = CallContext { namespace: "demo".into(), instance: InstanceId(7), ..Default::default() };
        self.channel.forward(&self.worker, rpc, context, body)
    }

    fn unary(&self, body: &'static str) -> Forwarding {
        self.call(Rpc::Execute, whole(body))
    }
}

fn channel(protocol: Protocol, address: &Address) -> (RemoteChannel, Arc<Link>) {
    let link = Arc::new(Link::default());
    link.initialized_on(None, protocol);
    (
        RemoteChannel::new(vec![(Arc::new(Endpoint::new(Target::here(address.clone()))), Arc::clone(&link))]),
        link,
    )
}

fn whole(body: &'static str) -> WireBody {
    WireBody::Whole(Bytes::from_static(body.as_bytes()).into())
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
    over_each(async |protocol| {
        let heads = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&heads);
        let rig = Rig::new(protocol, move |call: PluginCall| {
            seen.borrow_mut().push(call.head());
            echo(call)
        })
        .await;
        for rpc in [Rpc::Execute, Rpc::ExecuteStream] {
            let mut reply = rig.call(rpc, whole("hello")).await.unwrap();
            assert_eq!(reply.take_headers()["content-type"], "application/grpc");
            assert_eq!(text(reply).await, "hello");
        }
        let context = CallContext {
            instance: InstanceId(u64::MAX),
            namespace: "orders".into(),
            principal: Some("spiffe://x/y".into()),
            request_id: "r-1".into(),
            traceparent: "00-aa-bb-01".into(),
            deadline: Some((time::Instant::now() + Duration::from_secs(20)).into_std()),
        };
        let reply = rig.channel.forward(&rig.worker, Rpc::Execute, context, whole("x")).await.unwrap();
        assert_eq!(text(reply).await, "x");
        let plain = |method: &str| Head {
            method: method.to_owned(),
            instance: "7".to_owned(),
            namespace: "demo".to_owned(),
            ..Default::default()
        };
        let full = Head {
            method: "Execute".to_owned(),
            instance: u64::MAX.to_string(),
            namespace: "orders".to_owned(),
            principal: Some("spiffe://x/y".to_owned()),
            request_id: "r-1".to_owned(),
            traceparent: "00-aa-bb-01".to_owned(),
            timed: true,
        };
        assert_eq!(*heads.borrow(), [plain("Execute"), plain("ExecuteStream"), full]);
        assert_eq!(rig.server.connections.get(), 1);
    });
}

#[test]
fn a_call_whose_time_is_over_is_not_sent() {
    over_each(async |protocol| {
        let (rig, calls) = Rig::counting(protocol).await;
        let context = CallContext { deadline: Some(time::Instant::now().into_std()), ..Default::default() };
        match rig.channel.forward(&rig.worker, Rpc::Execute, context, whole("x")).await {
            Err(ForwardError::Refused(error)) => assert_eq!(error.code, Code::DeadlineExceeded),
            other => panic!("{other:?}"),
        }
        assert_eq!(text(rig.unary("x").await.unwrap()).await, "x");
        assert_eq!(calls.get(), 1);
    });
}

#[test]
fn an_answer_that_is_here_is_handed_over_whole() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, echo).await;
        let reply = rig.unary("hello").await.unwrap();
        assert!(matches!(reply.body, ReplyBody::Succeeded(_)), "{reply:?}");
    });
}

#[test]
fn an_empty_body_ends() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, echo).await;
        assert_eq!(text(rig.unary("").await.unwrap()).await, "");
        let (feed, body) = Feed::new();
        drop(feed);
        assert_eq!(text(rig.call(Rpc::ExecuteStream, body).await.unwrap()).await, "");
    });
}

#[test]
fn a_thousand_callers_share_one_dial() {
    over_each(async |protocol| {
        let rig = Rig::new(protocol, echo).await;
        let replies = join_all((0..1000).map(|_| rig.unary("x"))).await;
        for reply in replies {
            assert_eq!(text(reply.unwrap()).await, "x");
        }
        assert_eq!(rig.server.connections.get(), 1);
    });
}

#[test]
fn calls_beyond_the_peer_s_limit_wait_their_turn() {
    over_each(async |protocol| {
        let (at_once, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let seen = Rc::clone(&most);
        let rig = Rig::with(protocol, Some(3), move |call| {
            let (at_once, seen) = (Rc::clone(&at_once), Rc::clone(&seen));
            async move {
                at_once.set(at_once.get() + 1);
                seen.set(at_once.get().max(seen.get()));
                time::sleep(Duration::from_millis(1)).await;
                at_once.set(at_once.get() - 1);
                echo(call).await;
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
    over_each(async |protocol| {
        let rig = Rig::with(protocol, Some(3), hold).await;
        let mut calls: Vec<_> = (0..2000).map(|_| rig.unary("x")).collect();
        let mut refused = 0;
        for _ in 0..3 {
            // The first round dials; after that, all are polled with the connection open.
            calls.retain_mut(|call| match call.now_or_never() {
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

#[test]
fn those_who_wait_and_leave_hold_nobody_up() {
    over_each(async |protocol| {
        let go = Rc::new(Notify::new());
        let gate = Rc::clone(&go);
        let rig = Rig::with(protocol, Some(1), move |call| {
            let gate = Rc::clone(&gate);
            async move {
                gate.notified().await;
                echo(call).await;
            }
        })
        .await;
        let mut first = rig.unary("first");
        assert!(time::timeout(Duration::from_millis(20), &mut first).await.is_err());
        let mut waiting: Vec<_> = (0..10).map(|_| rig.unary("x")).collect();
        for call in &mut waiting {
            assert!(call.now_or_never().is_none());
        }
        let mut last = rig.unary("last");
        assert!((&mut last).now_or_never().is_none());
        drop(waiting);
        // One for each call that gets to the plugin at all: it may see some of those who left.
        let keep_going = async {
            loop {
                go.notify_one();
                tokio::task::yield_now().await;
            }
        };
        let both = async { (text(first.await.unwrap()).await, text(last.await.unwrap()).await) };
        tokio::select! {
            texts = both => assert_eq!(texts, ("first".to_owned(), "last".to_owned())),
            () = keep_going => {}
        }
    });
}
