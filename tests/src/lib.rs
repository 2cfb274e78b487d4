//! The harness of the tests: real processes, real sockets, and clients that can be told to misbehave.
//!
//! Everything here fails by panicking with what a person needs to know; nothing is skipped. Waits have
//! generous bounds that only keep a broken run from hanging.

pub mod admin;
pub mod backend;
pub mod client;
mod config;
mod digest;
mod examples;
pub mod flaky;
pub mod h2spec;
mod in_process;
pub mod issuer;
pub mod load;
pub mod memory;
mod pages;
pub mod plugin;
mod process;
mod proxy;
mod redis;
mod remote;
mod served;
mod sidecar;
pub mod tools;
mod transport;
pub mod wait;
pub mod wire;

pub use config::{DEMO, example};
pub use digest::sha256;
pub use examples::{Example, python_stubs};
pub use in_process::InProcess;
pub use pages::Pages;
pub use prism_plugin_sdk::testing::free_port;
pub use process::Process;
pub use proxy::{Proxy, Start};
pub use redis::Redis;
pub use remote::{Pki, RemotePlugin};
pub use rustix::process::Signal;
pub use served::{Http, Served, Typed, kv_by_every_way_in};
pub use sidecar::Sidecar;
pub use transport::Transport;
