//! The proxy's own calls on libraries that are really loaded: one in Rust (`plugins/probe`) that does whatever a plugin
//! may, and the one in C. From many threads at once, because that is what sanitizers are for: `cargo xtask sanitize`
//! runs this with both sides instrumented, and expects [`planted`] to be found.

mod common;

use common::{Caller, Loaded, cc, probe};
use std::{path::Path, thread};

/// Callers at the same time.
const CALLERS: usize = 4;
/// Rounds of each.
const ROUNDS: usize = 25;

#[test]
fn a_rust_library_is_called_in_every_way() {
    everything(&Loaded::new(&probe(), false));
}

#[test]
fn a_rust_library_on_threads_of_its_own() {
    everything(&Loaded::new(&probe(), true));
}

fn everything(loaded: &Loaded) {
    every_caller(loaded, |caller, round| {
        caller.echoes("echo", vec![7; 1 << (round % 20)]);
        for operation in ["woken", "later", "sleep", "block", "keep"] {
            caller.echoes(operation, vec![round as u8; 3000]);
        }
        caller.pieces("echo", round);
        caller.cancelled(["later", "never", "sleep"][round % 3], round % 4);
        caller.panics("panic");
        caller.stream("echo_stream", round % 4);
        caller.stream_dropped("echo_stream", round % 3);
        caller.received("ticks", 3);
        caller.stream_dropped("ticks", 1);
    });
    loaded.until_idle();
    loaded.retire();
}

#[test]
fn the_c_library_is_called_in_every_way() {
    for offload in [false, true] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/examples/echo.c");
        let loaded = Loaded::new(&cc(folder.path(), &source), offload);
        every_caller(&loaded, |caller, round| {
            caller.echoes("echo", vec![7; 1 << (round % 20)]);
            caller.pieces("echo", round);
            caller.cancelled("echo", 0);
            caller.stream("echo_stream", round % 4);
            caller.stream_dropped("echo_stream", round % 3);
        });
        loaded.retire();
    }
}

fn every_caller(loaded: &Loaded, round: impl Fn(&Caller, usize) + Sync) {
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let caller = loaded.caller();
                (0..ROUNDS).for_each(|number| round(&caller, number));
            });
        }
    });
}

/// A plugin that is wrong. Whether anybody notices is for `cargo xtask sanitize` to see.
#[test]
#[ignore = "wrong on purpose: `cargo xtask sanitize` runs it"]
fn planted() {
    let operation = std::env::var("PRISM_PLANTED").expect("`use_after_release` or `race`");
    let loaded = Loaded::new(&probe(), false);
    loaded.caller().wrong(&operation);
}
