//! The admin interface: what the proxy says of itself over TCP, and, over a unix socket that only its user
//! may open, also what changes it.

mod audit;
mod endpoints;
mod plugins;
mod server;
mod socket;

pub(crate) use endpoints::AdminState;
pub(crate) use server::{AdminError, AdminServer};
