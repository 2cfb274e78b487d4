//! `cargo xtask docs`.

use crate::{
    step::{self, Failure, announce},
    test::cargo,
};

/// Writes docs/configuration.md. The proxy's own test knows what belongs into it, so that this program
/// need not be built with the proxy.
pub(crate) fn run() -> Result<(), Failure> {
    let arguments = ["test", "-p", "prism-edge", "--test", "reference"];
    announce(&format!("PRISM_WRITE_DOCS=1 cargo {}", arguments.join(" ")));
    step::run(cargo().args(arguments).env("PRISM_WRITE_DOCS", "1"))?;
    announce("docs/configuration.md is written");
    Ok(())
}
