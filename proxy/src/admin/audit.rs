//! The audit logs: how they are, and what the admin interface itself has to say in them.

use super::{endpoints::AdminState, guard::Refused};
use prism_filters::audit::{Change, ChangeOutcome};
use serde_json::{Value, json};

/// `GET /audit`: where each log ends. Whoever keeps `head` elsewhere can show later that nothing of before was changed.
pub(super) fn logs(state: &AdminState) -> Value {
    let logs = state.snapshots.load().audit_logs();
    let list: Vec<Value> = logs
        .iter()
        .map(|log| {
            let status = log.status();
            json!({
                "dir": log.dir().display().to_string(),
                "segment": status.segment,
                "seq": status.seq,
                "head": status.head.to_string(),
                "records": status.records,
                "dropped": status.dropped,
                "refused": status.refused,
                "problem": status.problem,
            })
        })
        .collect();
    json!({ "logs": list })
}

/// Somebody asked for a change who may not have one made. What anybody can have written is written once a second.
pub(super) async fn refused(state: &AdminState, action: &str, refused: &Refused) {
    let mut details = vec![refused.detail.clone().into_owned()];
    if !refused.known {
        match state.seldom_audited.due() {
            None => return,
            Some(0) => {}
            Some(more) => details.push(format!("{more} more before it were not recorded")),
        }
    }
    let snapshot = state.snapshots.load_full();
    let change = Change {
        who: &refused.who,
        action,
        outcome: ChangeOutcome::Refused,
        config_version: snapshot.version(),
        config: None,
        details,
    };
    for log in snapshot.audit_logs() {
        change.put(&log, state.platform.wall_clock()).await;
    }
}
