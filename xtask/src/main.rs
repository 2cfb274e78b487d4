//! `cargo xtask`: everything a person types that is more than one command.
// Talking to the person at the terminal is what this program is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod count;
mod dist;
mod docs;
mod drill;
mod sanitize;
mod step;
mod test;
mod tools;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Prism Edge's chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what the tests need, build, and run every test.
    Test(test::Options),
    /// Build what ships, with profile-guided optimization, into target/dist.
    Dist(dist::Options),
    /// Write docs/configuration.md from the configuration's schema, and the C header from the ABI.
    Docs,
    /// Install what the tests need, and stop there.
    Tools,
    /// Kill, restart and drain under load, and print how long each took. Asserts nothing.
    Drill(drill::Options),
    /// Look at the boundary to plugin libraries with AddressSanitizer and ThreadSanitizer.
    Sanitize(sanitize::Options),
    /// Measure.
    #[command(subcommand)]
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Dist(options) => dist::run(&options),
        Chore::Docs => docs::run(),
        Chore::Tools => tools::install(),
        Chore::Drill(options) => drill::run(&options),
        Chore::Sanitize(options) => sanitize::run(&options),
        Chore::Bench(what) => bench::run(&what),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
