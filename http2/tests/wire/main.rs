//! A connection, told frame by frame what a client may do, and what none may.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod bodies;
#[path = "../chance/mod.rs"]
mod chance;
mod floods;
mod flow;
mod forms;
mod hostile;
mod leaving;
mod memory;
mod model;
mod peer;
mod states;
mod wakes;
