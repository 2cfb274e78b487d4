//! Where the programs are that the tests run. A missing one is an error that says what to do.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The repository's folder.
#[must_use]
pub fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap().to_path_buf()
}

/// Where cargo put the program that is running: `target/<profile>`.
fn profile() -> PathBuf {
    let own = env::current_exe().expect("a program knows its own path");
    let folder = own.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap().to_path_buf() } else { folder.to_path_buf() }
}

/// One of the project's own programs, built in the profile of the program that is running.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn own(name: &str) -> PathBuf {
    let path = profile().join(name);
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

/// One of the project's own plugins as a shared library, built in the profile of the program that is running.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn library(name: &str) -> PathBuf {
    let path = profile().join(format!("lib{name}.so"));
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

/// The memory plugin as a shared library, built with another compiler than everything else.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn library_of_another_rustc() -> PathBuf {
    let path = profile().parent().unwrap().join("other-rustc/debug/libprism_plugin_memory.so");
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

/// The plugin in C, compiled into this folder against the header alone.
///
/// # Panics
/// When there is no C compiler, or it has anything to say.
#[must_use]
pub fn library_in_c(folder: &Path) -> PathBuf {
    compile_c(&repository().join("plugins/abi/examples/echo.c"), folder, &[])
}

/// A plugin in C that breaks the rules of the boundary, compiled into this folder; `defined` are macros.
///
/// # Panics
/// As [`library_in_c`].
#[must_use]
pub fn wicked_library(folder: &Path, defined: &[&str]) -> PathBuf {
    compile_c(&repository().join("tests/fixtures/wicked.c"), folder, defined)
}

fn compile_c(source: &Path, folder: &Path, defined: &[&str]) -> PathBuf {
    let library = folder.join("libplugin.so");
    let flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-O2", "-I"];
    let mut compiler = Command::new("cc");
    compiler.args(flags).arg(repository().join("plugins/abi/include")).arg("-o").arg(&library);
    succeed(compiler.arg(source).args(defined.iter().map(|name| format!("-D{name}"))));
    library
}

/// A program that `cargo xtask test` installs, or one of the system's.
///
/// # Panics
/// When it is nowhere.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let installed = profile().parent().unwrap().join("tools/bin").join(name);
    let on_path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(installed)
        .chain(env::split_paths(&on_path).map(|folder| folder.join(name)))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("`{name}` is not installed: run `cargo xtask test`"))
}

/// A program of the gRPC project's interoperability tests, as written in Go: `client` or `server`.
///
/// # Panics
/// When it was not installed.
#[must_use]
pub fn interop(name: &str) -> PathBuf {
    let path = profile().parent().unwrap().join(format!("tools/interop-{name}")).join(name);
    assert!(path.is_file(), "{} is not installed: run `cargo xtask test`", path.display());
    path
}

/// The folder of the test certificates that [`interop`]'s client trusts, where Go keeps what that was built from.
///
/// # Panics
/// When Go does not know it.
#[must_use]
pub fn interop_certificates() -> PathBuf {
    let about = succeed(Command::new("go").args(["version", "-m"]).arg(interop("client")));
    let mut module = about.lines().find(|line| line.starts_with("\tmod\t")).unwrap_or_default().split('\t');
    let (name, version) = (module.nth(2).unwrap_or_default(), module.next().unwrap_or_default());
    let modules = succeed(Command::new("go").args(["env", "GOMODCACHE"]));
    let folder = Path::new(modules.trim()).join(format!("{name}@{version}/testdata"));
    assert!(folder.is_dir(), "{} is not there: run `go mod download {name}@{version}`", folder.display());
    folder
}

/// The Python that has the stock gRPC client.
///
/// # Panics
/// When it was not installed.
#[must_use]
pub fn python() -> PathBuf {
    let path = profile().parent().unwrap().join("venv/bin/python");
    assert!(path.exists(), "{} is not installed: run `cargo xtask test`", path.display());
    path
}

/// The folder of Node packages with the gRPC-Web clients.
///
/// # Panics
/// When they were not installed.
#[must_use]
pub fn node_modules() -> PathBuf {
    let path = profile().parent().unwrap().join("tools/browser/node_modules");
    assert!(path.exists(), "{} is not installed: run `cargo xtask test`", path.display());
    path
}

/// A folder for what tests make and may leave behind.
#[must_use]
pub fn scratch() -> PathBuf {
    profile().parent().unwrap().join("tmp")
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// Runs a command to its end; its output as text.
///
/// # Panics
/// When it fails.
pub fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed ({}):\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
