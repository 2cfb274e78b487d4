//! What is done to the proxy, in the audit logs of its listeners.

use super::{Accepted, Control, Refusal};
use crate::snapshot::Snapshot;
use prism_config::Source;
use prism_filters::audit::{Change, ChangeOutcome, Hash, Log};
use std::sync::Arc;

impl Control {
    /// A configuration was handed in. Both the logs of before and those of now are told: a change that takes a log away is its
    /// last record.
    pub(super) async fn audit_applied(
        &self,
        before: &Snapshot,
        who: &str,
        source: &Source,
        result: &Result<Accepted, Refusal>,
    ) {
        let mut logs = self.snapshots.load().audit_logs();
        let gone = before.audit_logs();
        logs.extend(
            gone.into_iter().filter(|log| !logs.iter().any(|now| Arc::ptr_eq(now, log))).collect::<Vec<_>>(),
        );
        let (outcome, details) = match result {
            Ok(accepted) => (ChangeOutcome::Done, accepted.changes.clone()),
            Err(refusal) => {
                (ChangeOutcome::Refused, refusal.to_string().lines().map(str::to_owned).collect())
            }
        };
        let change = Change {
            who,
            action: if before.version() == 0 { "start" } else { "config.apply" },
            outcome,
            config_version: self.running.version,
            config: Some(Hash::of(source.text.as_bytes())),
            details,
        };
        self.audit(&logs, &change).await;
    }

    /// The proxy was told to stop.
    pub(crate) async fn audit_drain(&self) {
        let change = Change {
            who: "process",
            action: "drain",
            outcome: ChangeOutcome::Done,
            config_version: self.running.version,
            config: None,
            details: Vec::new(),
        };
        self.audit(&self.snapshots.load().audit_logs(), &change).await;
    }

    async fn audit(&self, logs: &[Arc<Log>], change: &Change<'_>) {
        for log in logs {
            change.put(log, self.platform.wall_clock()).await;
        }
    }
}
