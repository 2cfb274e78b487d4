//! The state of a connection, without a socket, a clock or a task of its own.

mod client;
mod link;
mod outbox;
mod received;
mod server;
mod slot;
mod table;
#[cfg(test)]
mod tests;
mod window;

pub use client::{ClientEvent, ClientSession};
pub use server::{Accepted, ServerEvent, ServerSession};
pub use slot::CallId;
