//! An audit log that shows when it was changed.
//!
//! A record is a line of JSON that carries its number and the hash of the line before it. Lines stand in segments, one file
//! each, and a segment ends with a line that is signed. The format is docs/audit.md's; this crate writes it ([`Log`]) and
//! checks it ([`verify`]), and knows nothing of the proxy that uses it.

mod chain;
mod folder;
mod key;
mod line;
mod log;
mod segment;
mod settings;
pub mod verify;
mod writer;

pub use chain::OpenError;
pub use key::{KeyError, PublicKey, SigningKey};
pub use line::{Hash, HashError, write as write_line};
pub use log::{Clock, Failing, Log, MOST_RECORD, Slot, Status, Watcher, finish};
pub use settings::{LogSettings, Sync};
