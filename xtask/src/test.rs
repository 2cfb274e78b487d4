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
    // The same plugins as libraries, and those of the tests. One by one, because only so `--crate-type` can be said.
    for plugin in ["prism-plugin-memory", "prism-plugin-redis", "prism-plugin-probe", "prism-panics"] {
        let arguments = ["rustc", "-p", plugin, "--lib", "--crate-type", "cdylib", "--features", "library"];
        announce(&format!("cargo {}", arguments.join(" ")));
        step::run(cargo().args(arguments))?;
    }
    foreign_libraries()?;
    let chosen: Vec<&str> = if options.cargo.is_empty() {
        vec!["--workspace", "--no-fail-fast"]
    } else {
        options.cargo.iter().map(String::as_str).collect()
    };
    announce(&format!("cargo test {}", chosen.join(" ")));
    step::run(cargo().arg("test").args(chosen))
}

/// Libraries that others might build: with another compiler, and with one setting that a plugin must not have.
fn foreign_libraries() -> Result<(), Failure> {
    let rustc = tools::other_rustc()?;
    let library = |plugin, feature, more: &[&str]| {
        let mut arguments =
            vec!["rustc", "-p", plugin, "--lib", "--crate-type", "cdylib", "--features", feature];
        arguments.extend_from_slice(more);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let target = workspace::target().join("other-rustc").display().to_string();
    let arguments = library("prism-plugin-memory", "library", &["--target-dir", &target]);
    announce(&format!("RUSTC={} cargo {}", rustc.display(), arguments.join(" ")));
    // A wrapper, or flags that are for our own compiler, would not be the other one's.
    step::run(
        cargo()
            .args(arguments)
            .env("RUSTC", &rustc)
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTUP_TOOLCHAIN"),
    )?;
    let arguments = library("numbers", "prism-plugin-sdk/library", &["--", "-C", "panic=abort"]);
    announce(&format!("cargo {}", arguments.join(" ")));
    step::run(cargo().args(arguments))
}

/// The cargo that runs this program, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace::root());
    command
}
