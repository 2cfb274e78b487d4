//! A plugin in a process of its own, on a unix socket.

use crate::{Process, tools, wait};
use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

/// A running sidecar, which can be killed, stopped and started again on the same socket.
#[derive(Debug)]
pub struct Sidecar {
    /// Its process.
    pub process: Process,
    program: &'static str,
    socket: PathBuf,
}

impl Sidecar {
    /// The project's Redis plugin.
    #[must_use]
    pub fn redis(socket: &Path) -> Self {
        Self::start("prism-redis-server", socket)
    }

    /// The tests' own plugin, [`crate::plugin`].
    #[must_use]
    pub fn echo(socket: &Path) -> Self {
        Self::start("test-plugin", socket)
    }

    /// A plugin on the project's SDK, `sdk-plugin`.
    #[must_use]
    pub fn sdk(socket: &Path) -> Self {
        Self::start("sdk-plugin", socket)
    }

    /// The project's memory plugin, in a process of its own.
    #[must_use]
    pub fn memory(socket: &Path) -> Self {
        Self::start("memory-plugin", socket)
    }

    fn start(program: &'static str, socket: &Path) -> Self {
        let process = launch(program, socket);
        let mut sidecar = Self { process, program, socket: socket.to_path_buf() };
        sidecar.came_up();
        sidecar
    }

    /// Starts it again after it was killed.
    pub fn restart(&mut self) {
        self.process = launch(self.program, &self.socket);
        self.came_up();
    }

    fn came_up(&mut self) {
        wait::until("the sidecar should listen", || {
            assert!(self.process.ended().is_none(), "the sidecar ended:\n{}", self.process.log());
            UnixStream::connect(&self.socket).ok()
        });
    }
}

fn launch(program: &str, socket: &Path) -> Process {
    let log = socket.with_extension("log");
    Process::spawn(program, Command::new(tools::own(program)).arg("--socket").arg(socket), &log)
}
