//! A proxy in the process of the test, for what a process of its own would hide: its sockets, or plugins that are linked in.

use prism_edge::{Options, run_on_threads};
use std::{sync::mpsc, thread};
use tokio::sync::oneshot;

/// Serves until it is dropped, and fails the test if the proxy panicked.
pub struct InProcess {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl InProcess {
    /// Returns when its listeners are open.
    ///
    /// # Panics
    ///
    /// If the proxy does not start.
    #[must_use]
    pub fn start(options: Options) -> Self {
        let (started, serving) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let ran = run_on_threads(options, |_| {
                started.send(()).unwrap();
                async {
                    let _ = stopped.await;
                }
            });
            ran.unwrap();
        });
        serving.recv().expect("the proxy starts");
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the proxy panicked");
    }
}
