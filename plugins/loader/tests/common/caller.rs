//! Calls as the proxy makes them: through a namespace's slot and the channel of its instance, on a thread like a
//! worker's.

use super::private;
use bytes::Bytes;
use futures_util::FutureExt;
use prism_platform::{Platform, time::Instant};
use prism_plugin_abi::{CallContext, Data, Payload, Request};
use prism_plugin_envelope as envelope;
use prism_plugin_host::{
    BoxError, ForwardError, Forwarding, InFlight, InProcessPlugin, InstanceSpec, LongPolls, NamespaceSlot,
    PluginSpec, ReplyBody, Rpc, State, SupervisionOptions, Transport, WireBody, WireReply, WireSource,
    WorkerLocal,
};
use prism_plugin_loader::{Generations, check, load};
use std::{
    collections::BTreeMap,
    future::poll_fn,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};
use tokio::{runtime::Runtime, sync::mpsc};

/// A library that is loaded, with an instance that is supervised.
pub(crate) struct Loaded {
    runtime: Runtime,
    slot: NamespaceSlot,
}

impl Loaded {
    pub(crate) fn new(library: &Path, offload: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let checked = check(&private(library, folder.path())).expect("it is a plugin");
        let watch = LongPolls::new("library");
        let loaded = load(checked, &Generations::default(), 1, Arc::clone(&watch) as _).expect("it loads");
        let slot = runtime.block_on(async {
            let plugin = InProcessPlugin::loaded(loaded.plugin, watch).await.expect("it says what it is");
            let plugin = if offload { plugin.offloaded().expect("it has threads") } else { plugin };
            // Health checks and metrics in between: they come from other threads than the calls.
            let options =
                SupervisionOptions { health_interval: Duration::from_millis(2), ..Default::default() };
            let slot = NamespaceSlot::new(Platform::system(), Arc::new(options));
            let spec = PluginSpec::new("library".into(), Transport::InProcess(plugin), BTreeMap::new())
                .expect("no host to name");
            spec.poll_metrics_every(Duration::from_millis(2));
            slot.apply(InstanceSpec {
                namespace: "ns".into(),
                backend_type: "test".into(),
                plugin: Arc::new(spec),
                config: serde_json::Value::Null.into(),
                credentials: Default::default(),
                operation_kinds: BTreeMap::new(),
            });
            let status = slot.first_verdict(Instant::now() + Duration::from_secs(60)).await.expect("one");
            assert_eq!(status.state, State::Ready, "{:?}", status.reason);
            slot
        });
        Self { runtime, slot }
    }

    /// To be made on the thread that calls.
    pub(crate) fn caller(&self) -> Caller {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Caller {
            runtime,
            worker: WorkerLocal::new(Platform::system()),
            call: self.slot.enter().expect("it serves"),
        }
    }

    /// Waits until the plugin has no call and no stream any more.
    pub(crate) fn until_idle(&self) {
        let caller = self.caller();
        while caller.unary("alive", Payload::new()) != "0" {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Shuts the instance down.
    pub(crate) fn retire(&self) {
        self.runtime.block_on(self.slot.retire(Duration::from_secs(60)).finished());
    }
}

/// One that calls.
pub(crate) struct Caller {
    runtime: Runtime,
    worker: WorkerLocal,
    call: InFlight,
}

fn message(operation: &str, params: Payload) -> Payload {
    let request = Request { operation: operation.into(), params: Data::Raw(params), ..Request::default() };
    envelope::encode_request(request).expect("it is small")
}

fn raw(data: Data) -> Payload {
    match data {
        Data::Raw(payload) => payload,
        Data::Empty => Payload::new(),
        Data::Typed { .. } => panic!("not raw"),
    }
}

impl Caller {
    fn forward(&self, rpc: Rpc, body: WireBody) -> Forwarding {
        let context = CallContext {
            instance: self.call.instance(),
            namespace: "ns".into(),
            request_id: "0123456789abcdef".into(),
            ..CallContext::default()
        };
        self.call.channel().forward(&self.worker, rpc, context, body)
    }

    fn unary(&self, operation: &str, params: Payload) -> Bytes {
        let call = self.forward(Rpc::Execute, WireBody::Whole(message(operation, params)));
        let reply = self.runtime.block_on(call).expect("an answer");
        let ReplyBody::Succeeded(messages) = reply.body else { panic!("{:?}", reply.body) };
        let answer = envelope::decode_reply(messages).expect("an envelope");
        raw(answer.expect("it succeeds")).into_bytes()
    }

    /// What is sent comes back.
    pub(crate) fn echoes(&self, operation: &str, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        assert_eq!(self.unary(operation, bytes.clone().into()), bytes);
    }

    /// The same in pieces of their own.
    pub(crate) fn pieces(&self, operation: &str, count: usize) {
        let pieces: Vec<Bytes> = (0..count).map(|number| vec![number as u8; 2000].into()).collect();
        assert_eq!(self.unary(operation, pieces.iter().cloned().collect()), pieces.concat());
    }

    /// Polled so often, then dropped.
    pub(crate) fn cancelled(&self, operation: &str, polls: usize) {
        let _inside = self.runtime.enter();
        let whole = WireBody::Whole(message(operation, Bytes::from(vec![1; 500]).into()));
        let mut call = self.forward(Rpc::Execute, whole);
        for _ in 0..polls {
            if (&mut call).now_or_never().is_some() {
                return;
            }
            thread::yield_now();
        }
    }

    pub(crate) fn panics(&self, operation: &str) {
        let call = self.forward(Rpc::Execute, WireBody::Whole(message(operation, Payload::new())));
        match self.runtime.block_on(call) {
            Err(ForwardError::Refused(_)) => {}
            Ok(WireReply { body: ReplyBody::Succeeded(messages), .. }) => {
                let answer = envelope::decode_reply(messages).expect("an envelope");
                assert!(answer.expect_err("it fails").message.contains("panicked"));
            }
            other => panic!("{other:?}"),
        }
    }

    /// A stream whose messages come from another thread, read to its end.
    pub(crate) fn stream(&self, operation: &str, rest: usize) {
        let (send, body) = Source::fed();
        let first = message(operation, Bytes::from(vec![9; 700]).into());
        let feeder = thread::spawn(move || {
            send.send(first.into_bytes()).expect("it is read");
            for _ in 0..rest {
                thread::yield_now();
                let _ = send.send(message("", Bytes::from(vec![9; 700]).into()).into_bytes());
            }
        });
        assert_eq!(self.read(body, operation, usize::MAX), rest + 1);
        feeder.join().expect("it has fed");
    }

    /// So many messages are read to its end, and one is sent.
    pub(crate) fn received(&self, operation: &str, messages: usize) {
        let body = WireBody::Whole(message(operation, Payload::new()));
        assert_eq!(self.read(body, operation, usize::MAX), messages);
    }

    /// Dropped after so many messages, while more are on their way.
    pub(crate) fn stream_dropped(&self, operation: &str, after: usize) {
        let (send, body) = Source::fed();
        for _ in 0..3 {
            let _ = send.send(message(operation, Bytes::from(vec![9; 700]).into()).into_bytes());
        }
        assert_eq!(self.read(body, operation, after), after);
        drop(send);
    }

    /// How many messages came, at most so many.
    fn read(&self, body: WireBody, operation: &str, most: usize) -> usize {
        let call = self.forward(Rpc::ExecuteStream, body);
        self.runtime.block_on(async {
            let reply = call.await.unwrap_or_else(|error| panic!("{operation}: {error}"));
            let ReplyBody::Stream(mut source) = reply.body else { panic!("{operation}: no stream") };
            let mut deframer = envelope::Deframer::default();
            let mut count = 0;
            while count < most {
                let frame = poll_fn(|cx| {
                    source.poll_progress(cx);
                    source.poll_frame(cx)
                });
                let Some(frame) = frame.await else { break };
                if let Ok(piece) = frame.expect("a frame").into_data() {
                    deframer.push(piece);
                    while deframer.next_message().expect("a message").is_some() {
                        count += 1;
                    }
                }
            }
            count
        })
    }

    /// A call that is wrong in itself.
    pub(crate) fn wrong(&self, operation: &str) {
        let _ = self.unary(operation, Bytes::from(vec![1; 4096]).into());
    }
}

/// A client's side that another thread feeds.
struct Source(mpsc::UnboundedReceiver<Bytes>);

impl Source {
    fn fed() -> (mpsc::UnboundedSender<Bytes>, WireBody) {
        let (send, receive) = mpsc::unbounded_channel();
        (send, WireBody::Stream(Box::new(Self(receive))))
    }
}

impl WireSource for Source {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}
