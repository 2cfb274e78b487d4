//! Installs what the tests run beside the project's own programs, once.
//!
//! System packages for what Debian ships as a package of its own; everything else goes to
//! `target/tools`, so that a second checkout, or another version, disturbs nobody.

use crate::{
    step::{self, Failure, announce},
    workspace,
};
use std::{fs, path::Path, process::Command};

/// A program, and the Debian package that brings it.
const SYSTEM: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("curl", "curl"),
    ("python3", "python3"),
];

/// A program, and the Go module that it is built from. Pinned, so that a run of today is a run of tomorrow.
/// (h2spec 2 has no go.mod: `+incompatible` is how its version is written.)
const GO: &[(&str, &str)] = &[
    ("h2spec", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"),
    ("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4"),
];

/// Installs whatever is not there yet.
pub(crate) fn install() -> Result<(), Failure> {
    let bin = workspace::tools().join("bin");
    step::file(format!("cannot make {}", bin.display()), fs::create_dir_all(&bin))?;
    let mut apt = Apt::default();
    system(&mut apt)?;
    for (program, module) in GO {
        go(&bin, program, module)?;
    }
    promtool(&bin, &mut apt)?;
    python(&mut apt)
}

/// Debian's package tool; its lists are fetched at most once, and only when something is missing.
#[derive(Default)]
struct Apt {
    updated: bool,
}

impl Apt {
    fn update(&mut self) -> Result<(), Failure> {
        if self.updated {
            return Ok(());
        }
        announce("apt-get update");
        step::run(Command::new("apt-get").args(["update", "-qq"]))?;
        self.updated = true;
        Ok(())
    }

    fn install(&mut self, packages: &[&str]) -> Result<(), Failure> {
        self.update()?;
        announce(&format!("apt-get install {}", packages.join(" ")));
        step::run(
            Command::new("apt-get")
                .args(["install", "-y", "-qq", "--no-install-recommends"])
                .args(packages)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    }
}

fn system(apt: &mut Apt) -> Result<(), Failure> {
    let missing: Vec<&str> =
        SYSTEM.iter().filter(|(program, _)| !runs(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { apt.install(&missing) }
}

fn go(bin: &Path, program: &str, module: &str) -> Result<(), Failure> {
    if stamped(bin, program, module) {
        return Ok(());
    }
    if !step::succeeds(Command::new("go").arg("version")) {
        return Err(Failure::Missing(format!(
            "`{program}` is built with Go, and `go` is not on the PATH: install Go 1.24 or later"
        )));
    }
    announce(&format!("go install {module}"));
    step::run(Command::new("go").args(["install", module]).env("GOBIN", bin).env("GOFLAGS", ""))?;
    stamp(bin, program, module)
}

/// Takes promtool out of Debian's `prometheus` package without installing the server that comes with it.
fn promtool(bin: &Path, apt: &mut Apt) -> Result<(), Failure> {
    const SOURCE: &str = "debian prometheus";
    if stamped(bin, "promtool", SOURCE) {
        return Ok(());
    }
    apt.update()?;
    announce("promtool from Debian's prometheus package");
    let folder = workspace::tools().join("prometheus");
    let _ = fs::remove_dir_all(&folder);
    step::file(format!("cannot make {}", folder.display()), fs::create_dir_all(&folder))?;
    step::run(Command::new("apt-get").args(["download", "-qq", "prometheus"]).current_dir(&folder))?;
    let package = step::file(format!("cannot read {}", folder.display()), fs::read_dir(&folder))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Failure::Missing("apt-get download brought no prometheus package".into()))?;
    step::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&folder))?;
    let to = bin.join("promtool");
    step::file("cannot take promtool out of its package", fs::copy(folder.join("usr/bin/promtool"), to))?;
    let _ = fs::remove_dir_all(&folder);
    stamp(bin, "promtool", SOURCE)
}

/// A Python of the tests' own with a stock gRPC client.
fn python(apt: &mut Apt) -> Result<(), Failure> {
    let requirements = workspace::root().join("tests/python/requirements.txt");
    let wanted =
        step::file(format!("cannot read {}", requirements.display()), fs::read_to_string(&requirements))?;
    let venv = workspace::target().join("venv");
    if stamped(&venv, "requirements", &wanted) {
        return Ok(());
    }
    if !step::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        apt.install(&["python3-venv"])?;
    }
    announce("Python packages of tests/python/requirements.txt into target/venv");
    let _ = fs::remove_dir_all(&venv);
    step::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    step::run(
        Command::new(venv.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary=:all:",
                "-r",
            ])
            .arg(&requirements),
    )?;
    stamp(&venv, "requirements", &wanted)
}

fn runs(program: &str) -> bool {
    step::succeeds(Command::new(program).arg("--version"))
}

/// Whether `program` was put into `folder` from this very source before.
fn stamped(folder: &Path, program: &str, source: &str) -> bool {
    fs::read_to_string(folder.join(format!(".{program}"))).is_ok_and(|text| text == source)
}

fn stamp(folder: &Path, program: &str, source: &str) -> Result<(), Failure> {
    step::file(
        format!("cannot note that {program} is installed"),
        fs::write(folder.join(format!(".{program}")), source),
    )
}
