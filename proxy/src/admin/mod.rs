//! The admin interface: what the proxy says of itself, and what changes it. By a unix socket that only its user may open
//! everything may be done; over TCP, what the guard lets through.

mod audit;
mod endpoints;
mod guard;
mod places;
mod plugins;
mod server;
mod socket;
mod tls;

pub(crate) use endpoints::AdminState;
pub(crate) use guard::Seldom;
pub(crate) use server::{AdminError, AdminServer};
pub(crate) use tls::check as check_tls;
