//! What the tests of the loader share.
// Each test is a crate of its own, and none uses all of it.
#![allow(dead_code, unused_imports)]

mod caller;

pub(crate) use caller::{Caller, Loaded};

use prism_plugin_abi::ffi::Observer;
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Watches over nothing.
pub(crate) struct Unwatched;

impl Observer for Unwatched {
    #[allow(clippy::disallowed_methods)] // nothing here depends on it
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn tick(&self) -> Duration {
        Duration::ZERO
    }

    fn long_poll(&self, _: Duration) {}
}

/// Compiles a plugin in C with the header alone, by `CC` with `CFLAGS` where those are set.
pub(crate) fn cc(folder: &Path, source: &Path) -> PathBuf {
    let library = folder.join("libplugin.so");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/include");
    let flags = env::var("CFLAGS").unwrap_or_default();
    let output = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-shared", "-fPIC", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"])
        .args(flags.split_whitespace())
        .arg("-I")
        .args([&include, Path::new("-o"), &library, source])
        .output()
        .expect("a C compiler, `cc`, is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// The library of `plugins/probe`, as `cargo xtask test` builds it beside the tests.
pub(crate) fn probe() -> PathBuf {
    let beside = || {
        let own = env::current_exe().expect("a test knows where it is");
        own.parent()?.parent().map(|folder| folder.join("libprism_plugin_probe.so"))
    };
    let library = env::var_os("PRISM_PROBE").map(PathBuf::from).or_else(beside).expect("a folder");
    assert!(
        library.exists(),
        "{} is not there: cargo rustc -p prism-plugin-probe --lib --crate-type cdylib --features library",
        library.display()
    );
    library
}

/// A copy that nobody else can write, whatever the umask was.
fn private(library: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join("private.so");
    fs::copy(library, &copy).expect("it can be copied");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("it is ours");
    copy
}
