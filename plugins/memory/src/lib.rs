//! The embedded default backend: `prism.kv.v1` in bounded memory.
//!
//! For first steps, tests and data that may be lost. Nothing is stored on disk, and an instance's keys go
//! with the instance.

mod config;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use config::Config;

use bytes::Bytes;
use futures_core::Stream;
use prism_plugin_sdk::{
    Hosted, InitContext, PluginResult,
    abi::{CustomMetrics, Health, Metrics, Plugin},
    kv::{self, Condition, Found, KeyValue, Page, WatchEvent},
    operations, plugin,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use store::Store;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// The plugin, ready to be linked in.
#[must_use]
pub fn memory() -> Arc<dyn Plugin> {
    Arc::new(Hosted::<Memory>::new())
}

/// One instance: one namespace's keys.
#[plugin(name = "memory", config = Config, implements = KeyValue)]
pub struct Memory {
    shared: Arc<Shared>,
    sweeper: JoinHandle<()>,
}

struct Shared {
    store: Mutex<Store>,
    /// An expiry earlier than those before it was set.
    earlier: Notify,
}

impl Shared {
    /// Held for the length of one operation on the maps, never across an await.
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what expires, when it expires, so that watchers learn of it though nobody asks for the key.
    async fn sweep(self: Arc<Self>) {
        loop {
            let earlier = self.earlier.notified();
            let next = self.lock().sweep(Instant::now());
            match next {
                // More is due: others may have the lock first.
                Some(at) if at <= Instant::now() => tokio::task::yield_now().await,
                Some(at) => tokio::select! { () = sleep_until(at) => {}, () = earlier => {} },
                None => earlier.await,
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

#[operations]
impl Memory {
    #[init]
    async fn init(context: InitContext<Config>) -> PluginResult<Self> {
        context.config.check()?;
        let shared =
            Arc::new(Shared { store: Mutex::new(Store::new(context.config)), earlier: Notify::new() });
        Ok(Self { sweeper: tokio::spawn(shared.clone().sweep()), shared })
    }

    #[health]
    async fn health(&self) -> Health {
        let (keys, bytes) = self.shared.lock().usage();
        let mut health = Health::healthy();
        health.details.insert("keys".into(), keys.to_string());
        health.details.insert("bytes".into(), bytes.to_string());
        health
    }

    #[metrics]
    #[allow(clippy::cast_precision_loss)] // a double is what a figure is
    fn metrics(&self) -> Metrics {
        let store = self.shared.lock();
        let (keys, bytes) = store.usage();
        let custom = CustomMetrics::new()
            .gauge("keys", keys as f64)
            .gauge("stored_bytes", bytes as f64)
            .gauge("watchers", store.watchers() as f64);
        Metrics { custom, ..Metrics::default() }
    }

    /// Watchers learn that their instance is gone; what they have not read yet still comes first.
    #[shutdown]
    async fn shutdown(&self) {
        self.shared.lock().end_watchers();
    }
}

impl KeyValue for Memory {
    const TOKEN: &'static str = "memory";

    async fn get(&self, key: &str, _with_ttl: bool) -> PluginResult<Option<Found>> {
        Ok(self.shared.lock().get(key, Instant::now()))
    }

    async fn set(
        &self,
        key: String,
        value: Bytes,
        ttl: Option<Duration>,
        condition: Condition,
    ) -> PluginResult<bool> {
        // Always a copy, made before the lock: a slice of a request would keep the whole request alive,
        // and a small value between large fields that nobody reads would cost memory that is not counted.
        let value = Bytes::copy_from_slice(&value);
        let now = Instant::now();
        // An expiry beyond what the clock can say is none.
        let expires = ttl.and_then(|ttl| now.checked_add(ttl));
        let set = self.shared.lock().set(&key, value, expires, condition, now)?;
        if set.earliest {
            self.shared.earlier.notify_one();
        }
        Ok(set.applied)
    }

    async fn delete(&self, keys: Vec<String>) -> PluginResult<usize> {
        let mut store = self.shared.lock();
        let now = Instant::now();
        Ok(keys.iter().filter(|key| store.delete(key, now)).count())
    }

    async fn exists(&self, key: &str) -> PluginResult<bool> {
        Ok(self.shared.lock().get(key, Instant::now()).is_some())
    }

    async fn multi_get(&self, keys: &[String]) -> PluginResult<Vec<Option<Bytes>>> {
        let mut store = self.shared.lock();
        let now = Instant::now();
        Ok(keys.iter().map(|key| store.get(key, now).map(|found| found.value)).collect())
    }

    async fn scan(&self, prefix: &str, page_size: usize, from: Option<&[u8]>) -> PluginResult<Page> {
        let after = match from {
            None => None,
            Some(key) => Some(std::str::from_utf8(key).map_err(|_| kv::foreign_token())?),
        };
        if after.is_some_and(|after| !after.starts_with(prefix)) {
            return Err(kv::foreign_token());
        }
        Ok(self.shared.lock().scan(prefix, page_size, after, Instant::now()))
    }

    async fn watch(
        &self,
        prefix: String,
    ) -> PluginResult<impl Stream<Item = PluginResult<WatchEvent>> + Send + 'static> {
        self.shared.lock().watch(prefix)
    }
}
