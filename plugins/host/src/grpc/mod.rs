//! Plugins in processes of their own: plain gRPC on the `h2` crate's client, over any stream socket.

mod control;
mod forward;
mod head;
mod reply;
#[cfg(test)]
mod tests;
mod unary;

pub(crate) use control::{Control, Lost};
pub(crate) use forward::Grpc;
pub use head::timeout;
pub use unary::UnaryCall;
