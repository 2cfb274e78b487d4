//! What a call over the C ABI allocates beside the same call of a trait in Rust. A program of its own, because counting
//! takes longer than much of what `boundary` measures.
// A table is the purpose of this program.
#![allow(clippy::print_stdout)]

use prism_bench::boundary::{OPERATIONS, SMALL, WAYS, Ways};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Calls that are counted.
const CALLS: u32 = 10_000;

fn main() {
    let ways = Ways::counting();
    println!(
        "allocations and reallocations of a call of {SMALL} B, mean of {CALLS}: by the program + by the library\n"
    );
    println!("| call | {} |", WAYS.join(" | "));
    println!("| --- | --- | --- | --- |");
    for (operation, what) in OPERATIONS {
        let counts = [0, 1, 2].map(|way| {
            ways.call(way, operation, CALLS);
            let theirs = ways.library_allocations();
            let region = Region::new(ALLOCATOR);
            ways.call(way, operation, CALLS);
            let done = region.change();
            let ours = done.allocations + done.reallocations;
            let theirs = ways.library_allocations() - theirs;
            format!("{:.2} + {:.2}", per_call(ours), per_call(theirs))
        });
        println!("| {what} | {} |", counts.join(" | "));
    }
}

// A count of a few hundred thousand at most.
#[allow(clippy::cast_precision_loss)]
fn per_call(count: usize) -> f64 {
    count as f64 / f64::from(CALLS)
}
