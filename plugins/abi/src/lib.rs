//! What the proxy says to a plugin and back, whatever carries it.
//!
//! The proxy's side (`prism-plugin-host`) calls [`Plugin`]; the plugin's side (`prism-plugin-sdk`)
//! implements it. In memory the two meet directly; over gRPC, frames, the C ABI or WASM a pair of
//! adapters stands between them. Nothing here knows how bytes travel.

mod call;
mod context;
mod custom;
mod describe;
mod error;
pub mod ffi;
mod metrics;
mod payload;
mod plugin;

pub use call::{Call, Data, Opening, Request, RequestStream, ResponseStream};
pub use context::{CallContext, InstanceId};
pub use custom::{CustomMetrics, Figure, MetricKind};
pub use describe::{Description, Kind, OperationInfo};
pub use error::{Code, Error, Scope};
pub use metrics::Metrics;
pub use payload::Payload;
pub use plugin::{
    Credentials, Health, HealthStatus, Initialize, Initialized, Plugin, Task, unknown_instance,
};

pub use bytestring::ByteString;
