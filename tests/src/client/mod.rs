//! Clients: one that behaves, and some that can be told not to.

pub mod curl;
pub mod grpc;
pub mod http2;
pub mod raw;
pub mod tls;
pub mod watch;
pub mod web;
