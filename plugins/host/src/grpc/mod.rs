//! Plugins in processes of their own: plain gRPC on the `h2` crate's client, over any stream socket.

mod connection;
mod control;
mod dial;
mod forward;
mod head;
mod peer;
mod reply;
#[cfg(test)]
mod tests;
mod upload;

pub(crate) use connection::Endpoint;
pub(crate) use control::{Control, Lost};
pub(crate) use forward::{GrpcChannel, Link};
pub(crate) use peer::PeerIdentity;
