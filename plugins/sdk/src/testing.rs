//! For tests: request builders, a gRPC client side of a plugin, and the suites that every plugin of an
//! interface must pass.

mod calls;
mod kv_suite;

pub use calls::{Instance, struct_config};
pub use kv_suite::{KvCapabilities, kv_suite};

#[cfg(feature = "server")]
mod remote;
#[cfg(feature = "server")]
pub use remote::{RemotePlugin, Transport, connect};
