//! What the benchmarks share: an echo plugin, a proxy on real threads, a client that measures nothing but the
//! call, filters without a proxy around them, and the pieces of work whose instructions are counted.

pub mod boundary;
pub mod client;
#[cfg(feature = "count")]
pub mod count;
pub mod dispatch;
pub mod echo;
pub mod filters;
pub mod proxy;
mod told;

pub use told::told;
