//! One plugin, called as a trait in Rust, over the C ABI with the plugin linked in, and over the C ABI with it in a
//! library that is loaded: what the boundary costs, and nothing else.

use bytes::Bytes;
use prism_platform::time::Instant;
use prism_plugin_abi::{ByteString, CallContext, Data, Initialize, InstanceId, Payload, Plugin, Request};
use prism_plugin_envelope::control::{self, Decoded};
use prism_plugin_host::LongPolls;
use prism_plugin_loader::{Generations, check, load};
use prism_plugin_probe::Probe;
use prism_plugin_sdk::Hosted;
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};
use tokio::runtime::{Builder, Runtime};

/// Payload in bytes, as in the comparison.
pub const SMALL: usize = 128;

/// What is called: ready at once, and ready after one wake.
pub const OPERATIONS: [(&str, &str); 2] = [("echo", "ready at once"), ("woken", "pending once, and a wake")];

/// The ways to the plugin, the first without a boundary.
pub const WAYS: [&str; 3] = ["a trait in Rust", "the ABI, linked in", "the ABI, a library"];

/// The plugin on every way, each with an instance.
pub struct Ways {
    plugins: Vec<Arc<dyn Plugin>>,
    context: CallContext,
    payload: Bytes,
    wakes: Arc<Wakes>,
    waker: Waker,
    // A linked plugin's futures count on a runtime around them.
    runtime: Runtime,
}

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Ways {
    /// Builds the library with the profile that ships, which is that of benchmarks, and loads it.
    ///
    /// # Panics
    /// When any of that fails.
    #[must_use]
    pub fn new() -> Self {
        Self::with("library")
    }

    /// The same with a library that counts what it allocates.
    ///
    /// # Panics
    /// As [`Ways::new`].
    #[must_use]
    pub fn counting() -> Self {
        Self::with("library,counting")
    }

    fn with(features: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let observer = || LongPolls::new("probe");
        let linked = || Arc::new(Hosted::<Probe>::new());
        let checked = check(&library(folder.path(), features)).expect("it is a plugin");
        let loaded = load(checked, &Generations::default(), 1, observer()).expect("it loads");
        let instance = InstanceId(7);
        let plugins = runtime.block_on(async {
            let loaded = Decoded::new(loaded.plugin).await.expect("it says what it is");
            let over_abi = control::linked(linked(), || Instant::now().into_std(), observer());
            let plugins: Vec<Arc<dyn Plugin>> = vec![linked(), over_abi, Arc::new(loaded)];
            for plugin in &plugins {
                let config_type_url = "type.googleapis.com/google.protobuf.Struct".to_owned();
                let request = Initialize {
                    instance,
                    namespace: "bench".to_owned(),
                    config_type_url,
                    ..Default::default()
                };
                plugin.initialize(request).await.expect("an instance");
            }
            plugins
        });
        let context = CallContext {
            instance,
            namespace: "bench".into(),
            request_id: "0123456789abcdef0123456789abcdef".into(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            ..Default::default()
        };
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(Arc::clone(&wakes));
        Self { plugins, context, payload: vec![7; SMALL].into(), wakes, waker, runtime }
    }

    /// So many calls of an operation, one way.
    ///
    /// # Panics
    /// When one fails, or waits for a wake that does not come.
    pub fn call(&self, way: usize, operation: &'static str, times: u32) {
        for _ in 0..times {
            assert_eq!(self.one(way, operation).len(), SMALL);
        }
    }

    /// How often the library has allocated so far.
    ///
    /// # Panics
    /// When it does not count.
    #[must_use]
    pub fn library_allocations(&self) -> usize {
        let answer = self.one(WAYS.len() - 1, "allocations").into_bytes();
        std::str::from_utf8(&answer).ok().and_then(|text| text.parse().ok()).expect("a number")
    }

    fn one(&self, way: usize, operation: &'static str) -> Payload {
        let _inside = self.runtime.enter();
        let mut cx = Context::from_waker(&self.waker);
        let params = Data::Raw(self.payload.clone().into());
        let operation = ByteString::from_static(operation);
        let request = Request { operation, params, metadata: Vec::new() };
        let mut call = self.plugins[way].execute(self.context.clone(), request);
        loop {
            let woken = self.wakes.0.load(Ordering::Relaxed);
            match call.as_mut().poll(&mut cx) {
                Poll::Ready(Ok(Data::Raw(answer))) => return answer,
                Poll::Ready(other) => panic!("no answer: {other:?}"),
                Poll::Pending => assert!(self.wakes.0.load(Ordering::Relaxed) > woken, "never woken"),
            }
        }
    }
}

impl Default for Ways {
    fn default() -> Self {
        Self::new()
    }
}

/// The probe as a library, built as what ships is, in a file that nobody else can write.
fn library(folder: &Path, features: &str) -> std::path::PathBuf {
    let own = env::current_exe().expect("a program knows where it is");
    let target = own.ancestors().nth(3).expect("target/PROFILE/deps/PROGRAM");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["rustc", "--quiet", "--profile", "dist", "-p", "prism-plugin-probe", "--lib"])
        .args(["--crate-type", "cdylib", "--features", features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo starts");
    assert!(status.success(), "the library cannot be built");
    let library = folder.join("probe.so");
    fs::copy(target.join("dist/libprism_plugin_probe.so"), &library).expect("it is where cargo puts it");
    fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).expect("it is ours");
    library
}
