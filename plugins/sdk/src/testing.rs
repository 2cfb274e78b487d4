//! For tests: a proxy's side of a plugin in memory, request builders, a client side of a plugin's server, and
//! the suites that every plugin of an interface must pass, and ports for the servers that they need.

mod calls;
mod host;
mod kv_suite;
mod ports;
mod protocol_suite;
mod request;

pub use calls::Instance;
pub use host::{Host, Namespace};
pub use kv_suite::{KvCapabilities, kv_suite};
pub use ports::free_port;
pub use protocol_suite::{Protocol, protocol_suite};
pub use request::RequestBuilder;

#[cfg(feature = "server")]
mod remote;
#[cfg(feature = "server")]
pub use remote::{Bare, RemotePlugin, Transport, connect};
