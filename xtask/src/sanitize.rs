//! `cargo xtask sanitize`: the boundary to plugin libraries under AddressSanitizer and ThreadSanitizer, both sides of it
//! instrumented, std included. Each run has to be clean, and then to find a bug that was planted for it.

use crate::{
    step::{self, Failure, announce},
    test::cargo,
    tools, workspace,
};
use clap::{Args, ValueEnum};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where code for this runs; sanitizers need it said, so that build scripts stay as they are.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What is never given back, by design: a library that was loaded, and what it was told. And what tests let go that play
/// a plugin which cannot be asked to take anything back, or whose panic panics.
const LEAKS: &str = "\
leak:prism_plugin_loader::load::load
leak:ffi::tests::wicked::import
leak:ffi::tests::wicked::hollow_execute
leak:ffi::tests::wicked::stream$
leak:ffi::tests::honest::Payloads
";

/// What to look with.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this one; else both.
    sanitizer: Option<Sanitizer>,
}

/// One of LLVM's.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sanitizer {
    /// Memory that is used after it was freed, outside of its bounds, or lost.
    Address,
    /// Data races.
    Thread,
}

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Thread => "thread",
        }
    }

    fn rust_flags(self) -> String {
        let own = match self {
            // A library's note is read by the loader, and room around it would make it no note any more. Instrumented
            // code in a library needs the program's functions: `-rdynamic`.
            Self::Address => "-Cllvm-args=-asan-globals=0",
            // What is built without it (the startup objects) is nothing that runs in threads.
            Self::Thread => "-Cunsafe-allow-abi-mismatch=sanitizer",
        };
        let name = self.name();
        format!("-Zsanitizer={name} -Cforce-frame-pointers=yes -Cdebuginfo=1 -Clink-args=-rdynamic {own}")
    }

    /// Told to the compiler proper and not to its driver, which would link a second runtime in.
    fn c_flags(self) -> String {
        let own = if self == Self::Address { " -mllvm -asan-globals=0" } else { "" };
        format!("-Xclang -fsanitize={}{own} -fno-omit-frame-pointer -g", self.name())
    }

    /// The operation of `plugins/probe` that is wrong, and what has to be said of it.
    fn planted(self) -> (&'static str, &'static str) {
        match self {
            Self::Address => ("use_after_release", "heap-use-after-free"),
            Self::Thread => ("race", "data race"),
        }
    }
}

/// Installs, builds, looks.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    tools::install_sanitizers()?;
    let both = [Sanitizer::Address, Sanitizer::Thread];
    for sanitizer in both.into_iter().filter(|one| options.sanitizer.is_none_or(|only| only == *one)) {
        Run { sanitizer, folder: workspace::target().join("sanitize").join(sanitizer.name()) }.all()?;
    }
    Ok(())
}

struct Run {
    sanitizer: Sanitizer,
    /// Of its own: nothing here fits what other builds make.
    folder: PathBuf,
}

impl Run {
    fn all(&self) -> Result<(), Failure> {
        let name = self.sanitizer.name();
        let probe = self.library("library")?;
        announce(&format!("{name}: the tests of the ABI and of the loader; a library in Rust and one in C"));
        step::run(self.tests(&probe).args([
            "--tests",
            "-p",
            "prism-plugin-abi",
            "-p",
            "prism-plugin-loader",
        ]))?;

        let (operation, report) = self.sanitizer.planted();
        let probe = self.library("library,planted")?;
        announce(&format!("{name}: `{operation}`, which has to be found"));
        let mut command = self.tests(&probe);
        command.args(["-p", "prism-plugin-loader", "--test", "boundary", "--", "--ignored", "planted"]);
        let output = command.env("PRISM_PLANTED", operation).output();
        let output = output.map_err(|source| Failure::Start { what: "cargo test".into(), source })?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let found = said.lines().find(|line| line.contains("Sanitizer: ") && line.contains(report));
        match found {
            Some(line) if !output.status.success() => println!("xtask: found: {line}"),
            _ => return Err(Failure::Blind { sanitizer: name, report, said: said.into_owned() }),
        }
        announce(&format!("{name}: clean, and its planted bug was found"));
        Ok(())
    }

    /// The probe as a library, where the next one does not take its place.
    fn library(&self, features: &str) -> Result<PathBuf, Failure> {
        announce(&format!("{}: plugins/probe with features {features}", self.sanitizer.name()));
        let mut command = self.cargo("rustc");
        command.args(["-p", "prism-plugin-probe", "--lib", "--crate-type", "cdylib", "--features", features]);
        step::run(&mut command)?;
        let built = self.folder.join(TARGET).join("debug/libprism_plugin_probe.so");
        let kept = self.folder.join(format!("probe-{}.so", features.replace(',', "-")));
        step::file(format!("cannot keep {}", built.display()), fs::copy(&built, &kept))?;
        Ok(kept)
    }

    fn tests(&self, probe: &Path) -> Command {
        let suppressions = self.folder.join("leaks");
        // Where it cannot be written, the run says so itself.
        let _ = fs::write(&suppressions, LEAKS);
        let mut command = self.cargo("test");
        command
            .env("PRISM_PROBE", probe)
            .env("CC", "clang")
            .env("CFLAGS", self.sanitizer.c_flags())
            .env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1")
            .env("LSAN_OPTIONS", format!("print_suppressions=0:suppressions={}", suppressions.display()))
            .env("TSAN_OPTIONS", "second_deadlock_stack=1");
        command
    }

    fn cargo(&self, what: &str) -> Command {
        let mut command = cargo();
        command
            .args([what, "-Zbuild-std=std,panic_unwind", "--target", TARGET])
            // The sanitizers are there in a stable compiler, but not for everybody to use.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", self.sanitizer.rust_flags())
            .env("CARGO_TARGET_DIR", &self.folder)
            .env("CARGO_INCREMENTAL", "0");
        command
    }
}
