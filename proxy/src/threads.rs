//! A proxy on real threads: one current-thread runtime per worker, and one runtime for the control plane.

use crate::{
    proxy::{Options, Proxy, StartError},
    worker::Worker,
};
use prism_platform::{Random, SystemRandom};
use std::{future::Future, io, thread, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::LocalSet,
};

/// Runs a proxy until `stop` resolves and everything has drained. `started` is called on the control plane's
/// runtime once the first configuration serves.
///
/// # Errors
/// It did not start.
pub fn run_on_threads<S, F>(options: Options, started: S) -> Result<(), StartError>
where
    S: FnOnce(&Proxy) -> F,
    F: Future<Output = ()>,
{
    // Two threads: a configuration that takes a while to build must not keep connections from being accepted.
    let control = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("prism-control")
        .on_thread_start(warm)
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let ran = control.block_on(async {
        let (proxy, workers) = Proxy::start(options).await?;
        // Every worker holds a sender; the receiver ends when the last one has.
        let (alive, mut all_ended) = mpsc::channel::<()>(1);
        let mut threads = Vec::with_capacity(workers.len());
        for (index, worker) in workers.into_iter().enumerate() {
            threads.push(spawn(index, worker, alive.clone()).map_err(StartError::Thread)?);
        }
        drop(alive);
        let stop = started(&proxy);
        let drained = async move {
            all_ended.recv().await;
        };
        proxy.run(stop, drained).await;
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker's thread panicked: this is a bug, please report it");
            }
        }
        Ok(())
    });
    // A library or a file that hangs keeps the thread that it hangs on, and must not keep the process.
    control.shutdown_timeout(LAST_THREADS);
    if !prism_filters::audit::finish(LAST_RECORDS) {
        tracing::error!("an audit log could not be ended in time");
    }
    ran
}

/// What audit logs are given to write their last records and their signature, after the last call.
const LAST_RECORDS: Duration = Duration::from_secs(5);

/// What threads that do blocking work are given to end, once everything else has: reading a small file, at most.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Uses once what a thread has of its own. The first use of a thread-local with a destructor takes a lock of the dynamic
/// linker's (glibc, `__cxa_thread_atexit_impl`), which `dlopen` holds while a library's constructors run: a thread that
/// came to it then would wait for a constructor, and with it every connection of that thread.
fn warm() {
    let _ = arc_swap::ArcSwap::from_pointee(()).load();
    let _ = SystemRandom.next_u64();
    // The log's own buffer: a worker whose first line came while a library hung stood still. One line to nowhere.
    let nowhere = tracing_subscriber::fmt().with_writer(io::sink).finish();
    tracing::subscriber::with_default(nowhere, || tracing::info!("a thread begins"));
}

fn spawn(index: usize, worker: Worker, alive: mpsc::Sender<()>) -> io::Result<thread::JoinHandle<()>> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name(format!("prism-worker-{index}")).spawn(move || {
        warm();
        LocalSet::new().block_on(&runtime, worker.run());
        drop(alive);
    })
}
