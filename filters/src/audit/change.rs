//! What an operator does to the proxy, as the audit log has it.

use prism_audit::{Hash, Log};
use prism_platform::time;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// How long a change waits for its record: it is rare, and the log is emptied many times a second.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most differences that are told of a change, and the longest of them.
const MOST_CHANGES: usize = 64;
const MOST_CHANGE_BYTES: usize = 256;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
}

/// Something that an operator did, or tried.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Who: `uid:1000` by the admin socket, `token:NAME` by its address with a token, a principal such as `spiffe://…` with a client certificate, `file` for the configuration file,
    /// `secrets` for their directory, `signal` for the process's owner.
    pub who: &'a str,
    /// What: `config.apply`, `start`, `drain`.
    pub action: &'a str,
    /// What became of it.
    pub outcome: Outcome,
    /// The version of the configuration that runs afterwards.
    pub config_version: u64,
    /// Of a configuration: the SHA-256 of its text.
    pub config: Option<Hash>,
    /// What differs, or why it was refused. No secrets.
    pub details: Vec<String>,
}

impl Change<'_> {
    /// The inside of a record.
    fn record(&self, now: SystemTime) -> Vec<u8> {
        let mut details: Vec<Value> = self
            .details
            .iter()
            .take(MOST_CHANGES)
            .map(|text| crate::text::cut(text, MOST_CHANGE_BYTES).into())
            .collect();
        if let Some(more) = self.details.len().checked_sub(MOST_CHANGES).filter(|more| *more > 0) {
            details.push(format!("and {more} more").into());
        }
        let mut fields = json!({
            "kind": "admin",
            "time": humantime::format_rfc3339_millis(now).to_string(),
            "who": self.who,
            "action": self.action,
            "outcome": match self.outcome {
                Outcome::Done => "done",
                Outcome::Refused => "refused",
            },
            "config_version": self.config_version,
            "details": details,
        });
        if let Some(config) = self.config {
            fields["config_sha256"] = config.to_string().into();
        }
        let mut text = fields.to_string().into_bytes();
        // Its braces.
        text.pop();
        text.remove(0);
        text
    }

    /// Puts it into a log. A log that cannot be written stops no change, because a change may be what mends it: it is then counted
    /// as missing, and said in the proxy's own log.
    pub async fn put(&self, log: &Log, now: SystemTime) {
        let slot = match log.try_reserve() {
            Some(slot) => Some(slot),
            None => time::timeout(PATIENCE, log.reserve()).await.ok().and_then(Result::ok),
        };
        if let Some(slot) = slot {
            slot.put(self.record(now));
        } else {
            log.count_dropped();
            tracing::error!(who = self.who, action = self.action, "this change is not in the audit log");
        }
    }
}
