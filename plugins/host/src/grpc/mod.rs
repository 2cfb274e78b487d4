//! Plugins in processes of their own: plain gRPC on the `h2` crate's client, over any stream socket.

mod connection;
mod control;
mod dial;
mod forward;
mod head;
mod peer;
mod reply;
mod upload;
#[cfg(test)]
mod tests;

pub(crate) use connection::Endpoint;
pub(crate) use control::Control;
pub(crate) use forward::{GrpcChannel, Link};
