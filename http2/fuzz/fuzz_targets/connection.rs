//! A connection against a client that says anything: what is tried and what holds stands with the tests that run it by chance.
#![no_main]

#[path = "../../tests/anything/judge.rs"]
mod judge;
#[path = "../../tests/anything/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|input: &[u8]| session::run(input));
