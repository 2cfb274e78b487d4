//! The plugin of docs/plugins.md: a backend that hands out numbers.

use bytes::Bytes;
use futures_util::{Stream, stream};
use prism_plugin_sdk::{
    InitContext, PluginResult,
    abi::{CallContext, Code, CustomMetrics, Error, Health, Metrics},
    operations, plugin,
};
use serde::Deserialize;
use tokio::sync::watch;

/// What is made of `proto/numbers/v1/numbers.proto`.
pub mod v1 {
    #![allow(missing_docs)]
    include!(concat!(env!("OUT_DIR"), "/numbers.v1.rs"));
}

/// The same as descriptors, for who calls the plugin.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The `config` mapping of a namespace on this backend.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The first number. Default: 1.
    first: u64,
    /// The last number. Default: 1,000.
    last: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { first: 1, last: 1000 }
    }
}

/// One instance: the numbers of one namespace.
#[plugin(name = "numbers", config = Config, descriptors = DESCRIPTORS)]
pub struct Numbers {
    first: u64,
    last: u64,
    /// The number that comes next.
    next: watch::Sender<u64>,
}

#[operations]
impl Numbers {
    #[init]
    async fn init(cx: InitContext<Config>) -> PluginResult<Self> {
        let Config { first, last } = cx.config;
        if first > last {
            return Err(Error::invalid("config.first: is above config.last"));
        }
        Ok(Self { first, last, next: watch::Sender::new(first) })
    }

    #[health]
    async fn health(&self) -> Health {
        let mut health = Health::healthy();
        health.details.insert("next".into(), self.next.borrow().to_string());
        health
    }

    #[operation("take", write, raw)]
    async fn take(&self, _: Bytes) -> PluginResult<Bytes> {
        self.next_number().map(text)
    }

    #[operation("peek", read, idempotent, raw)]
    async fn peek(&self, _: Bytes) -> PluginResult<Bytes> {
        Ok(text(*self.next.borrow()))
    }

    #[operation("take_many", write)]
    async fn take_many(
        &self,
        _: &CallContext,
        params: v1::TakeManyRequest,
    ) -> PluginResult<v1::TakeManyResponse> {
        if !(1..=100).contains(&params.count) {
            return Err(Error::invalid("count: 1 to 100 are handed out at once"));
        }
        let mut numbers = vec![self.next_number()?];
        while numbers.len() < params.count as usize
            && let Ok(number) = self.next_number()
        {
            numbers.push(number);
        }
        Ok(v1::TakeManyResponse { numbers })
    }

    #[operation("follow", read, stream, raw)]
    async fn follow(
        &self,
        _: Bytes,
    ) -> PluginResult<impl Stream<Item = PluginResult<Bytes>> + Send + 'static> {
        // Subscribed before the headers leave: no change after them is missed.
        let changes = self.next.subscribe();
        Ok(stream::unfold(changes, |mut changes| async move {
            changes.changed().await.ok()?;
            let next = *changes.borrow_and_update();
            Some((Ok(text(next)), changes))
        }))
    }

    #[metrics]
    #[allow(clippy::cast_precision_loss)] // a double is what a figure is
    fn metrics(&self) -> Metrics {
        let next = *self.next.borrow();
        let custom = CustomMetrics::new()
            .counter("numbers_taken", (next - self.first) as f64)
            .gauge("numbers_left", (self.last + 1 - next) as f64)
            .gauge("followers", self.next.receiver_count() as f64);
        Metrics { custom, ..Metrics::default() }
    }
}

impl Numbers {
    fn next_number(&self) -> PluginResult<u64> {
        let mut taken = None;
        self.next.send_if_modified(|next| {
            if *next <= self.last {
                taken = Some(*next);
                *next += 1;
            }
            taken.is_some()
        });
        taken.ok_or_else(|| {
            let message =
                format!("{} was the last number; raise `last` in the namespace's config", self.last);
            Error::operation(Code::ResourceExhausted, message)
        })
    }
}

fn text(number: u64) -> Bytes {
    number.to_string().into()
}
