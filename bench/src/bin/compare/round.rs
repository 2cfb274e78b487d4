//! Rounds: every peer is started anew in each, and every workload visits all of them before the next one does.

use crate::{
    child::unless_interrupted,
    error::Error,
    peers::{Peer, Programs, Running},
    visit::{Visit, Visitor},
    workload::{Kind, Workload},
};
use std::{path::Path, time::Duration};
use tokio::runtime::Runtime;

/// What to measure, and for how long.
pub(crate) struct Plan {
    pub(crate) peers: Vec<Peer>,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) rounds: usize,
    /// Length of what is measured.
    pub(crate) measure: Duration,
    /// Length of the warm-up before it.
    pub(crate) warm_up: Duration,
    /// Length of the phase after it whose latencies are logged.
    pub(crate) latency: Duration,
}

/// Runs the plan. `seen` is told each visit.
pub(crate) fn run(
    plan: &Plan,
    programs: &Programs,
    base: &Path,
    runtime: &Runtime,
    mut seen: impl FnMut(Visit),
) -> Result<(), Error> {
    for round in 1..=plan.rounds {
        let visitor = Visitor { plan, programs, runtime, round };
        let mut running = Vec::new();
        for peer in &plan.peers {
            running.push(Running::start(peer, programs, base, runtime)?);
        }
        for (number, workload) in plan.workloads.iter().enumerate() {
            // Another one begins each time, so that nobody always follows the same neighbour's heat.
            let count = running.len().max(1);
            running.rotate_left((round + number) % count);
            for peer in running.iter().filter(|running| running.peer.takes(workload)) {
                unless_interrupted()?;
                if matches!(workload.kind, Kind::Idle { .. }) {
                    if peer.proxy.is_none() {
                        // It is the proxy's memory that is counted.
                        continue;
                    }
                    // Memory that earlier workloads left behind would be used for the connections first.
                    let fresh = Running::start(&peer.peer, programs, &base.join("idle"), runtime)?;
                    seen(visitor.visit(&fresh, workload)?);
                } else {
                    seen(visitor.visit(peer, workload)?);
                    peer.shorten_logs();
                }
            }
        }
    }
    Ok(())
}
