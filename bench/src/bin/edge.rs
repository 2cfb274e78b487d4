//! prism-edge with the echo linked in: `edge -c FILE`. Everything else is as in `prism-edge` itself, so that
//! the comparison of a builtin plugin with a sidecar compares just that.
// Why it did not start is said at the terminal.
#![allow(clippy::print_stderr)]

use clap::Parser;
use prism_bench::{echo, told};
use prism_edge::{Builtins, ConfigFile, Options, run_on_threads};
use prism_filters::registry;
use prism_platform::{Platform, avoid_huge_pages, raise_open_files};
use std::{error::Error, path::PathBuf, process::ExitCode};

// As in `prism-edge` itself, which this stands for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// prism-edge with the echo linked in.
#[derive(Parser)]
struct Arguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    raise_open_files()?;
    avoid_huge_pages()?;
    let file = ConfigFile::new(&arguments.config);
    let options = Options {
        platform: Platform::system(),
        filters: registry::builtin(),
        builtins: Builtins::standard().with("echo", echo::plugin()),
        source: file.read()?,
        file: Some(file),
        admin: true,
    };
    Ok(run_on_threads(options, |_| told())?)
}
