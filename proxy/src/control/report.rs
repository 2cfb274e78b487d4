//! What is said of the configuration: which version runs, where it came from, and why the last one was refused.

use super::{Accepted, build::BuildError};
use prism_config::{Config, Problems, Source};
use serde::Serialize;
use serde_json::{Value, json};
use std::{fmt, sync::Arc, time::SystemTime};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// What is written is wrong.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// What is written is right, but cannot be done.
    #[error("{}", list(.0))]
    Build(Vec<BuildError>),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It was to be applied only with every instance that it needs, and these do not serve.
    #[error("{}", list(.0))]
    Unhealthy(Vec<Unhealthy>),
    /// Too many changes wait already.
    #[error("too many configuration changes are waiting: try again in a moment")]
    Busy,
    /// The proxy is shutting down.
    #[error("the proxy is shutting down")]
    ShuttingDown,
}

/// A namespace that would not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("namespace `{namespace}`: plugin `{plugin}`: {reason}")]
pub struct Unhealthy {
    /// Where it stands in the refused configuration.
    pub path: String,
    /// The namespace.
    pub namespace: String,
    /// The plugin that would serve it.
    pub plugin: String,
    /// Why it does not.
    pub reason: String,
}

fn list<E: fmt::Display>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Refusal {
    /// Every reason: for what is wrong in the text with its path, line and column.
    #[must_use]
    pub fn problems(&self) -> Value {
        match self {
            // A list of strings and numbers always serializes.
            Self::Problems(problems) => serde_json::to_value(&problems.problems).unwrap_or_default(),
            Self::Build(errors) => errors
                .iter()
                .map(|error| json!({ "path": error.path(), "message": error.to_string() }))
                .collect(),
            Self::Unhealthy(namespaces) => {
                namespaces.iter().map(|one| json!({ "path": one.path, "message": one.to_string() })).collect()
            }
            other => json!([{ "path": "", "message": other.to_string() }]),
        }
    }
}

/// A configuration that was refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LastRefusal {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// The file's path, or `admin`.
    pub source: String,
    /// Every reason.
    pub problems: Value,
}

/// The answer to `GET /config`.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ConfigReport {
    /// The running version; 0 before the first.
    pub version: u64,
    /// Where it came from: the file's path, or `admin`.
    pub source: String,
    /// Since when it runs.
    #[serde(serialize_with = "optional_rfc3339")]
    pub since: Option<SystemTime>,
    /// The last one that was refused since then.
    pub last_refusal: Option<LastRefusal>,
    /// What it was built from, every default filled in and every secret left out.
    pub config: Value,
    /// The configuration itself, to compare the file with.
    #[serde(skip)]
    pub running: Option<Arc<Config>>,
}

impl ConfigReport {
    pub(super) fn accepted(
        &self,
        now: SystemTime,
        version: u64,
        source: &Source,
        config: &Arc<Config>,
    ) -> Self {
        Self {
            version,
            source: source.name.clone(),
            since: if version == self.version { self.since } else { Some(now) },
            last_refusal: None,
            config: config.redacted(),
            running: Some(Arc::clone(config)),
        }
    }

    pub(super) fn refused(&self, now: SystemTime, source: &str, refusal: &Refusal) -> Self {
        let last_refusal =
            Some(LastRefusal { at: now, source: source.to_owned(), problems: refusal.problems() });
        Self { last_refusal, ..self.clone() }
    }
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time) as &dyn fmt::Display)
}

#[allow(clippy::ref_option, reason = "serde calls it by reference")]
fn optional_rfc3339<S: serde::Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Says in the log what became of a change, where it came from, and by whom, where that is somebody, as the audit log names him:
/// whoever reads it at night asks who changed what.
pub fn log_outcome(from: &'static str, who: Option<&str>, outcome: &Result<Accepted, Refusal>) {
    match outcome {
        Ok(accepted) if accepted.changes.is_empty() => {
            tracing::info!(from, who, version = accepted.version, "nothing changed");
        }
        Ok(accepted) => {
            tracing::info!(from, who, version = accepted.version, changes = ?accepted.changes, "configuration applied");
        }
        Err(refusal) => {
            tracing::error!(from, who, "configuration refused, the running one stays:\n{refusal}");
        }
    }
}
