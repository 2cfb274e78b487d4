//! What a namespace may set.

use prism_plugin_sdk::abi::Error;
use serde::Deserialize;

/// The `config` mapping of a namespace on this backend.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The most memory for keys and values, in bytes, each entry counted with
    /// [`OVERHEAD`](crate::Config::OVERHEAD) bytes besides. Default: 64 MiB, which a demo does not fill and
    /// the smallest machine can spare. A full store refuses `set`; it never drops a key to make room.
    pub max_bytes: usize,
    /// The most watchers at a time. Default: 64. Every change is offered to each of them, so they are what
    /// a `set` costs.
    pub max_watchers: usize,
    /// How many events a watcher may fall behind. Default: 1024, a second of a busy namespace.
    pub watch_buffer: usize,
    /// How many bytes of keys and values a watcher may fall behind. Default: 8 MiB, because what waits for
    /// a watcher is memory beyond `max_bytes`. A single event may be larger.
    pub watch_buffer_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, max_watchers: 64, watch_buffer: 1024, watch_buffer_bytes: 8 << 20 }
    }
}

impl Config {
    /// What an entry costs besides its key and value, in bytes: its places in the maps and its allocations,
    /// rounded up from what was measured.
    pub const OVERHEAD: usize = 160;

    /// Numbers that can never work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, value) in [("max_bytes", self.max_bytes), ("watch_buffer", self.watch_buffer)] {
            if value == 0 {
                return Err(Error::invalid(format!("config.{name}: is 0; it must be at least 1")));
            }
        }
        // The channel's own limit; far beyond it, a buffer is a leak with a name.
        if self.watch_buffer > 1_000_000 {
            return Err(Error::invalid("config.watch_buffer: the most is 1000000 events"));
        }
        Ok(())
    }
}
