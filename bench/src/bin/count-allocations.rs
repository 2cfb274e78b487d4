//! Counts what every piece of work of [`prism_bench::count`] allocates per repetition, and prints that as a JSON
//! object. A program of its own, because the allocator that counts is not the one that ships.
// Its output is its purpose.
#![allow(clippy::print_stdout)]

use prism_bench::count;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, collections::BTreeMap, error::Error};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<(), Box<dyn Error>> {
    let mut counts = BTreeMap::new();
    for scenario in count::all() {
        let mut work = scenario.prepare();
        let region = Region::new(ALLOCATOR);
        count::prism_counted(&mut work, scenario.iterations);
        let done = region.change();
        // A count of a few million at most.
        #[allow(clippy::cast_precision_loss)]
        let total = (done.allocations + done.reallocations) as f64;
        counts.insert(scenario.name, total / f64::from(scenario.iterations));
    }
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}
