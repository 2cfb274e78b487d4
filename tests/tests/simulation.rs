//! The whole proxy in a deterministic simulation: 50 seeds, each in a process of its own, each twice.

use prism_tests::tools;
use std::{process::Command, thread};

const SEEDS: u64 = 50;

fn run(seed: u64) -> String {
    let output = Command::new(tools::own("simulate")).arg(seed.to_string()).output().expect("simulate runs");
    assert!(
        output.status.success(),
        "seed {seed} failed; run it alone with `simulate {seed}`:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_seed_keeps_its_promises_and_happens_the_same_way_twice() {
    let half = |first: bool| -> Vec<(u64, String)> {
        (0..SEEDS)
            .filter(|seed| (seed % 2 == 0) == first)
            .map(|seed| {
                let (once, again) = (run(seed), run(seed));
                assert_eq!(once, again, "seed {seed} went differently the second time");
                (seed, once)
            })
            .collect()
    };
    let (even, odd) = thread::scope(|scope| {
        let even = scope.spawn(|| half(true));
        (half(false), even.join().expect("the other half"))
    });
    let mut outcomes: Vec<_> = even.into_iter().chain(odd).map(|(_, outcome)| outcome).collect();
    outcomes.sort_unstable();
    outcomes.dedup();
    assert_eq!(outcomes.len() as u64, SEEDS, "two seeds went the same way: the seed is not what decides");
}
