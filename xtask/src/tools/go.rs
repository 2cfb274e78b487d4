//! Programs built from Go modules, and what the Go example is built from.

use super::{stamp, stamped};
use crate::{
    step::{self, Failure, announce},
    workspace,
};
use std::{fs, path::Path, process::Command};

/// A folder of `target/tools`, a program, and the Go package that it is built from. Pinned, so that a run of today is a
/// run of tomorrow. (h2spec 2 has no go.mod: `+incompatible` is how its version is written.)
///
/// gRPC's interop programs have folders of their own, as their names are `client` and `server`. Their version is that
/// of the Go example: it brings most of what they are built from.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("bin", "h2spec", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"),
    ("bin", "grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"),
    ("interop-client", "client", "google.golang.org/grpc/interop/client@v1.80.0"),
    ("interop-server", "server", "google.golang.org/grpc/interop/server@v1.80.0"),
];

/// Builds the programs that are not there yet.
pub(super) fn programs() -> Result<(), Failure> {
    PROGRAMS
        .iter()
        .try_for_each(|(folder, name, package)| program(&workspace::tools().join(folder), name, package))
}

fn program(folder: &Path, name: &str, package: &str) -> Result<(), Failure> {
    if stamped(folder, name, package) {
        return Ok(());
    }
    if !step::succeeds(Command::new("go").arg("version")) {
        return Err(Failure::Missing(format!(
            "`{name}` is built with Go, and `go` is not on the PATH: install Go 1.24 or later"
        )));
    }
    step::file(format!("cannot make {}", folder.display()), fs::create_dir_all(folder))?;
    announce(&format!("go install {package}"));
    step::run(Command::new("go").args(["install", package]).env("GOBIN", folder).env("GOFLAGS", ""))?;
    stamp(folder, name, package)
}

/// Fetches and compiles what the example in Go is built from, so that its test compiles a page and not a library.
pub(super) fn modules(bin: &Path) -> Result<(), Failure> {
    let module = workspace::root().join("examples/go");
    let sums = module.join("go.sum");
    let wanted = step::file(format!("cannot read {}", sums.display()), fs::read_to_string(&sums))?;
    if stamped(bin, "examples-go", &wanted) {
        return Ok(());
    }
    let go = |arguments: &[&str]| {
        announce(&format!("go {} in examples/go", arguments.join(" ")));
        step::run(Command::new("go").args(arguments).current_dir(&module).env("GOFLAGS", ""))
    };
    go(&["mod", "download"])?;
    go(&["build", "tool", "google.golang.org/grpc", "google.golang.org/genproto/googleapis/rpc/errdetails"])?;
    stamp(bin, "examples-go", &wanted)
}
