//! The programs of `examples/`, built as their own first lines say.

use crate::tools;
use std::{
    env, fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A program of `examples/`. All take the same commands (`set`, `get`, `watch`, none) and print the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Example {
    /// `grpcio` in Python.
    Python,
    /// grpc-go.
    Go,
    /// tonic.
    Rust,
}

impl Example {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Python, Self::Go, Self::Rust];

    /// It, with a proxy on this port and a bound on each call, and these arguments.
    ///
    /// # Panics
    /// When it cannot be built.
    #[must_use]
    pub fn command(self, port: u16, seconds: f32, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::Python => {
                let mut python = Command::new(tools::python());
                python.arg(tools::repository().join("examples/python/kv.py"));
                python.env("PYTHONPATH", python_stubs());
                python
            }
            Self::Go => Command::new(go_program()),
            Self::Rust => Command::new(tools::own("kv-example")),
        };
        // A duration has its unit in Go.
        let unit = if self == Self::Go { "s" } else { "" };
        command.arg(format!("--address=127.0.0.1:{port}")).arg(format!("--timeout={seconds}{unit}"));
        command.args(arguments);
        // Whatever the environment says, these calls go where they say.
        command.env("no_proxy", "*").env("GRPC_VERBOSITY", "NONE");
        command
    }

    /// How its library spells a code, of which this is protobuf's name.
    #[must_use]
    pub fn code(self, name: &str) -> String {
        match self {
            Self::Python => name.to_owned(),
            Self::Go | Self::Rust => {
                let words = name.split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase());
                words.collect()
            }
        }
    }
}

/// What `protoc` makes for Python from every file of `proto/`: a folder for `PYTHONPATH`, made once for each process.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn python_stubs() -> &'static Path {
    static STUBS: OnceLock<PathBuf> = OnceLock::new();
    STUBS.get_or_init(|| {
        let (proto, stubs) = (tools::repository().join("proto"), empty("python"));
        let mut command = protoc();
        command.arg("-I").arg(&proto);
        command.args(["--python_out", "--grpc_python_out"].map(|out| format!("{out}={}", stubs.display())));
        tools::succeed(command.args(proto_files(&proto.join("prism"))));
        stubs
    })
}

/// The Go example, built once for each process. `cargo xtask test` has brought what it needs from elsewhere.
fn go_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let (folder, source) = (empty("go"), tools::repository().join("examples/go"));
        let module = folder.join("examples/go");
        fs::create_dir_all(&module).unwrap();
        // What is generated stays out of the repository's folder.
        for file in
            fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
        {
            fs::copy(&file, module.join(file.file_name().unwrap())).unwrap();
        }
        symlink(tools::repository().join("proto"), folder.join("proto")).unwrap();
        // The only protoc that is here is Python's.
        let script = format!("#!/bin/sh\nexec '{}' -m grpc_tools.protoc \"$@\"\n", tools::python().display());
        let protoc = folder.join("protoc");
        fs::write(&protoc, script).unwrap();
        fs::set_permissions(&protoc, fs::Permissions::from_mode(0o755)).unwrap();
        let mut path = vec![folder.clone()];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap()));
        let path = env::join_paths(path).unwrap();
        let go = |arguments: &[&str]| {
            let mut command = Command::new("go");
            command.args(arguments).current_dir(&module).env("PATH", &path);
            tools::succeed(command.env("GOPROXY", "off").env("GOFLAGS", "-mod=readonly -buildvcs=false"))
        };
        go(&["generate"]);
        go(&["vet", "."]);
        go(&["build", "-o", "kv", "."]);
        assert_eq!(tools::succeed(Command::new("gofmt").args(["-l", "."]).current_dir(&module)), "");
        module.join("kv")
    })
}

fn protoc() -> Command {
    let mut command = Command::new(tools::python());
    command.args(["-m", "grpc_tools.protoc"]);
    command
}

fn proto_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { proto_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect()
}

/// An empty folder for what this process generates. Under `target`, because nothing removes it at the end.
fn empty(name: &str) -> PathBuf {
    let program = env::current_exe().unwrap();
    let program = program.file_name().unwrap();
    let folder = tools::scratch().join("examples").join(program).join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{}: {error}", folder.display()),
        _ => fs::create_dir_all(&folder).unwrap(),
    }
    folder
}
