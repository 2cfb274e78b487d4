//! One command, and what is said when it fails.

use std::{
    io,
    process::{Command, ExitStatus},
};

/// Why a chore stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The program could not be started.
    Start {
        /// What was to be run.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// It ran and failed.
    Exit {
        /// What was run.
        what: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file could not be read or written.
    File {
        /// What was to be done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A sanitizer did not find what was planted for it, so that it was quiet before says nothing.
    Blind {
        /// Which.
        sanitizer: &'static str,
        /// What it should have said.
        report: &'static str,
        /// What was said instead.
        said: String,
    },
    /// Something is missing that this program does not install.
    Missing(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start { what, source } => write!(f, "cannot start `{what}`: {source}"),
            Self::Exit { what, status } => write!(f, "`{what}` failed: {status}"),
            Self::File { what, source } => write!(f, "{what}: {source}"),
            Self::Blind { sanitizer, report, said } => {
                write!(f, "the {sanitizer} sanitizer did not report the planted `{report}`:\n{said}")
            }
            Self::Missing(what) => f.write_str(what),
        }
    }
}

/// Runs a command with this terminal's output; anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let what = describe(command);
    let status = command.status().map_err(|source| Failure::Start { what: what.clone(), source })?;
    if status.success() { Ok(()) } else { Err(Failure::Exit { what, status }) }
}

/// Whether a command runs and succeeds, in silence.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Says what comes next.
pub(crate) fn announce(what: &str) {
    println!("xtask: {what}");
}

/// Puts a doing in front of an I/O error.
pub(crate) fn file<T>(what: impl Into<String>, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|source| Failure::File { what: what.into(), source })
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
