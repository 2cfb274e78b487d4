//! Rounds: every peer is started anew in each, and every workload visits all of them before the next one does.

use crate::{
    child::{Owned, unless_interrupted},
    error::Error,
    load::{Done, Load},
    peers::{Peer, Programs, Running},
    sample::{self, Machine},
    workload::{Kind, Unary, Workload},
};
use serde::Serialize;
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

/// One visit: a peer under a workload, once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Visit {
    /// Counted from 1.
    pub(crate) round: usize,
    pub(crate) peer: &'static str,
    pub(crate) workload: &'static str,
    /// Calls answered while measuring.
    pub(crate) requests: u64,
    /// How long that took, in seconds.
    pub(crate) seconds: f64,
    /// Calls a second.
    pub(crate) rate: f64,
    /// CPU time of the proxy per call, in microseconds.
    pub(crate) proxy_us: Option<f64>,
    /// CPU time of the plugin's process per call, in microseconds.
    pub(crate) plugin_us: Option<f64>,
    /// Median latency, in microseconds.
    pub(crate) p50_us: Option<f64>,
    /// 99th percentile of the latency, in microseconds.
    pub(crate) p99_us: Option<f64>,
    /// 99.9th percentile of the latency, in microseconds.
    pub(crate) p999_us: Option<f64>,
    /// Peak of the proxy's resident memory, in bytes.
    pub(crate) peak_rss: Option<u64>,
    /// Share of the two cores that the hypervisor took, from 0 to 1.
    pub(crate) steal: f64,
    /// Share of the two cores that strangers used, from 0 to 1.
    pub(crate) others: f64,
}

/// Runs the plan. `seen` is told each visit.
pub(crate) fn run(
    plan: &mut Plan,
    programs: &Programs,
    base: &Path,
    runtime: &Runtime,
    mut seen: impl FnMut(Visit),
) -> Result<Vec<(&'static str, String)>, Error> {
    let mut skipped = Vec::new();
    for round in 1..=plan.rounds {
        let mut running = Vec::new();
        let mut refused = Vec::new();
        for peer in &plan.peers {
            match Running::start(peer, programs, base, runtime) {
                Ok(started) => running.push(started),
                Err(Error::Refused(why)) => refused.push((peer.name, why)),
                Err(error) => return Err(error),
            }
        }
        plan.peers.retain(|peer| refused.iter().all(|(name, _)| *name != peer.name));
        skipped.extend(refused);
        let count = running.len().max(1);
        for (number, workload) in plan.workloads.iter().enumerate() {
            // Another one begins each time, so that nobody always follows the same neighbour's heat.
            running.rotate_left((round + number) % count);
            for peer in &running {
                unless_interrupted()?;
                seen(visit(plan, programs, round, peer, workload, runtime)?);
            }
        }
    }
    Ok(skipped)
}

fn visit(
    plan: &Plan,
    programs: &Programs,
    round: usize,
    peer: &Running,
    workload: &Workload,
    runtime: &Runtime,
) -> Result<Visit, Error> {
    match workload.kind {
        Kind::Unary(unary) => unary_visit(plan, programs, round, peer, workload.name, unary, runtime),
    }
}

fn unary_visit(
    plan: &Plan,
    programs: &Programs,
    round: usize,
    peer: &Running,
    workload: &'static str,
    unary: Unary,
    runtime: &Runtime,
) -> Result<Visit, Error> {
    peer.check(runtime, unary.payload)?;
    let load = Load { programs, address: &peer.address, call: &peer.call, unary, folder: &peer.folder };
    load.run(plan.warm_up)?;
    let (done, used) = measured(peer, || load.run(plan.measure))?;
    let latency = load.latency(plan.latency)?;
    #[allow(clippy::cast_precision_loss)] // counts and microseconds of a few seconds
    Ok(Visit {
        round,
        peer: peer.name,
        workload,
        requests: done.requests,
        seconds: done.seconds,
        rate: done.requests as f64 / done.seconds,
        proxy_us: used.proxy.map(|nanos| nanos as f64 / 1e3 / done.requests as f64),
        plugin_us: used.plugin.map(|nanos| nanos as f64 / 1e3 / done.requests as f64),
        p50_us: Some(latency.p50 as f64),
        p99_us: Some(latency.p99 as f64),
        p999_us: Some(latency.p999 as f64),
        peak_rss: used.peak_rss,
        steal: used.shares.steal,
        others: used.shares.others,
    })
}

/// What a peer used while something was measured.
struct Used {
    /// CPU of the proxy, in nanoseconds.
    proxy: Option<u64>,
    /// CPU of the plugin, in nanoseconds.
    plugin: Option<u64>,
    peak_rss: Option<u64>,
    shares: sample::Shares,
}

fn measured(peer: &Running, work: impl FnOnce() -> Result<Done, Error>) -> Result<(Done, Used), Error> {
    let (proxy, plugin) = (peer.proxy.as_ref().map(Owned::id), peer.plugin.as_ref().map(Owned::id));
    proxy.map(sample::reset_peak).transpose()?;
    let machine = Machine::now()?;
    let cpu = |process: Option<u32>| process.map(sample::cpu_nanos).transpose();
    let before = (cpu(proxy)?, cpu(plugin)?);
    let done = work()?;
    let spent = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
    let (proxy_nanos, plugin_nanos) = (spent(before.0, cpu(proxy)?), spent(before.1, cpu(plugin)?));
    let used = proxy_nanos.unwrap_or(0) + plugin_nanos.unwrap_or(0);
    Ok((
        done,
        Used {
            proxy: proxy_nanos,
            plugin: plugin_nanos,
            peak_rss: proxy.map(sample::peak_rss).transpose()?,
            shares: Machine::now()?.since(&machine, used),
        },
    ))
}
