//! Prism Edge: an L7 proxy for data access.
//!
//! `prism-edge -c prism.yaml` is a thin shell around [`Proxy`]. A binary of one's own can add filters
//! ([`prism_filters::Registry::with`]) and builtin plugins ([`Builtins::with`]) to the same command line ([`cli::run`]). The path of a request is in
//! `stack.rs`.

mod admin;
mod asked;
mod builtins;
pub mod cli;
mod connection;
mod control;
mod dispatch;
mod edge;
mod head;
mod listener;
mod local;
mod proxy;
mod rights;
mod snapshot;
mod stack;
mod threads;
mod worker;

pub use builtins::Builtins;
pub use control::{
    Accepted, ConfigFile, ControlHandle, LibraryError, Mode, Refusal, Unhealthy, check_files,
    config_registry, log_outcome, watch,
};
pub use listener::ListenerId;
pub use proxy::{Options, Proxy, StartError};
pub use snapshot::{Conditions, ListenerState, Namespace, Route, RouteTable, Snapshot};
pub use threads::run_on_threads;
