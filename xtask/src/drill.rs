//! `cargo xtask drill`: builds what ships and hands over to the drill itself, which lives beside the tests
//! because it needs their harness.

use crate::{
    step::{self, Failure, announce},
    test::cargo,
    workspace,
};
use clap::Args;
use std::process::Command;

/// How to drill.
#[derive(Args)]
pub(crate) struct Options {
    /// How often each drill is repeated.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Builds in the release profile and runs the drill.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    announce("cargo build --release (prism-edge, the plugin servers, the drill)");
    step::run(cargo().args(["build", "--release", "-p", "prism-edge", "-p", "prism-tests", "--bins"]))?;
    let drill = workspace::target().join("release/drill");
    step::run(Command::new(drill).args(["--rounds", &options.rounds.to_string()]))
}
