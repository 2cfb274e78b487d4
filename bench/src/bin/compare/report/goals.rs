//! What the comparison must show, and whether it does.

use super::table::{Figure, Table};
use crate::workload;

/// One thing to reach.
pub(crate) struct Goal {
    /// What, in words.
    pub(crate) what: String,
    /// As it came out. None: not measured in this run.
    pub(crate) measured: Option<f64>,
    /// What is wrong with the figures that it was made of, as [`Table::mark`] says it.
    pub(crate) mark: String,
    /// As it should be.
    pub(crate) bound: Bound,
}

/// What counts as reached.
#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    /// A figure that is watched, with where it is meant to go.
    Toward(f64),
}

impl Goal {
    /// The verdict in a word or two.
    pub(crate) fn verdict(&self) -> &'static str {
        let Some(measured) = self.measured else { return "not measured" };
        let met = match self.bound {
            Bound::AtMost(most) => measured <= most,
            Bound::AtLeast(least) => measured >= least,
            Bound::Toward(aim) => return if measured <= aim { "there" } else { "on the way" },
        };
        if met { "met" } else { "**not met**" }
    }
}

/// Peers with a proxy between the load and the plugin that understands what it passes on.
const TWO_HOP: [&str; 3] = ["haproxy", "nginx", "envoy"];

/// All of them, in the order of the issue.
pub(crate) fn all(table: &Table<'_>) -> Vec<Goal> {
    let cpu: Figure = |visit| visit.proxy_us;
    let rate: Figure = |visit| visit.rate;
    let ratio = |peer: &str, base: &str, workload: &str, figure: Figure, bound: Bound| {
        let of = if std::ptr::fn_addr_eq(figure, rate) { "calls/s" } else { "CPU per call" };
        Goal {
            what: format!("{workload}: {peer}, {of} ÷ {base}'s"),
            measured: table.ratio(peer, base, workload, figure),
            mark: table.marks(&[peer, base], workload),
            bound,
        }
    };
    let mut goals = vec![
        ratio("prism-frames", "haproxy", "4x32", cpu, Bound::AtMost(0.8)),
        ratio("prism-frames", "haproxy", "4x32", rate, Bound::AtLeast(2.0)),
        ratio("prism-builtin", "haproxy", "4x32", cpu, Bound::AtMost(0.65)),
        ratio("prism-grpc", "haproxy", "4x32", cpu, Bound::AtMost(1.15)),
        ratio("prism-grpc", "envoy", "4x32", cpu, Bound::AtMost(0.35)),
        ratio("prism-grpc", "envoy-filters", "4x32", cpu, Bound::AtMost(0.35)),
        ratio("prism-frames", "haproxy", "64x1", cpu, Bound::AtMost(0.9)),
        ratio("prism-frames", "haproxy", "16x4", cpu, Bound::AtMost(0.9)),
    ];
    for (peer, most) in [("prism-frames", 0.8), ("prism-builtin", 0.6)] {
        let best = TWO_HOP.iter().filter_map(|base| table.ratio(peer, base, "1x1", |visit| visit.p50_us));
        goals.push(Goal {
            what: format!("1x1: {peer}, median latency ÷ the best of {}", TWO_HOP.join(", ")),
            // The best peer is the one that we compare worst with.
            measured: best.max_by(f64::total_cmp),
            mark: table.marks(&[&[peer], &TWO_HOP[..]].concat(), "1x1"),
            bound: Bound::AtMost(most),
        });
    }
    for workload in workload::all().iter().filter(|workload| workload.is_small()) {
        for peer in ["prism-frames", "prism-grpc", "prism-builtin"] {
            goals.push(Goal {
                what: format!("{}: {peer}, CPU above the relay ÷ HAProxy's above it", workload.name),
                measured: table.above_relay(peer, workload.name),
                mark: table.marks(&[peer, "haproxy", "relay"], workload.name),
                bound: Bound::Toward(0.35),
            });
        }
    }
    goals.push(ratio("prism-frames", "nginx", "1MiB", rate, Bound::AtLeast(1.0)));
    goals.push(ratio("prism-frames", "direct", "1MiB", rate, Bound::AtLeast(0.85)));
    for peer in ["prism-frames", "prism-grpc", "prism-builtin"] {
        goals.push(Goal {
            what: format!("idle: {peer}, KiB per connection"),
            measured: table.median(peer, "idle", |visit| visit.idle_bytes).map(|bytes| bytes / 1024.0),
            mark: table.marks(&[peer], "idle"),
            bound: Bound::AtMost(24.0),
        });
    }
    goals
}
