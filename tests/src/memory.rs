//! How much memory a process used at most.

use crate::Process;
use std::fs;

/// A measurement from its start to [`Peak::rise`].
#[derive(Debug)]
pub struct Peak {
    id: u32,
    before: u64,
}

impl Peak {
    /// Forgets the process's earlier peak and begins.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn start(process: &Process) -> Self {
        let id = process.id();
        // 5: "reset the peak resident set size (high water mark)", proc(5).
        fs::write(format!("/proc/{id}/clear_refs"), "5").unwrap();
        Self { id, before: status(id, "VmRSS") }
    }

    /// By how many bytes the resident set has been above where it began.
    #[must_use]
    pub fn rise(&self) -> u64 {
        status(self.id, "VmHWM").saturating_sub(self.before)
    }
}

/// A figure of `/proc/ID/status`, in bytes.
fn status(id: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}
