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

/// The peers that are called by a typed method, and who they are when `Execute` is called.
const TYPED: [(&str, &str); 3] = [
    ("prism-frames-typed", "prism-frames"),
    ("prism-grpc-typed", "prism-grpc"),
    ("prism-builtin-typed", "prism-builtin"),
];

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
        ratio("prism-frames-secured", "haproxy", "4x32", cpu, Bound::AtMost(0.9)),
        ratio("prism-frames-secured", "envoy-secured", "4x32", cpu, Bound::AtMost(0.3)),
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
    for (typed, execute) in TYPED {
        goals.push(ratio(typed, execute, "4x32", cpu, Bound::AtMost(1.05)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{peers, visit::Visit};

    /// Three quiet rounds in which each peer takes so many microseconds of CPU a call at 4 × 32.
    fn visits(cpu: &[(&'static str, f64)]) -> Vec<Visit> {
        let visit = |round, &(peer, us): &(&'static str, f64)| Visit {
            round,
            peer,
            workload: "4x32",
            proxy_us: Some(us),
            ..Visit::default()
        };
        (1..=3).flat_map(|round| cpu.iter().map(move |one| visit(round, one))).collect()
    }

    fn typed_verdicts(cpu: &[(&'static str, f64)]) -> Vec<&'static str> {
        let visits = visits(cpu);
        let goals = all(&Table { visits: &visits });
        let of = |(typed, execute): (&str, &str)| {
            let what = format!("4x32: {typed}, CPU per call ÷ {execute}'s");
            goals.iter().find(|goal| goal.what == what).expect("a goal").verdict()
        };
        TYPED.map(of).to_vec()
    }

    #[test]
    fn a_typed_call_may_cost_a_twentieth_more_than_execute() {
        let measured = [
            ("prism-frames", 10.0),
            ("prism-frames-typed", 10.5),
            ("prism-grpc", 10.0),
            ("prism-grpc-typed", 10.51),
            ("prism-builtin-typed", 9.0),
        ];
        assert_eq!(typed_verdicts(&measured), ["met", "**not met**", "not measured"]);
        assert_eq!(typed_verdicts(&[]), ["not measured"; 3]);
    }

    #[test]
    fn the_goals_of_typed_calls_name_peers_that_there_are() {
        let peers = peers::all();
        for name in TYPED.iter().flat_map(|(typed, execute)| [typed, execute]) {
            assert!(peers.iter().any(|peer| peer.name == *name), "{name}");
        }
    }
}
