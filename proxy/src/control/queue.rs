//! The queue of configuration changes: anybody may hand one in, and they are applied one after the other.

use super::Refusal;
use prism_config::Source;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

/// Changes that may wait for their turn; who comes when this many wait is told to come later.
const MOST_WAITING: usize = 16;

/// What came of a configuration that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The version that runs now.
    pub version: u64,
    /// What changed; empty when nothing did, and then the version is the old one.
    pub changes: Vec<String>,
}

/// What is wanted of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Apply it. A plugin that is away stops nothing: its namespaces go on with what they have until it is there.
    #[default]
    Apply,
    /// Apply it only if every plugin instance that it needs serves; else all of it is refused.
    RequireHealthy,
    /// Only say what it would change.
    DryRun,
}

/// A change on its way.
pub(super) struct Change {
    pub(super) source: Source,
    pub(super) mode: Mode,
    pub(super) who: String,
    pub(super) reply: oneshot::Sender<Result<Accepted, Refusal>>,
}

/// Where changes are handed in.
#[derive(Clone)]
pub struct ControlHandle(mpsc::Sender<Change>);

/// Where they come out.
pub(crate) struct ControlQueue(mpsc::Receiver<Change>);

/// Both ends of a new queue.
pub(crate) fn queue() -> (ControlHandle, ControlQueue) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    (ControlHandle(sender), ControlQueue(receiver))
}

impl ControlHandle {
    /// Applies a configuration: all of it, or nothing.
    ///
    /// # Errors
    /// What is wrong with it, every reason at once; the running configuration is untouched. Or too many changes
    /// wait already, or the proxy is shutting down.
    pub async fn apply(&self, source: Source, mode: Mode) -> Result<Accepted, Refusal> {
        self.apply_for("process", source, mode).await
    }

    /// The same for somebody, whom the audit log names: `uid:1000` by the admin socket, `file` for the configuration file.
    ///
    /// # Errors
    /// As above.
    pub async fn apply_for(&self, who: &str, source: Source, mode: Mode) -> Result<Accepted, Refusal> {
        let (reply, answer) = oneshot::channel();
        let change = Change { source, mode, who: who.to_owned(), reply };
        self.0.try_send(change).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy,
            TrySendError::Closed(_) => Refusal::ShuttingDown,
        })?;
        answer.await.map_err(|_| Refusal::ShuttingDown)?
    }
}

impl ControlQueue {
    /// The next change; `None` when nobody can hand one in any more.
    pub(super) async fn next(&mut self) -> Option<Change> {
        self.0.recv().await
    }

    /// Takes no more changes; those that wait are refused.
    pub(crate) fn close(&mut self) {
        self.0.close();
        while let Ok(change) = self.0.try_recv() {
            // Whoever asked may have gone.
            let _ = change.reply.send(Err(Refusal::ShuttingDown));
        }
    }
}
