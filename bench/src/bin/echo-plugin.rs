//! The echo as a sidecar: `echo-plugin SOCKET`. One thread, as `cargo xtask bench compare` gives it one core.
// Why it did not start is said at the terminal.
#![allow(clippy::print_stderr)]

use prism_bench::{echo, told};
use std::{env, error::Error, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let Some(socket) = env::args_os().nth(1) else {
        eprintln!("usage: echo-plugin SOCKET");
        return ExitCode::from(2);
    };
    match run(PathBuf::from(socket)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo-plugin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(socket: PathBuf) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { echo::serve_at(socket, told()).await })?)
}
