//! How an instance is.

use super::OperationTable;
use crate::upstream::Protocol;
use prism_platform::time::Instant;
use prism_plugin_abi::Description;
use std::{fmt, sync::Arc};

/// Where an instance is in its life (architecture, "Plugin lifecycle").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The plugin is being reached for the first time.
    Loading,
    /// It is being described and initialized for the first time.
    Initializing,
    /// It serves.
    Ready,
    /// It serves, with less than it should have.
    Degraded,
    /// It is replaced or removed; calls that began on it may end.
    Draining,
    /// It is gone.
    Stopped,
    /// It does not serve. It is tried again.
    Failed,
}

impl State {
    /// Calls may be made.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }

    /// Its name, as in metrics and on the admin interface.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Initializing => "initializing",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an instance is, and why.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it is in its life.
    pub state: State,
    /// Why it does not serve, or serves less; for a person.
    pub reason: Option<String>,
    /// Since when.
    pub since: Instant,
    /// When it is tried again, where it failed.
    pub next_retry: Option<Instant>,
    /// What it can do, as last heard of.
    pub operations: Option<Arc<OperationTable>>,
    /// What the plugin says of itself, as last heard; `None` also where it cannot say.
    pub description: Option<Arc<Description>>,
    /// What its calls travel over, as last chosen; `None` for a plugin in this process, and before the first
    /// choice.
    pub protocol: Option<Protocol>,
}

impl Status {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Loading,
            reason: Some("the plugin is being loaded".to_owned()),
            since: Instant::now(),
            next_retry: None,
            operations: None,
            description: None,
            protocol: None,
        }
    }

    /// A verdict was reached: it serves, or it failed.
    pub(crate) fn is_verdict(&self) -> bool {
        !matches!(self.state, State::Loading | State::Initializing)
    }
}
