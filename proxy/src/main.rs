//! `prism-edge`: the proxy with the filters and plugins that come with it.

use prism_edge::{Builtins, cli};
use prism_filters::registry;
use std::process::ExitCode;

/// A worker frees in one turn what it allocated for dozens of calls in the turn before; glibc's per-thread cache holds
/// seven blocks of a size, and what falls out of it was a seventh of all instructions (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(registry::builtin(), Builtins::standard())
}
