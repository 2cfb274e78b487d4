//! `cargo xtask bench count`: builds what counts, and hands over to it.

use crate::{
    step::{self, Failure, announce},
    test::cargo,
    tools, workspace,
};
use clap::Args;
use std::process::Command;

/// What to count, and what to do with it.
#[derive(Args)]
pub(crate) struct Options {
    /// Write bench/counts.json instead of comparing with it.
    #[arg(long)]
    bless: bool,
    /// Only what has one of these in its name, separated by commas.
    #[arg(long)]
    only: Option<String>,
}

/// Builds with the profile that ships, and counts.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    tools::install_valgrind()?;
    let build = ["build", "--profile", "dist", "-p", "prism-bench", "--features", "count"];
    let bins = ["--bin", "count", "--bin", "count-allocations"];
    announce("cargo build --profile dist (what is counted)");
    step::run(cargo().args(build).args(bins))?;
    let mut command = Command::new(workspace::target().join("dist/count"));
    command.current_dir(workspace::root());
    if options.bless {
        command.arg("--bless");
    }
    if let Some(only) = &options.only {
        command.args(["--only", only]);
    }
    step::run(&mut command)
}
