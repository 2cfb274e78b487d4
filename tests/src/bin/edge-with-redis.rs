//! `prism-edge` with one more plugin linked in.

use prism_edge::{Builtins, cli};
use prism_filters::registry;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(registry::builtin(), Builtins::standard().with("redis", prism_plugin_redis::redis()))
}
