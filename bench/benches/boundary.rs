//! What a call over the C ABI costs above the same call of a trait in Rust: medians of rounds in turn, in one process.
// A table is the purpose of this program.
#![allow(clippy::print_stdout)]

use prism_bench::boundary::{OPERATIONS, SMALL, WAYS, Ways};
use prism_platform::time::Instant;

// As in `prism-edge` itself. The library has its own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds, each through every way.
const ROUNDS: usize = 1_001;
/// Calls of a round.
const CALLS: u32 = 1_000;
/// The most that the boundary may add to a call, in nanoseconds.
const GOAL: f64 = 500.0;

fn main() {
    let ways = Ways::new();
    println!("a call of {SMALL} B, medians of {ROUNDS} rounds of {CALLS} calls in turn, in nanoseconds\n");
    println!("| call | {} | linked in adds | a library adds | allowed |", WAYS.join(" | "));
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut met = true;
    for (operation, what) in OPERATIONS {
        WAYS.iter().enumerate().for_each(|(way, _)| ways.call(way, operation, CALLS));
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            // In turn, so that whatever disturbs the machine disturbs all of them.
            rounds.push([0, 1, 2].map(|way| {
                let began = Instant::now();
                ways.call(way, operation, CALLS);
                began.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
            }));
        }
        let [direct, linked, library] = [0, 1, 2].map(|way| median(rounds.iter().map(|round| round[way])));
        // Of the differences within a round, which a slow minute leaves alone.
        let [added_linked, added_library] =
            [1, 2].map(|way| median(rounds.iter().map(|round| round[way] - round[0])));
        met &= added_linked <= GOAL && added_library <= GOAL;
        println!(
            "| {what} | {direct:.0} | {linked:.0} | {library:.0} | {added_linked:+.0} | {added_library:+.0} | {GOAL:.0} |"
        );
    }
    println!("\nat most {GOAL:.0} ns above a trait in Rust: {}", if met { "met" } else { "MISSED" });
    println!("allocations of the same calls: cargo bench -p prism-bench --bench boundary_allocations");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
