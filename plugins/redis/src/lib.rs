//! Redis as a `prism.kv.v1` backend.
//!
//! Keys are Redis keys and values Redis strings, so that other programs see them as they are. A key of
//! another type is `FAILED_PRECONDITION` where a value is asked for. Keys that the interface cannot name
//! (not UTF-8, longer than 1,024 bytes) are left out of `scan` and `watch`.

mod config;
mod error;
mod scan;
mod watch;

pub use config::Config;

use bytes::Bytes;
use deadpool_redis::{Connection, Manager};
use futures_core::Stream;
use prism_plugin_sdk::{
    Hosted, InitContext, PluginResult,
    abi::{CustomMetrics, Health, Metrics, Plugin},
    kv::{self, Condition, Found, KeyValue, Page, WatchEvent},
    operations, plugin,
    pool::{Pool, PoolOptions},
};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, cmd};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// The plugin, ready to be linked in.
#[must_use]
pub fn redis() -> Arc<dyn Plugin> {
    Arc::new(Hosted::<Redis>::new())
}

/// One instance: one namespace, one pool.
#[plugin(name = "redis", config = Config, implements = KeyValue)]
pub struct Redis {
    backend: Arc<Backend>,
}

/// What calls and watchers share.
struct Backend {
    config: Config,
    pool: Pool<Manager, Connection>,
    client: Client,
    database: i64,
    queries: AtomicU64,
    watchers: Arc<Semaphore>,
    /// Closed on shutdown: watchers learn that their instance is gone.
    open: Semaphore,
}

#[operations]
impl Redis {
    #[init]
    async fn init(context: InitContext<Config>) -> PluginResult<Self> {
        let config = context.config;
        let info = config.connection(&context.credentials)?;
        let database = info.redis_settings().db();
        let connect = Duration::from_millis(config.connect_timeout_ms);
        let command = Duration::from_millis(config.command_timeout_ms);
        let invalid = |error: redis::RedisError| error::invalid_url(&error);
        let client = Client::open(info.clone()).map_err(invalid)?;
        let options = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(command));
        let manager = Manager::new_with_config(info, options).map_err(invalid)?;
        let waits = PoolOptions { size: config.pool_size, wait: command, connect, check: command };
        let pool = Pool::new(manager, waits)?;
        let watchers = Arc::new(Semaphore::new(config.max_watchers));
        let backend = Backend {
            config,
            pool,
            client,
            database,
            queries: AtomicU64::new(0),
            watchers,
            open: Semaphore::new(0),
        };
        // A wrong password is a mistake that must fail here, not at the first call.
        backend.query::<String>(&cmd("PING")).await?;
        Ok(Self { backend: Arc::new(backend) })
    }

    #[health]
    async fn health(&self) -> Health {
        let mut health = match self.backend.query::<String>(&cmd("PING")).await {
            Ok(_) => Health::healthy(),
            Err(error) => Health::unhealthy(error.to_string()),
        };
        let status = self.backend.pool.status();
        health.details.insert("pool_size".into(), status.size.to_string());
        health.details.insert("pool_max".into(), status.max_size.to_string());
        health.details.insert("pool_waiting".into(), status.waiting.to_string());
        health
    }

    #[metrics]
    #[allow(clippy::cast_precision_loss)] // a double is what a figure is
    fn metrics(&self) -> Metrics {
        let watchers =
            self.backend.config.max_watchers.saturating_sub(self.backend.watchers.available_permits());
        self.backend.pool.measured(Metrics {
            queries_executed: self.backend.queries.load(Relaxed),
            custom: CustomMetrics::new().gauge("watchers", watchers as f64),
            ..Metrics::default()
        })
    }

    #[shutdown]
    async fn shutdown(&self) {
        self.backend.open.close();
        // Calls that hold a connection finish on it; it is closed when they return it.
        self.backend.pool.close();
    }
}

impl Backend {
    async fn connection(&self) -> PluginResult<Connection> {
        self.queries.fetch_add(1, Relaxed);
        self.pool.get(|error| error::redis(&error)).await
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> PluginResult<T> {
        let mut connection = self.connection().await?;
        command.query_async(&mut *connection).await.map_err(|error| error::redis(&error))
    }

    async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> PluginResult<T> {
        let mut connection = self.connection().await?;
        commands.query_async(&mut *connection).await.map_err(|error| error::redis(&error))
    }

    /// The key as Redis has it.
    fn physical(&self, key: &str) -> String {
        [&*self.config.key_prefix, key].concat()
    }

    /// The key as clients have it; `None` for one that they cannot name.
    fn logical(&self, physical: &[u8]) -> Option<String> {
        let key = physical.strip_prefix(self.config.key_prefix.as_bytes())?;
        let key = std::str::from_utf8(key).ok()?;
        (!key.is_empty() && key.len() <= kv::MAX_KEY && !key.contains('\0')).then(|| key.to_owned())
    }
}

/// How many keys one MGET asks for: enough that the round trips do not show, and few enough that the bound
/// on the answer is checked before it is far exceeded.
const MGET: usize = 32;

impl KeyValue for Redis {
    const TOKEN: &'static str = "redis";

    async fn get(&self, key: &str, with_ttl: bool) -> PluginResult<Option<Found>> {
        let key = self.backend.physical(key);
        if !with_ttl {
            let value: Option<Bytes> = self.backend.query(cmd("GET").arg(key)).await?;
            return Ok(value.map(|value| Found { value, ttl: None }));
        }
        let mut both = Pipeline::with_capacity(2);
        both.cmd("GET").arg(&key).cmd("PTTL").arg(&key);
        let (value, ttl): (Option<Bytes>, i64) = self.backend.pipeline(&both).await?;
        // -1: it does not expire. -2: it is gone, between the two.
        let ttl = match ttl {
            -2 => return Ok(None),
            ttl => u64::try_from(ttl).ok().map(Duration::from_millis),
        };
        Ok(value.map(|value| Found { value, ttl }))
    }

    async fn set(
        &self,
        key: String,
        value: Bytes,
        ttl: Option<Duration>,
        condition: Condition,
    ) -> PluginResult<bool> {
        let mut set = cmd("SET");
        set.arg(self.backend.physical(&key)).arg(&value[..]);
        if let Some(ttl) = ttl {
            set.arg("PX").arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        }
        match condition {
            Condition::Always => &mut set,
            Condition::IfAbsent => set.arg("NX"),
            Condition::IfPresent => set.arg("XX"),
        };
        let set: Option<String> = self.backend.query(&set).await?;
        Ok(set.is_some())
    }

    async fn delete(&self, keys: Vec<String>) -> PluginResult<usize> {
        let keys: Vec<_> = keys.iter().map(|key| self.backend.physical(key)).collect();
        self.backend.query(cmd("DEL").arg(keys)).await
    }

    async fn exists(&self, key: &str) -> PluginResult<bool> {
        self.backend.query(cmd("EXISTS").arg(self.backend.physical(key))).await
    }

    async fn multi_get(&self, keys: &[String]) -> PluginResult<Vec<Option<Bytes>>> {
        let mut values = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for keys in keys.chunks(MGET) {
            let keys: Vec<_> = keys.iter().map(|key| self.backend.physical(key)).collect();
            let some: Vec<Option<Bytes>> = self.backend.query(cmd("MGET").arg(keys)).await?;
            bytes += some.iter().flatten().map(Bytes::len).sum::<usize>();
            if bytes > kv::MAX_MULTI_GET {
                return Err(kv::too_many_bytes());
            }
            values.extend(some);
        }
        Ok(values)
    }

    async fn scan(&self, prefix: &str, page_size: usize, from: Option<&[u8]>) -> PluginResult<Page> {
        scan::page(&self.backend, prefix, page_size, from).await
    }

    async fn watch(
        &self,
        prefix: String,
    ) -> PluginResult<impl Stream<Item = PluginResult<WatchEvent>> + Send + 'static> {
        watch::open(self.backend.clone(), prefix).await
    }
}

/// A prefix as a Redis glob: what it means to MATCH and PSUBSCRIBE is escaped, and `*` follows.
fn glob(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 8);
    for letter in prefix.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('*');
    pattern
}
