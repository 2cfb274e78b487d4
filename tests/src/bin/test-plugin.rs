//! The tests' plugin as a process, for tests that kill or stop it.

use clap::Parser;
use prism_tests::plugin;
use std::path::PathBuf;

#[derive(Parser)]
struct Options {
    /// The unix socket to listen on.
    #[arg(long)]
    socket: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let options = Options::parse();
    // What it records is read by nobody here, and a process that runs for a whole test must not grow.
    plugin::serve(plugin::listen(&options.socket), plugin::Recorder::off(), plugin::Speaks::Both).await;
}
