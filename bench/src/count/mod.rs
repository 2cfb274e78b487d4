//! The pieces of work whose instructions and allocations `cargo xtask bench count` counts.
//!
//! Everything in them repeats: one thread, one seed, a clock that stands still, a network in memory.

mod frames;
mod parts;
mod pipes;
mod whole;
mod wire;

use prism_platform::{Net, Platform, SystemNet};
use std::{hint::black_box, sync::Arc};
use tokio::runtime::{Builder, Runtime};

/// Does the work so many times.
pub type Work = Box<dyn FnMut(u32)>;

/// One piece of work.
pub struct Scenario {
    /// Its name in the tables and in bench/counts.json.
    pub name: &'static str,
    /// How often it is repeated to be counted: what a run costs now and then (a buffer that grows) is then less
    /// than a thousandth of it.
    pub iterations: u32,
    prepare: fn() -> Work,
}

impl Scenario {
    /// Everything before the work, its first repetitions included: tables, buffers and caches have found their
    /// size after them.
    #[must_use]
    pub fn prepare(&self) -> Work {
        let mut work = (self.prepare)();
        work(self.iterations / 10);
        work
    }
}

/// All of them, in the order of the tables.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(parts::SCENARIOS);
    all.extend(frames::SCENARIOS);
    all.extend(whole::SCENARIOS);
    all
}

/// What callgrind counts the inside of, by this name (`--toggle-collect`).
#[inline(never)]
pub fn prism_counted(work: &mut Work, iterations: u32) {
    work(black_box(iterations));
    // Else the call above could become a jump, and callgrind would not see this function end.
    black_box(());
}

/// A runtime whose clock stands still.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// A world that is the same every time.
fn platform(net: Arc<dyn Net>) -> Platform {
    Platform::simulated(net, 7)
}

/// The same, where nothing is connected.
fn alone() -> Platform {
    platform(Arc::new(SystemNet))
}
