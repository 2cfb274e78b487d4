//! What can go wrong while comparing.

use std::{io, path::PathBuf, time::Duration};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was to be done.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A program of the comparison is not there.
    #[error("{program} is not there: {remedy}")]
    Missing {
        /// Which one.
        program: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A peer did not begin to answer.
    #[error("{peer} gave no right answer within {} s; last: {problem}; its log is\n{log}", waited.as_secs())]
    NotReady {
        /// Which one.
        peer: String,
        /// How long it was given.
        waited: Duration,
        /// What the last attempt said.
        problem: String,
        /// What it wrote.
        log: String,
    },
    /// A call was answered wrongly, so that figures would be worth nothing.
    #[error("{peer}: {problem}")]
    Answer {
        /// Who answered.
        peer: String,
        /// What was wrong.
        problem: String,
    },
    /// h2load did not do what it was asked to.
    #[error("h2load: {problem}; it said\n{output}")]
    Load {
        /// What was wrong.
        problem: String,
        /// All of its output.
        output: String,
    },
    /// A result could not be kept.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no key to be made.
    #[error("the operating system gives no random bytes for a key")]
    Randomness,
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// The command line asks for what there is not.
    #[error("{0}")]
    Usage(String),
}

/// Puts a doing in front of an I/O error.
pub(crate) fn io<T>(what: impl Into<String>, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Io { what: what.into(), source })
}
