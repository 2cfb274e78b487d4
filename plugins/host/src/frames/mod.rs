//! Calls to a plugin over Prism frames (docs/frames.md): small ones are one frame there and one back, and
//! whatever became ready in one turn of the worker leaves in one write.

mod call;
mod connection;
mod liveness;
mod reply;
#[cfg(test)]
mod tests;

pub(crate) use call::Sent;
pub(crate) use connection::Frames;
