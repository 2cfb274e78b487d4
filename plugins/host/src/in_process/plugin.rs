//! A plugin that shares the proxy's process, and what is watched of it: it can keep a thread from everyone else.

use super::offload::Offloaded;
use prism_platform::time::{Instant, tick};
use prism_plugin_abi::{
    Description, Plugin,
    ffi::{EncodedPlugin, LONG_POLL, Observer},
};
use prism_plugin_envelope::control::{self, BadDescription, Decoded};
use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Lines about one plugin's long polls are this far apart at least.
const QUIET: Duration = Duration::from_secs(10);

/// A plugin in this process, behind the boundary of the ABI, where its panics end.
#[derive(Clone)]
pub struct InProcessPlugin {
    plugin: Arc<dyn Plugin>,
    watch: Arc<LongPolls>,
}

impl InProcessPlugin {
    /// One that is linked in. It is reached like one that is loaded.
    ///
    /// # Panics
    /// When the plugin panics while it says what it is.
    #[must_use]
    pub fn linked(name: &str, plugin: Arc<dyn Plugin>) -> Self {
        let watch = LongPolls::new(name);
        let plugin = control::linked(plugin, || Instant::now().into_std(), Arc::clone(&watch) as _);
        Self { plugin, watch }
    }

    /// One out of a library, watched by `watch`, which was handed to whatever imported it.
    ///
    /// # Errors
    /// It does not say what it is. Without a deadline of its own.
    pub async fn loaded(plugin: impl EncodedPlugin, watch: Arc<LongPolls>) -> Result<Self, BadDescription> {
        Ok(Self { plugin: Arc::new(Decoded::new(plugin).await?), watch })
    }

    /// The same plugin, entered on threads of its own alone.
    ///
    /// # Errors
    /// Those threads cannot be started.
    pub fn offloaded(&self) -> io::Result<Self> {
        let plugin = Offloaded::new(Arc::clone(&self.plugin), &self.watch.plugin)?;
        Ok(Self { plugin: Arc::new(plugin), watch: Arc::clone(&self.watch) })
    }

    /// What it says that it is.
    #[must_use]
    pub fn description(&self) -> Arc<Description> {
        self.plugin.describe()
    }

    /// How often it kept a thread for longer than [`LONG_POLL`].
    #[must_use]
    pub fn long_polls(&self) -> u64 {
        self.watch.count()
    }

    pub(crate) fn plugin(&self) -> &Arc<dyn Plugin> {
        &self.plugin
    }
}

#[cfg(test)]
impl<P: Plugin + 'static> From<Arc<P>> for InProcessPlugin {
    fn from(plugin: Arc<P>) -> Self {
        Self::linked("test", plugin)
    }
}

impl PartialEq for InProcessPlugin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.plugin, &other.plugin)
    }
}

impl fmt::Debug for InProcessPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InProcessPlugin({})", self.watch.plugin)
    }
}

/// Counts how often a plugin kept a thread for too long, and says so in the log.
pub struct LongPolls {
    plugin: Box<str>,
    count: AtomicU64,
    /// When the log may be told again, in milliseconds of [`tick`].
    quiet_until: AtomicU64,
}

impl LongPolls {
    /// Of the plugin called so.
    #[must_use]
    pub fn new(plugin: &str) -> Arc<Self> {
        Arc::new(Self { plugin: plugin.into(), count: AtomicU64::new(0), quiet_until: AtomicU64::new(0) })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for LongPolls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LongPolls({}: {})", self.plugin, self.count())
    }
}

impl Observer for LongPolls {
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn tick(&self) -> Duration {
        tick()
    }

    fn long_poll(&self, took: Duration) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(tick());
        let quiet_until = self.quiet_until.load(Ordering::Relaxed);
        let next = now.saturating_add(millis(QUIET));
        if now < quiet_until
            || self
                .quiet_until
                .compare_exchange(quiet_until, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        tracing::warn!(
            plugin = &*self.plugin,
            took_ms = millis(took),
            limit_ms = millis(LONG_POLL),
            so_far = count,
            "the plugin kept a thread for itself, and every call on that thread waited; have it await instead, or set \
             `offload: true` for it"
        );
    }
}
