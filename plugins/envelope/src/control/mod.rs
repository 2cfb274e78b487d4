//! The control calls of `prism.plugin.BackendPlugin`: few, so they travel as the same protobuf messages whatever
//! carries them.

mod encoded;
mod messages;
mod serve;

pub use encoded::{BadDescription, Decoded, Encoded, linked};
pub use messages::{
    read_description, read_health, read_initialize, read_metrics, write_description, write_health,
    write_initialize, write_metrics,
};
pub use serve::{describe, health, initialize, metrics, read_initialized, shutdown};
