//! The proxy's side of a plugin: channels, transports, instances and their supervision.

mod channel;
mod worker;

pub use channel::{
    BoxError, ForwardError, Forwarding, PluginChannel, ReplyBody, ReplySource, Rpc, WireBody, WireReply,
    WireSource,
};
pub use worker::WorkerLocal;
