//! The gRPC-Web clients of `tests/browser`, from the npm registry, in the versions of its lock file.

use super::{stamp, stamped};
use crate::{
    step::{self, Failure, announce},
    workspace,
};
use std::{fs, process::Command};

/// Installs them to `target/tools/browser`, if they are not there yet.
pub(super) fn clients() -> Result<(), Failure> {
    let (from, to) = (workspace::root().join("tests/browser"), workspace::tools().join("browser"));
    let lock = from.join("package-lock.json");
    let wanted = step::file(format!("cannot read {}", lock.display()), fs::read_to_string(&lock))?;
    if stamped(&to, "lock", &wanted) {
        return Ok(());
    }
    if !step::succeeds(Command::new("npm").arg("--version")) {
        return Err(Failure::Missing(
            "the gRPC-Web clients are Node packages, and `npm` is not on the PATH: install Node.js 20 or later".into(),
        ));
    }
    announce("npm ci of tests/browser into target/tools/browser");
    step::file(format!("cannot make {}", to.display()), fs::create_dir_all(&to))?;
    for file in ["package.json", "package-lock.json"] {
        step::file(format!("cannot copy {file}"), fs::copy(from.join(file), to.join(file)))?;
    }
    // Nothing of a package runs at its installation.
    step::run(
        Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&to),
    )?;
    stamp(&to, "lock", &wanted)
}
