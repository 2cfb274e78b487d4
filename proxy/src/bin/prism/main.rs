//! `prism`: what operators and auditors do beside the proxy. It needs no running proxy and no configuration.

mod audit;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tools around Prism Edge.
#[derive(Parser)]
#[command(name = "prism", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Audit logs (docs/audit.md).
    #[command(subcommand)]
    Audit(audit::Command),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Audit(command) => audit::run(&command),
    }
}
