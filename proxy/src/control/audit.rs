//! What is done to the proxy, in the audit logs of its listeners; and what is to be known of those logs before they are opened.

use super::{Accepted, Control, Refusal};
use crate::snapshot::Snapshot;
use prism_config::{Config, Source};
use prism_filters::{
    FilterType,
    audit::{Audit, Change, ChangeOutcome, Hash, Log, Settings},
};
use serde::Deserialize;
use std::{path::Path, sync::Arc};

/// What is wrong with the keys that a configuration's audit logs are to be signed with: where, and what.
pub(super) fn check(config: &Config, base_dir: &Path) -> Vec<(String, String)> {
    let listeners = config.listeners.iter().enumerate();
    let filters = listeners.flat_map(|(at, listener)| {
        listener.filters.iter().enumerate().map(move |(place, filter)| (at, place, filter))
    });
    let audits = filters.filter(|(_, _, filter)| filter.name == Audit::NAME);
    audits
        .filter_map(|(at, place, filter)| {
            // What does not fit is refused already.
            let error = Settings::deserialize(&filter.settings).ok()?.check_key(base_dir).err()?;
            let path = format!("listeners[{at}].filters[{place}].audit.key");
            Some((path, error.to_string()))
        })
        .collect()
}

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
