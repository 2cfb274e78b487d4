//! `cargo xtask dist`: what ships, built with the profile of what it does (profile-guided optimization, as rustc's book
//! has it): an instrumented build, a bounded training run over loopback, and the build that knows its outcome.
//!
//! Both builds have target directories of their own, because other flags would rebuild everything in the usual one.

mod train;

use crate::{
    step::{self, Failure, announce},
    test::cargo,
    tools, workspace,
};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// How to build.
#[derive(Args)]
pub(crate) struct Options {
    /// One build with cargo's usual flags: no profile, no training, any processor.
    #[arg(long)]
    no_pgo: bool,
    /// The oldest processor that it is to run on, as rustc names it.
    #[arg(long, default_value = CPU, conflicts_with = "no_pgo")]
    cpu: String,
}

/// What servers have had since 2013 (Intel's Haswell, AMD's Excavator). Wider registers copy a request's parts with
/// half the instructions (docs/performance.md).
pub(crate) const CPU: &str = if cfg!(target_arch = "x86_64") { "x86-64-v3" } else { "generic" };

/// What is built and put into `target/dist`: what ships, and what the comparison runs.
const PACKAGES: &[&str] = &["-p", "prism-edge", "-p", "prism-bench", "--bins"];
const PROGRAMS: [&str; 6] = ["prism-edge", "prism", "edge", "echo-plugin", "relay", "compare"];

/// What is trained. `edge` is `prism-edge` with one more plugin in it.
const TRAINED: &[&str] = &["-p", "prism-bench", "--bin", "edge", "--bin", "echo-plugin"];

/// Names the profile that the programs in `target/dist` were built with.
const STAMP: &str = "PGO";

/// Builds into `target/dist`.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    build((!options.no_pgo).then_some(&options.cpu))
}

/// Builds everything in [`PROGRAMS`]: with a profile for a processor, or plainly.
pub(crate) fn build(cpu: Option<&str>) -> Result<(), Failure> {
    let dist = workspace::target().join("dist");
    let Some(cpu) = cpu else {
        announce("cargo build --profile dist");
        step::run(cargo().args(["build", "--profile", "dist"]).args(PACKAGES))?;
        return match fs::remove_file(dist.join(STAMP)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                step::file("cannot remove target/dist/PGO", Err(error))
            }
            _ => Ok(()),
        };
    };
    let rust = Toolchain::find()?;
    let profdata = rust.profdata()?;
    tools::install_h2load()?;
    let folder = workspace::target().join("pgo");
    let raw = folder.join("raw");
    let _ = fs::remove_dir_all(&raw);
    step::file(format!("cannot make {}", raw.display()), fs::create_dir_all(&raw))?;

    announce("instrumented build");
    let generate = format!("-Cprofile-generate={}", raw.display());
    let instrumented = compile(&rust, TRAINED, &folder.join("instrumented"), &[flags(cpu), generate])?;
    announce("training");
    train::run(&instrumented, &folder.join("scene"))?;
    let merged = folder.join("merged.profdata");
    step::run(Command::new(profdata).arg("merge").arg("-o").arg(&merged).arg(&raw))?;

    announce("build with the profile");
    // Anew: cargo goes by the profile's name and would keep what was built with the one before.
    let optimized = folder.join("optimized");
    let _ = fs::remove_dir_all(&optimized);
    let with = format!("-Cprofile-use={}", merged.display());
    let built = compile(&rust, PACKAGES, &optimized, &[flags(cpu), with])?;
    step::file(format!("cannot make {}", dist.display()), fs::create_dir_all(&dist))?;
    for program in PROGRAMS {
        // By renaming: a program that runs cannot be written over.
        let (fresh, place) = (dist.join(format!("{program}.new")), dist.join(program));
        step::file(format!("cannot copy {program}"), fs::copy(built.join(program), &fresh))?;
        step::file(format!("cannot replace {}", place.display()), fs::rename(fresh, &place))?;
    }
    step::file("cannot write target/dist/PGO", fs::write(dist.join(STAMP), "profile-guided\n"))
}

struct Toolchain {
    sysroot: PathBuf,
    host: String,
}

impl Toolchain {
    fn find() -> Result<Self, Failure> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let ask = |arguments: &[&str]| {
            let output = Command::new(&rustc).args(arguments).output();
            step::file("cannot ask rustc", output)
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
        let version = ask(&["-vV"])?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.ok_or_else(|| Failure::Missing("`rustc -vV` names no host".to_owned()))?.to_owned();
        Ok(Self { sysroot, host })
    }

    /// The tool that merges profiles, of the compiler's own LLVM: formats differ between versions.
    fn profdata(&self) -> Result<PathBuf, Failure> {
        let tool = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        if !tool.is_file() {
            announce("rustup component add llvm-tools");
            step::succeeds(Command::new("rustup").args(["component", "add", "llvm-tools"]));
        }
        match tool.is_file() {
            true => Ok(tool),
            false => Err(Failure::Missing(format!(
                "profile-guided optimization needs {}: install this toolchain's llvm-tools, or pass --no-pgo",
                tool.display()
            ))),
        }
    }
}

/// For a processor. An older one must be told so, and not stop at an instruction that it does not know: the C library
/// refuses to start a program that is marked with a level above the processor's. GNU's linker writes the mark.
fn flags(cpu: &str) -> String {
    match cpu.starts_with("x86-64-v") {
        true => format!("-Ctarget-cpu={cpu} -Clinker-features=-lld -Clink-arg=-Wl,-z,{cpu}"),
        false => format!("-Ctarget-cpu={cpu}"),
    }
}

/// Builds with more flags; says where the programs are.
fn compile(rust: &Toolchain, what: &[&str], target: &Path, more: &[String]) -> Result<PathBuf, Failure> {
    let mut flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
    for flag in more {
        flags.push(" ");
        flags.push(flag);
    }
    step::run(
        cargo()
            // With a target named, build scripts and macros are not built with these flags.
            .args(["build", "--profile", "dist", "--target", &rust.host, "--target-dir"])
            .arg(target)
            .args(what)
            .env("RUSTFLAGS", flags),
    )?;
    Ok(target.join(&rust.host).join("dist"))
}
