//! Configurations as people write them: right, wrong, and hostile.

mod access;
mod admin;
mod common;
mod examples;
mod forward;
mod mistakes;
mod robustness;
mod secrets;
mod semantics;
mod views;
