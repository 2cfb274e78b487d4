//! Processes that the comparison owns: each is pinned to a core, and killed and reaped when its owner goes.

use crate::error::{Error, io};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

/// Where the proxy under test runs, alone.
pub(crate) const PROXY_CORE: usize = 0;
/// Where the load, the plugin and this program run.
pub(crate) const LOAD_CORE: usize = 1;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Called on SIGINT and SIGTERM.
pub(crate) fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// # Errors
/// [`Error::Interrupted`] after [`interrupt`].
pub(crate) fn unless_interrupted() -> Result<(), Error> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Pins the calling thread; what it spawns from then on inherits that.
pub(crate) fn pin(core: usize) -> Result<(), Error> {
    let mut cores = CpuSet::new();
    cores.set(core);
    io(format!("run on core {core}"), sched_setaffinity(None, &cores).map_err(Into::into))
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Owned {
    child: Child,
    log: PathBuf,
}

impl Owned {
    /// Starts `command` on `core`, with everything it says written to `log`.
    pub(crate) fn start(command: &mut Command, core: usize, log: PathBuf) -> Result<Self, Error> {
        let out = io(format!("create {}", log.display()), File::create(&log))?;
        let err = io("duplicate a descriptor", out.try_clone())?;
        // Out of the terminal's process group: Ctrl-C ends this program, and this program ends its children.
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        pin(core)?;
        let spawned = command.spawn();
        pin(LOAD_CORE)?;
        let child = io(format!("start {}", command.get_program().to_string_lossy()), spawned)?;
        Ok(Self { child, log })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        io("wait for a process", self.child.try_wait())
    }

    /// What it said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Fails only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
