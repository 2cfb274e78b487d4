//! A key-value plugin that is away as often as it is told, and knows how often it was asked.

use bytes::Bytes;
use futures_util::{Stream, stream};
use prism_plugin_sdk::{
    Hosted, InitContext, PluginResult,
    abi::{Code, Error, Health},
    kv::{Condition, Found, KeyValue, Page, WatchEvent},
    operations, plugin,
    server::{Address, ServeError, ServeOptions, serve},
};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::task::JoinHandle;

/// The key that is read with success when it is read for the third time.
pub const THIRD_TIME: &str = "third-time";
/// The key that nobody lives to read.
pub const NEVER: &str = "never";

/// Every `set` fails with UNAVAILABLE, and every `get` of [`THIRD_TIME`] but the third. The value of any key is how often
/// it was to be set, and that of [`THIRD_TIME`] how often it was read.
#[plugin(name = "flaky", config = HashMap<String, String>, implements = KeyValue)]
#[derive(Debug)]
pub struct Flaky {
    calls: Mutex<HashMap<String, usize>>,
}

impl Flaky {
    fn calls(&self, key: &str, more: usize) -> usize {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry(key.to_owned()).or_default();
        *calls += more;
        *calls
    }
}

/// Serves it on this socket until the task is aborted.
#[must_use]
pub fn start(socket: &Path) -> JoinHandle<Result<(), ServeError>> {
    let options = ServeOptions { address: Address::Unix(socket.to_owned()), ..ServeOptions::default() };
    tokio::spawn(serve(Arc::new(Hosted::<Flaky>::new()), options, std::future::pending()))
}

fn away<T>() -> PluginResult<T> {
    Err(Error::operation(Code::Unavailable, "the backend is away"))
}

#[operations]
impl Flaky {
    #[init]
    async fn init(_: InitContext<HashMap<String, String>>) -> PluginResult<Self> {
        Ok(Self { calls: Mutex::default() })
    }

    /// It is healthy, so that it is asked at all.
    #[health]
    async fn health(&self) -> Health {
        Health::healthy()
    }
}

impl KeyValue for Flaky {
    const TOKEN: &'static str = "flaky";

    async fn get(&self, key: &str, _with_ttl: bool) -> PluginResult<Option<Found>> {
        match key {
            NEVER => std::future::pending().await,
            THIRD_TIME if !self.calls(key, 1).is_multiple_of(3) => away(),
            _ => Ok(Some(Found { value: self.calls(key, 0).to_string().into(), ttl: None })),
        }
    }

    async fn set(
        &self,
        key: String,
        _value: Bytes,
        _ttl: Option<Duration>,
        _condition: Condition,
    ) -> PluginResult<bool> {
        self.calls(&key, 1);
        away()
    }

    async fn delete(&self, _keys: Vec<String>) -> PluginResult<usize> {
        away()
    }

    async fn exists(&self, _key: &str) -> PluginResult<bool> {
        away()
    }

    async fn multi_get(&self, _keys: &[String]) -> PluginResult<Vec<Option<Bytes>>> {
        away()
    }

    async fn scan(&self, _prefix: &str, _page_size: usize, _from: Option<&[u8]>) -> PluginResult<Page> {
        away()
    }

    async fn watch(
        &self,
        _prefix: String,
    ) -> PluginResult<impl Stream<Item = PluginResult<WatchEvent>> + Send + 'static> {
        away::<stream::Empty<_>>()
    }
}
