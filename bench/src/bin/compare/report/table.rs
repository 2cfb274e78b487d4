//! Medians and ratios over the rounds, and which rounds count.

use crate::visit::Visit;

/// One of a visit's figures.
pub(crate) type Figure = fn(&Visit) -> Option<f64>;

/// Share of the two cores' time that the hypervisor may take before a visit is too noisy to count. Steal stretches
/// every latency, and what a guest cannot see it cannot subtract.
pub(crate) const STEAL: f64 = 0.02;
/// The same for programs that do not belong to the comparison: one of them that runs for a tenth of a visit on
/// either core.
pub(crate) const OTHERS: f64 = 0.05;
/// How far the CPU per call of the rounds that count may be apart, as a share of their median, before the median
/// is marked: twice what quiet machines show.
pub(crate) const SPREAD: f64 = 0.15;
/// Fewer quiet rounds than this, and all of them count, marked: a median of two is no median.
const ENOUGH: usize = 3;

/// All visits of a run.
pub(crate) struct Table<'a> {
    pub(crate) visits: &'a [Visit],
}

impl<'a> Table<'a> {
    /// Whether a visit was disturbed too much to count.
    pub(crate) fn is_noisy(visit: &Visit) -> bool {
        visit.steal > STEAL || visit.others > OTHERS
    }

    fn of(&self, peer: &str, workload: &str) -> Vec<&'a Visit> {
        self.visits.iter().filter(|visit| visit.peer == peer && visit.workload == workload).collect()
    }

    /// The visits that count: the quiet ones, if there are enough of them.
    fn counted(&self, peer: &str, workload: &str) -> Vec<&'a Visit> {
        let all = self.of(peer, workload);
        let quiet: Vec<&Visit> = all.iter().copied().filter(|visit| !Self::is_noisy(visit)).collect();
        if quiet.len() >= ENOUGH { quiet } else { all }
    }

    /// What is wrong with the figures of a peer under a workload: `~` for too few quiet rounds, `±` for CPU per
    /// call that differs between rounds.
    pub(crate) fn mark(&self, peer: &str, workload: &str) -> String {
        let counted = self.counted(peer, workload);
        let mut mark = String::new();
        if counted.iter().any(|visit| Self::is_noisy(visit)) {
            mark.push('~');
        }
        let mut cpu: Vec<f64> =
            counted.iter().filter_map(|visit| visit.proxy_us.or(visit.plugin_us)).collect();
        cpu.sort_by(f64::total_cmp);
        if let (Some(least), Some(most), Some(middle)) = (cpu.first(), cpu.last(), median(cpu.clone()))
            && most - least > SPREAD * middle
        {
            mark.push('±');
        }
        mark
    }

    /// The marks of several peers together.
    pub(crate) fn marks(&self, peers: &[&str], workload: &str) -> String {
        let all: String = peers.iter().map(|peer| self.mark(peer, workload)).collect();
        ['~', '±'].into_iter().filter(|mark| all.contains(*mark)).collect()
    }

    /// The median of a figure.
    pub(crate) fn median(&self, peer: &str, workload: &str, figure: Figure) -> Option<f64> {
        median(self.counted(peer, workload).into_iter().filter_map(figure).collect())
    }

    /// The median over the rounds of what `combine` makes of the figures that `peers` had in the same round.
    fn paired<const N: usize>(
        &self,
        peers: [&str; N],
        workload: &str,
        figure: Figure,
        combine: impl Fn([f64; N]) -> f64,
    ) -> Option<f64> {
        let counted = peers.map(|peer| self.counted(peer, workload));
        let value = |peer: usize, round: usize| {
            counted[peer].iter().find(|visit| visit.round == round).and_then(|visit| figure(visit))
        };
        let rounds = counted.first()?.iter().map(|visit| visit.round);
        let combined = rounds.filter_map(|round| {
            let mut values = [0.0; N];
            for (peer, slot) in values.iter_mut().enumerate() {
                *slot = value(peer, round)?;
            }
            Some(combine(values))
        });
        median(combined.filter(|value| value.is_finite()).collect())
    }

    /// A peer's figure divided by another's, round by round, and of that the median.
    pub(crate) fn ratio(&self, peer: &str, base: &str, workload: &str, figure: Figure) -> Option<f64> {
        self.paired([peer, base], workload, figure, |[ours, theirs]| ours / theirs)
    }

    /// CPU per call that a peer adds to the relay's, divided by what HAProxy adds to it.
    pub(crate) fn above_relay(&self, peer: &str, workload: &str) -> Option<f64> {
        let figure = |visit: &Visit| visit.proxy_us;
        self.paired([peer, "haproxy", "relay"], workload, figure, |[ours, theirs, floor]| {
            (ours - floor) / (theirs - floor)
        })
    }
}

/// The middle one; of an even number, the mean of the middle two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(values.len() / 2 - 1).map(|lower| f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(peer: &'static str, round: usize, cpu: f64, others: f64) -> Visit {
        Visit { peer, workload: "4x32", round, proxy_us: Some(cpu), others, ..Visit::default() }
    }

    fn cpu(visit: &Visit) -> Option<f64> {
        visit.proxy_us
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn noisy_rounds_do_not_count_while_enough_are_quiet() {
        let mut visits: Vec<Visit> =
            [10.0, 10.1, 10.2].iter().enumerate().map(|(at, us)| visit("haproxy", at, *us, 0.0)).collect();
        visits.push(visit("haproxy", 3, 99.0, 0.2));
        let table = Table { visits: &visits };
        assert_eq!(table.median("haproxy", "4x32", cpu), Some(10.1));
        assert_eq!(table.mark("haproxy", "4x32"), "");
        let table = Table { visits: &visits[1..] };
        assert_eq!(table.median("haproxy", "4x32", cpu), Some(10.2));
        assert_eq!(table.mark("haproxy", "4x32"), "~±");
        assert_eq!(table.marks(&["nobody", "haproxy", "haproxy"], "4x32"), "~±");
        assert_eq!(table.median("nobody", "4x32", cpu), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine became three times as slow; the ratio did not change.
        let visits: Vec<Visit> = [1.0, 3.0, 3.0]
            .iter()
            .enumerate()
            .flat_map(|(round, slow)| {
                [("relay", 1.0), ("haproxy", 5.0), ("prism-grpc", 3.0)]
                    .map(|(peer, us)| visit(peer, round, us * slow, 0.0))
            })
            .collect();
        let table = Table { visits: &visits };
        assert_eq!(table.ratio("prism-grpc", "haproxy", "4x32", cpu), Some(0.6));
        assert_eq!(table.above_relay("prism-grpc", "4x32"), Some(0.5));
        assert_eq!(table.ratio("prism-grpc", "envoy", "4x32", cpu), None);
    }
}
