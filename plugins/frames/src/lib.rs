//! Prism frames, version 1: the lean transport between the proxy and a plugin on the same host.
//!
//! `docs/frames.md` is the specification. Here are the codec ([`Frame`], [`Decoder`]: pure functions over bytes)
//! and the state of a connection ([`ClientSession`], [`ServerSession`]), which reads and writes whatever
//! implements tokio's I/O traits. No task, no timer, no lock: who owns a session drives it.

mod control;
mod decoder;
mod end;
mod error;
mod frame;
mod head;
mod session;
#[cfg(test)]
mod testing;
mod wire;

pub use control::{CancelReason, Config, GoAway, Reason, Settings};
pub use decoder::{COPY, Decoder};
pub use end::End;
pub use error::{Broken, ConnectionError, OpenError, ProtocolError, Stopped};
pub use frame::Frame;
pub use head::{CallHead, Method, OpenHead};
pub use session::{Accepted, CallId, ClientEvent, ClientSession, ServerEvent, ServerSession};
pub use wire::{
    CHUNK, Detection, HEADER, MAX_CONTROL, MAX_CREDIT, MAX_FRAME, MAX_HEAD, MIN_FRAME, MINOR, PREFACE, detect,
};
