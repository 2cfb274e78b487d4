//! A child process that ends with its test, and whose output is shown when the test fails.

use crate::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

/// A running program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints is appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(name: impl Into<String>, command: &mut Command, log: &Path) -> Self {
        command.stdout(append(log));
        Self::spawn_with_stdout(name, command, log)
    }

    /// As [`Process::spawn`], with a standard output that `command` already has. A piped one is held open and
    /// never read.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn_with_stdout(name: impl Into<String>, command: &mut Command, log: &Path) -> Self {
        let name = name.into();
        let child = command
            .stdin(Stdio::null())
            .stderr(append(log))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, name, log: log.to_path_buf() }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// When the operating system does not know.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("{} should end", self.name);
        wait::until(&what, || self.ended())
    }

    /// Everything it printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

fn append(log: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(log).unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            const SHOWN: usize = 60;
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            eprintln!("--- the last lines of {}:\n{tail}\n---", self.name);
        }
    }
}
