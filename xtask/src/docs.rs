//! `cargo xtask docs`.

use crate::{
    step::{self, Failure, announce},
    test::cargo,
};

/// Writes docs/configuration.md and the C header. The tests that compare them know what belongs into them, so that
/// this program need not be built with the proxy.
pub(crate) fn run() -> Result<(), Failure> {
    let arguments = ["test", "-p", "prism-edge", "--test", "reference"];
    announce(&format!("PRISM_WRITE_DOCS=1 cargo {}", arguments.join(" ")));
    step::run(cargo().args(arguments).env("PRISM_WRITE_DOCS", "1"))?;
    let arguments = ["test", "-p", "prism-plugin-abi", "--test", "header"];
    announce(&format!("PRISM_WRITE_HEADER=1 cargo {}", arguments.join(" ")));
    step::run(cargo().args(arguments).env("PRISM_WRITE_HEADER", "1"))?;
    announce("docs/configuration.md and plugins/abi/include/prism_plugin.h are written");
    Ok(())
}
