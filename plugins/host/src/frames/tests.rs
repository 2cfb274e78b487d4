//! What only frames can get wrong: peers that lie, die at any byte, stop, or say goodbye; and what calls leave
//! behind.

use super::Frames;
use crate::{
    ForwardError, Forwarding, PluginChannel, Protocol, ReplyBody, Rpc, WireBody, WireReply, WorkerLocal,
    testing::{
        Feed, Server, all, local, next_frame,
        plugin::{PluginCall, echo, ping_pong, start},
        socket, worker,
    },
    upstream::{Connection, Endpoint, Link, RemoteChannel, Target},
};
use bytes::Bytes;
use prism_platform::{Address, BindOptions, Io, Platform, time};
use prism_plugin_abi::{CallContext, Code};
use prism_plugin_frames::{CHUNK, Config, End, Frame, GoAway, PREFACE, Reason, Settings};
use std::{
    cell::Cell,
    future::Future,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc},
};

mod hostile;
mod leaving;
mod storm;

/// A worker's way to a plugin that speaks frames.
struct Way {
    address: Address,
    endpoint: Arc<Endpoint>,
    channel: RemoteChannel,
    worker: WorkerLocal,
    _directory: tempfile::TempDir,
}

impl Way {
    fn new() -> Self {
        let (directory, address) = socket();
        let endpoint = Arc::new(Endpoint::new(Target::here(address.clone())));
        let link = Arc::new(Link::default());
        link.initialized_on(None, Protocol::Frames);
        let channel = RemoteChannel::new(vec![(Arc::clone(&endpoint), link)]);
        Self { address, endpoint, channel, worker: worker(), _directory: directory }
    }

    async fn to<F: Future<Output = ()> + 'static>(
        handler: impl Fn(PluginCall) -> F + 'static,
    ) -> (Self, Server) {
        let way = Self::new();
        let server = start(Protocol::Frames, &way.address, None, handler).await;
        (way, server)
    }

    fn call(&self, rpc: Rpc, body: WireBody) -> Forwarding {
        self.channel.forward(&self.worker, rpc, CallContext::default(), body)
    }

    fn unary(&self, body: impl Into<Bytes>) -> Forwarding {
        self.call(Rpc::Execute, WireBody::Whole(body.into().into()))
    }

    fn connection(&self) -> Option<Rc<Connection<Frames>>> {
        self.endpoint.frames(&self.worker).0
    }

    /// Calls that are under way or waiting, as the admission counts them.
    fn active(&self) -> usize {
        self.endpoint.frames(&self.worker).1
    }
}

fn unavailable(outcome: Result<WireReply, ForwardError>) -> String {
    match outcome {
        Err(ForwardError::Unavailable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

async fn text(reply: WireReply) -> String {
    let (messages, trailers) = all(reply).await.unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    String::from_utf8(messages.into_bytes().to_vec()).unwrap()
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// What a server says first.
fn greeting() -> Vec<u8> {
    let Config { max_calls, initial_credit, max_frame, .. } = Config::default();
    let settings = Settings { minor: 0, max_calls, initial_credit, max_frame };
    [&PREFACE[..], &bytes_of(&Frame::Settings(settings))].concat()
}

/// A plugin that does with each connection, the `n`th since it began, what `script` says.
async fn scripted(way: &Way, script: impl AsyncFn(usize, Io) + 'static) {
    let listener = Platform::system().bind(&way.address, BindOptions::default()).await.unwrap();
    tokio::task::spawn_local(async move {
        for number in 0.. {
            let io = listener.accept().await.unwrap().io;
            script(number, io).await;
        }
    });
}

/// Reads what the client greets with, and greets it.
async fn greet(io: &mut Io) {
    let mut greeting_of_client = vec![0; greeting().len()];
    io.read_exact(&mut greeting_of_client).await.unwrap();
    assert_eq!(greeting_of_client[..8], PREFACE);
    io.write_all(&greeting()).await.unwrap();
}

/// Reads until the client closes; what it said.
async fn drain(io: &mut Io) -> Vec<u8> {
    let mut rest = Vec::new();
    drop(io.read_to_end(&mut rest).await);
    rest
}
