//! Write a backend once: the [`BackendPlugin`] trait and the adapters that host it.
//!
//! One value of a type that implements [`BackendPlugin`] is one initialized instance, serving one
//! namespace. [`Hosted`] keeps the instances and turns the type into a
//! [`Plugin`](prism_plugin_abi::Plugin): that is all a builtin needs. With feature `server`, [`server`]
//! puts a gRPC server around any such plugin: a sidecar or remote plugin. Feature `testing` has the suites
//! that every plugin of an interface must pass.
//!
//! With feature `library`, [`plugin`] makes the crate, built as a `cdylib`, a library that the proxy loads.
//!
//! The attributes [`plugin`] and [`macro@operations`] write the implementation of the trait from an ordinary
//! `impl` with one method for each operation.

mod backend;
mod config;
mod counters;
mod hosted;
mod instances;
mod interface;
pub mod kv;
#[doc(hidden)]
#[cfg(feature = "library")]
pub mod library;
#[doc(hidden)]
pub mod macros;
mod params;
#[cfg(feature = "pool")]
pub mod pool;
mod requests;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "testing")]
pub mod testing;

/// Nothing: feature `library` is off. Written by [`plugin`].
#[cfg(not(feature = "library"))]
#[doc(hidden)]
#[macro_export]
macro_rules! library {
    ($($any:tt)*) => {};
}

pub use backend::{BackendPlugin, InitContext, PluginResult};
pub use config::{PluginConfig, Proto};
pub use hosted::{Hosted, MAX_INSTANCES};
pub use interface::{implements, operations};
pub use params::{Params, typed_reply, typed_reply_ending_in};
pub use prism_plugin_abi as abi;
pub use prism_plugin_sdk_macros::{operations, plugin};
pub use requests::Requests;
