//! One visit: a peer under a workload, once.

use crate::{
    child::Owned,
    client::{Client, answer},
    error::Error,
    load::{Done, Latency, Load, percentiles},
    peers::{Programs, Running},
    round::Plan,
    sample::{self, Machine, Shares},
    stream::Echoes,
    workload::{Kind, Unary, Workload},
};
use prism_platform::time::sleep;
use serde::Serialize;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long connections are left alone before their memory is counted: buffers that are given back when a
/// connection falls silent are given back within this.
const SILENCE: Duration = Duration::from_millis(500);

/// What a visit showed. Times per call are in microseconds, memory in bytes, shares from 0 to 1.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Visit {
    /// Counted from 1.
    pub(crate) round: usize,
    pub(crate) peer: &'static str,
    pub(crate) workload: &'static str,
    /// Calls answered, or messages echoed, while measuring.
    pub(crate) requests: u64,
    /// How long that took.
    pub(crate) seconds: f64,
    /// Calls or messages a second.
    pub(crate) rate: Option<f64>,
    /// CPU time of the proxy per call or message.
    pub(crate) proxy_us: Option<f64>,
    /// CPU time of the plugin's process per call or message.
    pub(crate) plugin_us: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    /// Peak of the proxy's resident memory.
    pub(crate) peak_rss: Option<f64>,
    /// Growth of the proxy's resident memory per idle connection.
    pub(crate) idle_bytes: Option<f64>,
    /// Share of the two cores' time that the hypervisor took.
    pub(crate) steal: f64,
    /// Share of the two cores' time that strangers used.
    pub(crate) others: f64,
}

/// Who is visited, in which round, with what.
pub(crate) struct Visitor<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) programs: &'a Programs,
    pub(crate) runtime: &'a Runtime,
    pub(crate) round: usize,
}

impl Visitor<'_> {
    /// Checks, warms up, measures.
    pub(crate) fn visit(&self, peer: &Running, workload: &Workload) -> Result<Visit, Error> {
        let visit = match workload.kind {
            Kind::Unary(unary) => self.unary(peer, unary)?,
            Kind::Stream { payload, depth } => self.stream(peer, payload, depth)?,
            Kind::Idle { connections } => self.idle(peer, connections)?,
        };
        Ok(Visit { round: self.round, peer: peer.name, workload: workload.name, ..visit })
    }

    fn unary(&self, peer: &Running, unary: Unary) -> Result<Visit, Error> {
        peer.check(self.runtime, unary.payload)?;
        let load = Load {
            programs: self.programs,
            address: &peer.address,
            call: &peer.call,
            unary,
            folder: &peer.folder,
        };
        let (warm_up, measure) = (self.plan.warm_up.max(unary.least()), self.plan.measure.max(unary.least()));
        let mut calls = load.run(warm_up)?.requests;
        let (done, times, used) = if unary.is_small() {
            // The log costs the core of the load a share of what is measured there: a phase of its own.
            let (done, used) = measured(peer, || load.run(measure))?;
            let (after, times) = load.logged(self.plan.latency)?;
            calls += done.requests + after.requests;
            (done, times, used)
        } else {
            let ((done, times), used) = measured(peer, || load.logged(measure))?;
            calls += done.requests;
            (done, times, used)
        };
        if let Some(receipt) = &peer.receipt {
            receipt.check(peer.name, calls)?;
        }
        Ok(figures(done, &used, latency(peer, &times)?))
    }

    fn stream(&self, peer: &Running, payload: usize, depth: usize) -> Result<Visit, Error> {
        let mut echoes =
            answer(peer.name, self.runtime.block_on(Echoes::open(&peer.address, &peer.call, payload)))?;
        answer(peer.name, self.runtime.block_on(echoes.run(depth, self.plan.warm_up)))?;
        let ((done, times), used) = measured(peer, || {
            answer(peer.name, self.runtime.block_on(echoes.run(depth, self.plan.measure)))
        })?;
        answer(peer.name, self.runtime.block_on(echoes.end()))?;
        Ok(figures(done, &used, latency(peer, &times)?))
    }

    fn idle(&self, peer: &Running, connections: u32) -> Result<Visit, Error> {
        let Some(proxy) = peer.proxy.as_ref().map(Owned::id) else {
            return Ok(Visit::default());
        };
        let settle = || self.runtime.block_on(async { sleep(SILENCE).await });
        let open = |count: u32| {
            let opened = self.runtime.block_on(async {
                let mut clients = Vec::new();
                for _ in 0..count {
                    let mut client = Client::open(&peer.address).await?;
                    client.check(&peer.call, 128).await?;
                    clients.push(client);
                }
                Ok(clients)
            });
            answer(peer.name, opened)
        };
        // What is allocated once, for the first calls, is no connection's.
        let _first = open(10)?;
        settle();
        let before = sample::rss(proxy)?;
        let _idle = open(connections)?;
        settle();
        let after = sample::rss(proxy)?;
        #[allow(clippy::cast_precision_loss)] // some megabytes
        let growth = after.saturating_sub(before) as f64 / f64::from(connections);
        Ok(Visit { idle_bytes: Some(growth), ..Visit::default() })
    }
}

fn latency(peer: &Running, times: &[u32]) -> Result<Latency, Error> {
    percentiles(times).ok_or_else(|| Error::Answer {
        peer: peer.name.to_owned(),
        problem: "nothing was answered while measuring; a longer --seconds may help".to_owned(),
    })
}

/// What a peer used while something was measured.
struct Used {
    /// CPU of the proxy, in nanoseconds.
    proxy: Option<u64>,
    /// CPU of the plugin, in nanoseconds.
    plugin: Option<u64>,
    peak_rss: Option<u64>,
    shares: Shares,
}

fn measured<T>(peer: &Running, work: impl FnOnce() -> Result<T, Error>) -> Result<(T, Used), Error> {
    let (proxy, plugin) = (peer.proxy.as_ref().map(Owned::id), peer.plugin.as_ref().map(Owned::id));
    proxy.map(sample::reset_peak).transpose()?;
    let machine = Machine::now()?;
    let cpu = |process: Option<u32>| process.map(sample::cpu_nanos).transpose();
    let before = (cpu(proxy)?, cpu(plugin)?);
    let done = work()?;
    let spent = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
    let (proxy_nanos, plugin_nanos) = (spent(before.0, cpu(proxy)?), spent(before.1, cpu(plugin)?));
    let used = proxy_nanos.unwrap_or(0) + plugin_nanos.unwrap_or(0);
    let used = Used {
        proxy: proxy_nanos,
        plugin: plugin_nanos,
        peak_rss: proxy.map(sample::peak_rss).transpose()?,
        shares: Machine::now()?.since(&machine, used),
    };
    Ok((done, used))
}

#[allow(clippy::cast_precision_loss)] // counts and nanoseconds of a few seconds
fn figures(done: Done, used: &Used, latency: Latency) -> Visit {
    let per_call = |nanos: u64| nanos as f64 / 1e3 / done.requests.max(1) as f64;
    Visit {
        requests: done.requests,
        seconds: done.seconds,
        rate: Some(done.requests as f64 / done.seconds),
        proxy_us: used.proxy.map(per_call),
        plugin_us: used.plugin.map(per_call),
        p50_us: Some(f64::from(latency.p50)),
        p99_us: Some(f64::from(latency.p99)),
        p999_us: Some(f64::from(latency.p999)),
        peak_rss: used.peak_rss.map(|bytes| bytes as f64),
        steal: used.shares.steal,
        others: used.shares.others,
        ..Visit::default()
    }
}
