//! A Redis of the test's own.

use crate::{Process, free_port, tools, wait};
use std::{process::Command, thread, time::Duration};
use tempfile::TempDir;

/// A running redis-server: nothing on disk, keyspace events on, one free port.
#[derive(Debug)]
pub struct Redis {
    /// Its process.
    pub process: Process,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    /// Starts one on a free port and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    /// Starts one on a port of the test's choice.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn start_on(port: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("prism-redis-").tempdir().unwrap();
        let mut command = Command::new(tools::tool("redis-server"));
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            // What `watch` needs: keyspace events for every kind of command.
            .args(["--notify-keyspace-events", "KEA"])
            .arg("--dir")
            .arg(folder.path());
        let process = Process::spawn("redis-server", &mut command, &folder.path().join("redis.log"));
        let mut redis = Self { process, port, _folder: folder };
        wait::until("redis-server should answer", || {
            assert!(redis.process.ended().is_none(), "redis-server ended:\n{}", redis.process.log());
            (redis.try_cli(&["ping"])?.trim() == "PONG").then_some(())
        });
        redis
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as plugins are configured with.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints for a command.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.try_cli(arguments).unwrap_or_else(|| panic!("redis-cli {arguments:?} failed"))
    }

    fn try_cli(&self, arguments: &[&str]) -> Option<String> {
        let port = self.port.to_string();
        let output =
            tools::output(Command::new(tools::tool("redis-cli")).args(["-p", &port]).args(arguments));
        if !output.status.success() {
            // Not up yet: redis-cli fails at once, so this is all that keeps the loop from spinning.
            thread::sleep(Duration::from_millis(10));
            return None;
        }
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
