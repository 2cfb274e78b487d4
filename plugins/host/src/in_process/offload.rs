//! A plugin that may block: it is entered on threads of its own, so that it delays nobody but itself.
//!
//! Costs a task and a hop between threads for every call (some 70 µs against less than 1), which is why it is asked
//! for and not the default.

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use prism_plugin_abi::{
    Call, CallContext, Code, Data, Description, Error, Health, Initialize, Initialized, InstanceId, Metrics,
    Opening, Plugin, Request, RequestStream, ResponseStream, Task, ffi::panicked,
};
use std::{
    io,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};

/// The most calls of one plugin at a time. As many as HTTP/2 streams on ten connections by the default limit.
const MAX_CALLS: usize = 1024;

/// Threads of one plugin at least: one that blocks for good leaves another.
const MIN_THREADS: usize = 2;

/// See the module.
pub(super) struct Offloaded {
    plugin: Arc<dyn Plugin>,
    /// Taken when dropped.
    runtime: Option<Runtime>,
    calls: Arc<Semaphore>,
}

impl Offloaded {
    pub(super) fn new(plugin: Arc<dyn Plugin>, name: &str) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(MIN_THREADS, usize::from).max(MIN_THREADS);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            // The kernel shows fifteen bytes.
            .thread_name(format!("plugin-{name}"))
            .enable_all()
            .build()?;
        Ok(Self { plugin, runtime: Some(runtime), calls: Arc::new(Semaphore::new(MAX_CALLS)) })
    }

    /// Runs `begin` and what it gives over there; dropped here, it is dropped there.
    fn run<T: Send + 'static>(
        &self,
        begin: impl FnOnce(&dyn Plugin) -> BoxFuture<'static, T> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'static {
        let (mut reply, answer) = oneshot::channel();
        let plugin = Arc::clone(&self.plugin);
        self.spawn(async move {
            let work = AssertUnwindSafe(async { begin(&*plugin).await }).catch_unwind();
            tokio::select! {
                biased;
                () = reply.closed() => {}
                outcome = work => {
                    // A panic is told by dropping `reply`; a caller that is gone wants no answer.
                    let _ = outcome.map(|value| reply.send(value));
                }
            }
        });
        async move { answer.await.map_err(|_| panicked()) }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// A place among the calls under way.
    fn enter(&self) -> Result<OwnedSemaphorePermit, Error> {
        Arc::clone(&self.calls).try_acquire_owned().map_err(|_| {
            let message = "as many calls of the plugin as may be are under way on its own threads";
            Error::channel(Code::ResourceExhausted, message)
        })
    }
}

impl Drop for Offloaded {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops this must not wait for a plugin that blocks.
            runtime.shutdown_background();
        }
    }
}

impl Plugin for Offloaded {
    fn describe(&self) -> Arc<Description> {
        self.plugin.describe()
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        let done = self.run(move |plugin| plugin.initialize(request));
        Box::pin(async move { done.await? })
    }

    fn health(&self, instance: InstanceId) -> Task<Health> {
        let done = self.run(move |plugin| plugin.health(instance));
        Box::pin(async move { done.await.unwrap_or_else(|error| Health::unhealthy(error.to_string())) })
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let permit = match self.enter() {
            Ok(permit) => permit,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let done = self.run(move |plugin| {
            let call = plugin.execute(context, request);
            Box::pin(async move {
                let outcome = call.await;
                // Held until the plugin is through with it, and not until the caller is.
                drop(permit);
                outcome
            })
        });
        Box::pin(async move { done.await? })
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let permit = match self.enter() {
            Ok(permit) => permit,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let (pump, requests) = pump(rest);
        let (items, answers) = mpsc::channel(1);
        // With the permit, and with the answers, which never leave the plugin's threads: a caller that goes away while the
        // plugin keeps its threads gives nothing back, and is not who drops what the plugin made.
        let opened = self.run(move |plugin| {
            let opening = plugin.execute_stream(context, first, requests);
            Box::pin(async move {
                let responses = opening.await?;
                tokio::spawn(answer(responses, items, permit));
                Ok::<_, Error>(())
            })
        });
        Box::pin(async move {
            let mut pump = Some(pump);
            // The plugin may want messages before it answers at all.
            with_pump(&mut pump, opened).await??;
            Ok(Box::pin(Answers { answers, pump }) as ResponseStream)
        })
    }

    fn metrics(&self, instance: InstanceId) -> Task<Result<Metrics, Error>> {
        let done = self.run(move |plugin| plugin.metrics(instance));
        Box::pin(async move { done.await? })
    }

    fn shutdown(&self, instance: InstanceId) -> Task<()> {
        let done = self.run(move |plugin| plugin.shutdown(instance));
        Box::pin(async move { done.await.unwrap_or_default() })
    }
}

type Pump = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Moves the client's messages over, one at a time, as the plugin takes them.
fn pump(mut rest: RequestStream) -> (Pump, RequestStream) {
    let (to, from) = mpsc::channel(1);
    let pump = async move {
        loop {
            // A place first: what is pulled can be delivered.
            let Ok(place) = to.reserve().await else { return };
            let next = tokio::select! {
                biased;
                () = to.closed() => return,
                next = rest.next() => next,
            };
            match next {
                Some(message) => place.send(message),
                None => return,
            }
        }
    };
    let requests = stream::unfold(from, |mut from: mpsc::Receiver<_>| async move {
        let message = from.recv().await?;
        Some((message, from))
    });
    (Box::pin(pump), Box::pin(requests))
}

/// Polls the pump, until it is done, beside something else.
async fn with_pump<T>(pump: &mut Option<Pump>, other: impl Future<Output = T>) -> T {
    let mut other = std::pin::pin!(other);
    std::future::poll_fn(|cx| {
        advance(pump, cx);
        other.as_mut().poll(cx)
    })
    .await
}

fn advance(pump: &mut Option<Pump>, cx: &mut Context<'_>) {
    if pump.as_mut().is_some_and(|pump| pump.as_mut().poll(cx).is_ready()) {
        *pump = None;
    }
}

/// Moves the plugin's answers over, on its own threads, as the client takes them.
async fn answer(
    mut responses: ResponseStream,
    items: mpsc::Sender<Result<Data, Error>>,
    permit: OwnedSemaphorePermit,
) {
    loop {
        let Ok(place) = items.reserve().await else { break };
        let next = AssertUnwindSafe(responses.next()).catch_unwind();
        let next = tokio::select! {
            biased;
            () = items.closed() => break,
            next = next => next,
        };
        match next.unwrap_or_else(|_| Some(Err(panicked()))) {
            Some(item) => {
                let last = item.is_err();
                place.send(item);
                if last {
                    break;
                }
            }
            None => break,
        }
    }
    drop(permit);
}

/// The plugin's answers, on the client's side.
struct Answers {
    answers: mpsc::Receiver<Result<Data, Error>>,
    pump: Option<Pump>,
}

impl stream::Stream for Answers {
    type Item = Result<Data, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        advance(&mut self.pump, cx);
        self.answers.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Echo;
    use bytes::Bytes;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    /// Blocks its thread until told, whatever it is asked.
    struct Blocks {
        wait: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
        blocked: Arc<AtomicUsize>,
    }

    impl Blocks {
        fn block(&self) {
            self.blocked.fetch_add(1, SeqCst);
            let _ = self.wait.lock().unwrap().recv();
        }
    }

    impl Plugin for Blocks {
        fn describe(&self) -> Arc<Description> {
            Arc::default()
        }

        fn initialize(&self, _: Initialize) -> Task<Result<Initialized, Error>> {
            unreachable!()
        }

        fn health(&self, _: InstanceId) -> Task<Health> {
            unreachable!()
        }

        fn execute(&self, _: CallContext, request: Request) -> Call {
            if request.operation == "block" {
                self.block();
            }
            Box::pin(std::future::ready(Ok(request.params)))
        }

        fn execute_stream(&self, _: CallContext, _: Request, _: RequestStream) -> Opening {
            self.block();
            Box::pin(std::future::ready(Ok(Box::pin(stream::pending()) as ResponseStream)))
        }

        fn metrics(&self, _: InstanceId) -> Task<Result<Metrics, Error>> {
            unreachable!()
        }

        fn shutdown(&self, _: InstanceId) -> Task<()> {
            unreachable!()
        }
    }

    /// A plugin that blocks until the sender is gone or has said so, and how often it has.
    fn blocks() -> (Offloaded, std::sync::mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (go, wait) = std::sync::mpsc::channel();
        let blocked = Arc::<AtomicUsize>::default();
        let plugin = Blocks { wait: std::sync::Mutex::new(wait), blocked: Arc::clone(&blocked) };
        (Offloaded::new(Arc::new(plugin), "blocks").unwrap(), go, blocked)
    }

    fn request(operation: &'static str) -> Request {
        let params = Data::Raw(Bytes::from_static(b"x").into());
        Request { operation: operation.into(), params, ..Request::default() }
    }

    #[tokio::test]
    async fn a_thread_that_blocks_is_not_the_callers() {
        let (plugin, go, _) = blocks();
        let mut blocked = plugin.execute(CallContext::default(), request("block"));
        assert!(futures_util::poll!(&mut blocked).is_pending());
        // One thread stands still; this one does not, and another of the plugin's answers.
        plugin.execute(CallContext::default(), request("fine")).await.unwrap();
        assert!(futures_util::poll!(&mut blocked).is_pending());
        go.send(()).unwrap();
        blocked.await.unwrap();
    }

    #[tokio::test]
    async fn calls_are_bounded_and_their_places_come_back() {
        let (plugin, go, _) = blocks();
        let mut calls: Vec<_> =
            (0..MAX_CALLS).map(|_| plugin.execute(CallContext::default(), request("block"))).collect();
        let refused = plugin.execute(CallContext::default(), request("fine")).await.unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted);
        // Cancelled ones keep their places until the plugin is through with them.
        let last = calls.pop().unwrap();
        drop(calls);
        drop(go);
        last.await.unwrap();
        while plugin.calls.available_permits() < MAX_CALLS {
            tokio::task::yield_now().await;
        }
    }

    /// Who opens a stream and goes away, again and again, while the plugin keeps all of its threads.
    #[tokio::test]
    async fn streams_that_are_given_up_keep_their_places_too() {
        let (plugin, go, blocked) = blocks();
        let threads = thread::available_parallelism().unwrap().get().max(2);
        let calls: Vec<_> =
            (0..threads).map(|_| plugin.execute(CallContext::default(), request("block"))).collect();
        while blocked.load(SeqCst) < threads {
            tokio::task::yield_now().await;
        }
        let open =
            || plugin.execute_stream(CallContext::default(), request("stream"), Box::pin(stream::empty()));
        for _ in threads..MAX_CALLS {
            let mut opening = open();
            assert!(futures_util::poll!(&mut opening).is_pending());
        }
        let refused = open().await.err().unwrap();
        assert_eq!(refused.code, Code::ResourceExhausted);
        drop((go, calls));
        while plugin.calls.available_permits() < MAX_CALLS {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn streams_go_both_ways_and_end_with_either_side() {
        let plugin = Offloaded::new(Arc::new(Echo::default()), "echo").unwrap();
        let held = Arc::new(());
        let inside = Arc::clone(&held);
        let rest = stream::iter((0..100).map(|_| Ok(request("")))).chain(stream::once(async move {
            drop(inside);
            std::future::pending().await
        }));
        let answers = plugin.execute_stream(CallContext::default(), request("stream"), Box::pin(rest));
        let mut answers = answers.await.unwrap();
        for _ in 0..100 {
            assert!(matches!(answers.next().await, Some(Ok(Data::Raw(_)))));
        }
        drop(answers);
        while Arc::strong_count(&held) > 1 || plugin.calls.available_permits() < MAX_CALLS {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_panic_is_one_calls_failure() {
        let plugin = Offloaded::new(Arc::new(Echo::default()), "echo").unwrap();
        let error = plugin.execute(CallContext::default(), request("panic")).await.unwrap_err();
        assert_eq!(error.code, Code::Internal);
        plugin.execute(CallContext::default(), request("echo")).await.unwrap();
        while plugin.calls.available_permits() < MAX_CALLS {
            tokio::task::yield_now().await;
        }
    }
}
