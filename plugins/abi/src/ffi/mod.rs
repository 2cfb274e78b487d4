//! The same calls over a C boundary: a shared library is a plugin, whatever compiler it is from.
//!
//! [`export`] is the plugin's side and [`import`] the proxy's; both read and write what [`layout`] defines, and a
//! plugin that is linked in goes through the same two. The traits of this crate are what both ends see.
//!
//! What is contained: panics that unwind, on both sides and in drops as well; null pointers; lengths and counts
//! above their bounds; unknown codes; wakes at any time from any thread. What is not, because nothing in one
//! address space can be: blocking in a poll, `abort`, an overflown stack, a panic while panicking, a pointer that
//! is neither null nor valid.

mod buffer;
mod data;
pub mod export;
mod handle;
pub mod import;
#[allow(missing_debug_implementations)] // what they hold is pointers
pub mod layout;
mod message;
mod text;
mod waker;

#[cfg(test)]
mod tests;

use crate::{Call, CallContext, Code, Error, Opening, Request, RequestStream, Task};
use bytes::Bytes;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// The longest message, in bytes: what gRPC's length prefix can say.
pub const MAX_MESSAGE_BYTES: usize = u32::MAX as usize;

/// The most pieces of one message. 16 MiB in HTTP/2's smallest full frames are 1,024 pieces.
pub const MAX_PIECES: usize = 65_536;

/// The longest text that a plugin may answer with: a type URL, an error's message. HTTP/2 carries such texts in
/// headers elsewhere.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// Tells the time; the proxy's may be a simulated one.
pub type Clock = fn() -> Instant;

/// Whoever watches over a plugin in this process.
pub trait Observer: Send + Sync + 'static {
    /// What deadlines are counted from.
    fn now(&self) -> Instant;

    /// A clock that is read around each entry into the plugin: cheap, and exact to a few milliseconds.
    fn tick(&self) -> Duration;

    /// The plugin kept a thread for longer than [`LONG_POLL`].
    fn long_poll(&self, took: Duration);
}

/// What an entry into a plugin may take: beyond that, every other call on the thread is late because of it.
pub const LONG_POLL: Duration = Duration::from_millis(10);

/// The calls that carry an encoded message of `prism.plugin.BackendPlugin` each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `DescribeRequest`, `DescribeResponse`
    Describe,
    /// `InitializeRequest`, `InitializeResponse`
    Initialize,
    /// `HealthCheckRequest`, `HealthCheckResponse`
    Health,
    /// `GetMetricsRequest`, `PluginMetrics`
    Metrics,
    /// `ShutdownRequest`, `ShutdownResponse`
    Shutdown,
}

/// A plugin as it stands at the boundary: [`crate::Plugin`] with its rare calls encoded.
pub trait EncodedPlugin: Send + Sync + 'static {
    /// One of the rare calls.
    fn control(&self, method: Method, message: Bytes) -> Task<Result<Bytes, Error>>;

    /// See [`crate::Plugin::execute`].
    fn execute(&self, context: CallContext, request: Request) -> Call;

    /// See [`crate::Plugin::execute_stream`].
    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening;
}

/// Runs what may panic. `None`: it has.
fn contain<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // What a panic carries is anything, with a `drop` that may panic in its turn. Then it is left alone.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            None
        }
    }
}

/// The error of a call in which the plugin panicked.
#[must_use]
pub fn panicked() -> Error {
    Error::channel(Code::Internal, "the plugin panicked; its message is in the proxy's log or standard error")
}

fn broken(what: &'static str) -> Error {
    Error::channel(Code::Internal, what)
}
