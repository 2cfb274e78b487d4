//! The server's side of HTTP/2 (RFC 9113), for a proxy that answers many small calls.
//!
//! A [`Connection`] belongs to one task, which has it read ([`Connection::poll_accept`]), does what there is to do for every request,
//! and has it write ([`Connection::poll_flush`]): once a turn, however many requests were answered in it. There is no task, no
//! channel and no timer in here, and nothing that grows without a bound:
//!
//! * what is received and not read is bounded by the windows, and small pieces of it are put together;
//! * what waits to be written is bounded by [`Settings::most_output`]; beyond it bodies wait, and beyond what replies may take nothing is read;
//! * a header block is bounded while it arrives, and fields are counted while they are decoded;
//! * streams that are over are bounded, too, until whoever serves them has let them go (rapid reset and its kin, CVE-2023-44487 and
//!   CVE-2025-8671);
//! * frames that move nothing on are counted, and end the connection when they are too many (PING, SETTINGS and empty DATA floods,
//!   CVE-2019-9512, -9515, -9518).
//!
//! Not here: server push, priorities (RFC 9218), extended CONNECT (RFC 8441), the client's side.

mod error;
mod flow;
mod frame;
mod handles;
mod hpack;
mod output;
mod request;
mod server;
mod session;
mod settings;
mod state;
mod stream;

pub use error::{Error, Reason};
pub use handles::{Pinger, RecvStream, Respond};
pub use server::{Accepted, Connection};
pub use settings::Settings;
