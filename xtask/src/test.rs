//! `cargo xtask test`.

use crate::{
    step::{self, Failure, announce},
    tools, workspace,
};
use clap::Args;
use std::{env, process::Command};

/// What to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Handed to `cargo test` in place of `--workspace`, for example `-p prism-tests --test reload`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo: Vec<String>,
}

/// Installs, builds, tests.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    tools::install()?;
    // Tests run the programs as processes. Built together with the tests, because the features of shared
    // dependencies are then settled once and nothing is compiled twice.
    announce("cargo build --workspace --bins --tests");
    step::run(cargo().args(["build", "--workspace", "--bins", "--tests"]))?;
    // The same plugins as libraries. One by one, because only so `--crate-type` can be said.
    for plugin in ["prism-plugin-memory", "prism-plugin-redis", "prism-plugin-probe"] {
        let arguments = ["rustc", "-p", plugin, "--lib", "--crate-type", "cdylib", "--features", "library"];
        announce(&format!("cargo {}", arguments.join(" ")));
        step::run(cargo().args(arguments))?;
    }
    let chosen: Vec<&str> = if options.cargo.is_empty() {
        vec!["--workspace", "--no-fail-fast"]
    } else {
        options.cargo.iter().map(String::as_str).collect()
    };
    announce(&format!("cargo test {}", chosen.join(" ")));
    step::run(cargo().arg("test").args(chosen))
}

/// The cargo that runs this program, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    command
}
