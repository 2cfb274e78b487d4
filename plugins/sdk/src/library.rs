//! A plugin as a shared library: what stands behind its entry function.
//!
//! The proxy polls the plugin's calls on its own threads. The plugin's tokio is a copy of its own, whose reactor and
//! timers run on threads of its own; every entry, drops included, is made inside of that runtime.

mod log;

use crate::{BackendPlugin, Hosted};
use prism_plugin_abi::ffi::{
    export::{Ambience, Level, Log, export},
    layout::Loaded,
};
use prism_plugin_envelope::control::Encoded;
use std::{panic, sync::Arc, thread, time::Instant};
use tokio::runtime::{Builder, Runtime};

/// The most threads of a plugin's runtime. They do what the plugin spawns, and its sockets' readiness; its calls are
/// polled by the proxy. A bound, because each plugin in a process brings as many.
const MAX_THREADS: usize = 4;

/// What a library's entry function begins with. `None`, after a line in the log, when there is no runtime.
pub fn begin<P: BackendPlugin>(log: Log) -> Option<Loaded> {
    log::forward(log);
    panic::set_hook(Box::new(move |info| log.line(Level::Error, &info.to_string())));
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("prism-plugin")
        .enable_all()
        .build()
        .map_err(|error| log.line(Level::Error, &format!("the plugin's runtime cannot start: {error}")))
        .ok()?;
    let plugin = {
        let _inside = runtime.enter();
        Hosted::<P>::new()
    };
    Some(export(Encoded(Arc::new(plugin)), Inside(Some(runtime))))
}

/// Inside of the plugin's runtime.
struct Inside(Option<Runtime>);

impl Ambience for Inside {
    fn within<T>(&self, entry: impl FnOnce() -> T) -> T {
        let _inside = self.0.as_ref().map(Runtime::enter);
        entry()
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // The thread is the proxy's, and must not wait for the plugin's tasks.
            runtime.shutdown_background();
        }
    }
}

/// What makes a `cdylib` a plugin. Written by [`plugin`](crate::plugin).
#[doc(hidden)]
#[macro_export]
macro_rules! library {
    ($plugin:ty, $entry:ident) => {
        $crate::abi::plugin_library! {
            $entry,
            <$plugin as $crate::macros::Declaration>::NAME,
            <$plugin as $crate::macros::Declaration>::VERSION,
            $crate::library::begin::<$plugin>
        }
    };
}
