//! An instance's place at one endpoint: a process that was initialized with it. All but remote plugins have one.

use super::{State, Status};
use crate::upstream::{Endpoint, Link};
use prism_plugin_abi::{MetricKind, Metrics};
use std::{
    fmt::Write,
    sync::{Arc, atomic::AtomicBool},
};

/// Where calls may go.
pub(crate) struct Seat {
    /// `None` in this process.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    pub(crate) link: Arc<Link>,
    /// The plugin knows instances: it echoed the number of this one, over whichever connection.
    pub(crate) echoed: Arc<AtomicBool>,
}

impl Seat {
    pub(crate) fn new(endpoint: Option<Arc<Endpoint>>) -> Self {
        Self { endpoint, link: Arc::default(), echoed: Arc::default() }
    }
}

/// How an instance is at one of its endpoints.
#[derive(Clone, Debug)]
pub struct EndpointStatus {
    /// The endpoint, as in the configuration.
    pub endpoint: String,
    /// Where the instance is in its life there.
    pub state: State,
    /// Why it does not serve there, or serves less; for a person.
    pub reason: Option<String>,
}

/// What is known of a seat.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) status: Status,
    pub(super) counts: Counts,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self { status: Status::new(), counts: Counts::default() }
    }
}

/// How an instance is that serves at several endpoints. `names` are theirs.
pub(super) fn together(entries: &[Entry], names: impl Fn(usize) -> String) -> Status {
    let all = || entries.iter().map(|entry| &entry.status);
    // What it can do is what those say that do it.
    let speaker =
        all().find(|status| status.state.serves()).or_else(|| all().find(|it| it.operations.is_some()));
    let Some(first) = speaker.or_else(|| all().next()) else { return Status::new() };
    let serving = all().filter(|status| status.state.serves()).count();
    let state = match serving {
        0 => all()
            .map(|status| status.state)
            .min_by_key(|state| match state {
                // On the way out as long as one is, and no verdict as long as one may still serve.
                State::Draining => 0,
                State::Loading | State::Initializing => 1,
                State::Failed => 2,
                State::Stopped | State::Ready | State::Degraded => 3,
            })
            .unwrap_or(first.state),
        _ if all().all(|status| status.state == State::Ready) => State::Ready,
        _ => State::Degraded,
    };
    let reason = match state {
        State::Degraded | State::Failed => {
            let mut reason = format!("{serving} of {} endpoints serve", entries.len());
            for (index, status) in all().enumerate() {
                if let Some(why) = &status.reason {
                    // Most begin with the endpoint already.
                    let name = names(index);
                    let why = why.strip_prefix(&name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(why);
                    let _ = write!(reason, "; {name}: {why}");
                }
            }
            Some(reason)
        }
        _ => all().find(|status| status.state == state).and_then(|status| status.reason.clone()),
    };
    Status {
        state,
        reason,
        since: first.since,
        next_retry: all().filter_map(|status| status.next_retry).min(),
        operations: first.operations.clone(),
        description: first.description.clone(),
        protocol: first.protocol,
    }
}

/// What an instance counted at one endpoint. What was added up never falls because a process began anew: to a
/// monitoring system the sum over several of them would seem to have begun anew, and to have counted all of
/// the others' again.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// What processes that are gone had counted.
    before: Metrics,
    /// What the last one said.
    last: Option<Metrics>,
    /// It is still there, as far as is known.
    runs: bool,
}

impl Counts {
    pub(super) fn set(&mut self, metrics: Option<Metrics>) {
        self.runs = metrics.is_some();
        let Some(metrics) = metrics else { return };
        if let Some(last) = self.last.replace(metrics)
            && self.last.as_ref().is_some_and(|now| now.requests_total < last.requests_total)
        {
            add(&mut self.before, &last, false);
        }
    }

    fn now(&self) -> Option<&Metrics> {
        self.last.as_ref().filter(|_| self.runs)
    }
}

/// The sum over all seats; `None` while none of them counts.
pub(super) fn sum(entries: &[Entry]) -> Option<Metrics> {
    if let [Entry { counts, .. }] = entries {
        // The one process there is: when it begins anew, so do its counts, which is what its plugin says.
        return counts.now().cloned();
    }
    entries.iter().any(|entry| entry.counts.runs).then(|| {
        let mut sum = Metrics::default();
        for Entry { counts, .. } in entries {
            add(&mut sum, &counts.before, false);
            if let Some(last) = &counts.last {
                add(&mut sum, last, counts.runs);
            }
        }
        sum
    })
}

/// Adds counts up; and, of a process that runs, what it has just now.
#[allow(clippy::cast_precision_loss)] // a mean
fn add(sum: &mut Metrics, more: &Metrics, runs: bool) {
    let requests = sum.requests_total.saturating_add(more.requests_total);
    if requests > 0 {
        // The mean over all of them.
        let (before, now) = (sum.requests_total as f64, more.requests_total as f64);
        sum.latency_ms = (sum.latency_ms * before + more.latency_ms * now) / requests as f64;
    }
    sum.requests_total = requests;
    sum.requests_failed = sum.requests_failed.saturating_add(more.requests_failed);
    sum.queries_executed = sum.queries_executed.saturating_add(more.queries_executed);
    sum.cache_hits = sum.cache_hits.saturating_add(more.cache_hits);
    sum.cache_misses = sum.cache_misses.saturating_add(more.cache_misses);
    if sum.interval_start_ns == 0
        || (more.interval_start_ns > 0 && more.interval_start_ns < sum.interval_start_ns)
    {
        sum.interval_start_ns = more.interval_start_ns;
    }
    if runs {
        sum.connections_active = sum.connections_active.saturating_add(more.connections_active);
        sum.connections_idle = sum.connections_idle.saturating_add(more.connections_idle);
    }
    for (figure, value) in more.custom.iter() {
        if runs || figure.kind == MetricKind::Counter {
            sum.custom.put(figure.clone(), value);
        }
    }
    if runs {
        sum.custom.leave_out(more.custom.left_out());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: State, reason: &str) -> Entry {
        let mut entry = Entry::new();
        entry.status.state = state;
        entry.status.reason = (!reason.is_empty()).then(|| reason.to_owned());
        entry
    }

    fn shown(states: &[State]) -> (State, Option<String>) {
        let entries: Vec<Entry> = states.iter().map(|state| entry(*state, "")).collect();
        let status = together(&entries, |index| format!("e{index}"));
        (status.state, status.reason)
    }

    #[test]
    fn it_serves_while_one_serves_and_fails_when_all_have() {
        use State::{Degraded, Draining, Failed, Initializing, Loading, Ready, Stopped};
        for (states, expected) in [
            (&[Ready, Ready][..], Ready),
            (&[Ready, Failed], Degraded),
            (&[Failed, Ready], Degraded),
            (&[Ready, Loading], Degraded),
            (&[Ready, Degraded], Degraded),
            (&[Degraded, Failed], Degraded),
            // No verdict while one may still come to serve.
            (&[Failed, Loading], Loading),
            (&[Initializing, Failed], Initializing),
            (&[Failed, Failed], Failed),
            (&[Stopped, Draining], Draining),
            (&[Stopped, Stopped], Stopped),
        ] {
            assert_eq!(shown(states).0, expected, "{states:?}");
        }
        assert_eq!(shown(&[Ready, Ready]).1, None);
    }

    #[test]
    fn the_reason_names_each_endpoint_once() {
        let entries =
            [entry(State::Ready, ""), entry(State::Failed, "e1: refused"), entry(State::Failed, "odd")];
        let status = together(&entries, |index| format!("e{index}"));
        assert_eq!(status.reason.as_deref(), Some("1 of 3 endpoints serve; e1: refused; e2: odd"));
    }

    fn said(requests_total: u64, connections_active: u64) -> Option<Metrics> {
        Some(Metrics { requests_total, connections_active, ..Metrics::default() })
    }

    #[test]
    fn sums_of_counts_never_fall_and_what_is_measured_is_that_of_who_runs() {
        let mut entries = [Entry::new(), Entry::new()];
        let total = |entries: &[Entry]| sum(entries).map(|it| (it.requests_total, it.connections_active));
        assert_eq!(total(&entries), None);
        entries[0].counts.set(said(10, 1));
        entries[1].counts.set(said(100, 2));
        assert_eq!(total(&entries), Some((110, 3)));
        // Only its connection was lost.
        entries[1].counts.set(None);
        assert_eq!(total(&entries), Some((110, 1)));
        entries[1].counts.set(said(105, 2));
        assert_eq!(total(&entries), Some((115, 3)));
        // It began anew.
        entries[1].counts.set(None);
        entries[1].counts.set(said(5, 4));
        assert_eq!(total(&entries), Some((120, 5)));
        entries[0].counts.set(None);
        entries[1].counts.set(None);
        assert_eq!(total(&entries), None);
    }
}
