//! What the benchmarks share: an echo plugin, a proxy on real threads, and a client that measures nothing
//! but the call.

pub mod client;
pub mod echo;
pub mod proxy;
