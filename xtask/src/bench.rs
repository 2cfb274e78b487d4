//! `cargo xtask bench`: builds what ships, installs the peers, and hands over to the comparison itself, which
//! lives in `bench/` because it needs a gRPC client.

use crate::{
    count, dist,
    step::{self, Failure},
    tools, workspace,
};
use clap::{Args, Subcommand};
use std::process::Command;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// prism-edge beside Envoy, HAProxy, nginx, a byte relay and no proxy at all; writes bench/results/.
    Compare(Compare),
    /// Instructions (by callgrind) and allocations of the hot pieces of work, beside bench/counts.json. Fails
    /// when one grew.
    Count(count::Options),
}

/// How to compare.
#[derive(Args)]
pub(crate) struct Compare {
    /// How often every peer is visited by every workload. Default: 5.
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds that a visit is measured for. Default: 2.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these peers, separated by commas.
    #[arg(long)]
    only: Option<String>,
    /// Only these workloads, separated by commas.
    #[arg(long)]
    shapes: Option<String>,
    /// One round of short visits: to see that it works, not to compare.
    #[arg(long)]
    quick: bool,
    /// Where the results go. Default: bench/results.
    #[arg(long)]
    out: Option<String>,
    /// Build without a profile: faster to build, slower to run.
    #[arg(long)]
    no_pgo: bool,
    /// Take the programs as they were built last, and install nothing.
    #[arg(long)]
    no_build: bool,
}

/// Builds, installs, measures.
pub(crate) fn run(what: &Bench) -> Result<(), Failure> {
    match what {
        Bench::Compare(options) => compare(options),
        Bench::Count(options) => count::run(options),
    }
}

fn compare(options: &Compare) -> Result<(), Failure> {
    if !options.no_build {
        tools::install_peers()?;
        dist::build((!options.no_pgo).then_some(dist::CPU))?;
    }
    let mut command = Command::new(workspace::target().join("dist/compare"));
    command.current_dir(workspace::root()).arg("--tools").arg(workspace::tools());
    let text = |value: &Option<String>| value.clone();
    let values = [
        ("--rounds", options.rounds.map(|rounds| rounds.to_string())),
        ("--seconds", options.seconds.map(|seconds| seconds.to_string())),
        ("--only", text(&options.only)),
        ("--shapes", text(&options.shapes)),
        ("--out", text(&options.out)),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            command.args([name, &value]);
        }
    }
    if !options.no_build {
        command.arg("--built");
    }
    if options.quick {
        command.arg("--quick");
    }
    step::run(&mut command)
}
