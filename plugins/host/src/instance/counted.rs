//! What an instance says that it counted, as far as the proxy passes it on.

use prism_plugin_abi::{CustomMetrics, Figure, Metrics};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// The most figures of its own that an instance has exported, one by one: what the contract promises a plugin
/// (`prism.plugin.CustomMetrics`), and what a monitoring system keeps for every namespace without being asked.
const MOST_SERIES: usize = 100;

/// How many figures of plugins' own may still be exported, by all instances that share it.
#[derive(Clone, Debug)]
pub struct SeriesBudget(Arc<AtomicUsize>);

impl SeriesBudget {
    /// So many in all.
    #[must_use]
    pub fn new(series: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(series)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self, series: usize) {
        self.0.fetch_add(series, Relaxed);
    }
}

/// What an instance counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// As it said, with at most a hundred figures of its own, and the sums of the others.
    pub metrics: Metrics,
    /// The share of look-ups that a cache answered, between its last two answers; `None` when there were none.
    pub cache_hit_ratio: Option<f64>,
    /// Figures of its own that were not exported one by one, over all of its answers.
    pub left_out: u64,
}

/// What has to be remembered from one answer to the next.
#[derive(Debug)]
pub(crate) struct Tally {
    budget: SeriesBudget,
    /// Those that came first stay, however later answers are ordered: what matters to a monitoring system is
    /// how many series there are over time, not in one answer.
    exported: BTreeSet<Figure>,
    left_out: u64,
    /// Hits and misses.
    cache: (u64, u64),
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Tally {
    pub(crate) fn new(budget: SeriesBudget) -> Self {
        Self { budget, exported: BTreeSet::new(), left_out: 0, cache: (0, 0) }
    }

    /// Leaves its share of the budget to others.
    pub(crate) fn forget(&mut self) {
        self.budget.give_back(std::mem::take(&mut self.exported).len());
    }

    /// The next answer.
    pub(crate) fn take(&mut self, metrics: &Metrics) -> Counted {
        let hits = since(metrics.cache_hits, self.cache.0);
        let misses = since(metrics.cache_misses, self.cache.1);
        self.cache = (metrics.cache_hits, metrics.cache_misses);
        let custom = self.bounded(&metrics.custom);
        self.left_out = self.left_out.saturating_add(custom.left_out());
        Counted {
            metrics: Metrics { custom, ..*metrics },
            cache_hit_ratio: ratio(hits, misses),
            left_out: self.left_out,
        }
    }

    fn bounded(&mut self, said: &CustomMetrics) -> CustomMetrics {
        let mut custom = CustomMetrics::new();
        custom.leave_out(said.left_out());
        for (figure, value) in said.iter() {
            let is_sum = figure.name == CustomMetrics::OVERFLOW;
            if !is_sum && !self.exported.contains(figure) {
                if self.exported.len() >= MOST_SERIES || !self.budget.take() {
                    custom.leave_out(1);
                    custom.put(Figure::overflow(figure.kind), value);
                    continue;
                }
                self.exported.insert(figure.clone());
            }
            custom.put(figure.clone(), value);
        }
        custom
    }
}

/// What was added to a count; one that fell began anew.
fn since(now: u64, before: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

#[allow(clippy::cast_precision_loss)] // a ratio
fn ratio(hits: u64, misses: u64) -> Option<f64> {
    let lookups = hits as f64 + misses as f64;
    (lookups > 0.0).then(|| hits as f64 / lookups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_abi::MetricKind;

    fn cache(cache_hits: u64, cache_misses: u64) -> Metrics {
        Metrics { cache_hits, cache_misses, ..Metrics::default() }
    }

    #[test]
    fn the_hit_ratio_is_that_of_the_last_interval() {
        let mut tally = Tally::new(SeriesBudget::new(1_000));
        assert_eq!(tally.take(&cache(0, 0)).cache_hit_ratio, None);
        assert_eq!(tally.take(&cache(3, 1)).cache_hit_ratio, Some(0.75));
        assert_eq!(tally.take(&cache(3, 1)).cache_hit_ratio, None);
        assert_eq!(tally.take(&cache(3, 9)).cache_hit_ratio, Some(0.0));
        // The plugin's process began anew.
        assert_eq!(tally.take(&cache(1, 1)).cache_hit_ratio, Some(0.5));
        assert_eq!(tally.take(&cache(u64::MAX, u64::MAX)).cache_hit_ratio, Some(0.5));
    }

    fn figures(numbers: impl Iterator<Item = u32>) -> Metrics {
        let mut custom = CustomMetrics::new();
        for number in numbers {
            custom.add(MetricKind::Gauge, &format!("g{number:06}"), [], 1.0);
        }
        Metrics { custom, ..Metrics::default() }
    }

    #[test]
    fn what_came_first_stays_and_the_rest_is_added_up() {
        let mut tally = Tally::new(SeriesBudget::new(1_000));
        let first = tally.take(&figures(500..550));
        assert_eq!((first.metrics.custom.iter().len(), first.left_out), (50, 0));
        // Others come before them by name; that changes nothing for those that were there.
        let more = tally.take(&figures(0..100_000));
        assert_eq!(more.metrics.custom.iter().len(), MOST_SERIES + 1);
        let of = |counted: &Counted, name: &str| {
            let found = counted.metrics.custom.iter().find(|(figure, _)| figure.name == name);
            found.map(|(_, value)| value)
        };
        assert!((500..550).all(|number| of(&more, &format!("g{number:06}")) == Some(1.0)));
        assert_eq!(of(&more, CustomMetrics::OVERFLOW), Some(100_000.0 - 100.0));
        assert_eq!(more.left_out, 100_000 - 100);
        let again = tally.take(&figures(0..100_000));
        assert_eq!(again.metrics, more.metrics);
        assert_eq!(again.left_out, 2 * more.left_out);
    }

    #[test]
    fn instances_share_what_there_is_and_give_it_back() {
        let budget = SeriesBudget::new(150);
        let mut one = Tally::new(budget.clone());
        let mut other = Tally::new(budget.clone());
        assert_eq!(one.take(&figures(0..200)).left_out, 100);
        assert_eq!(other.take(&figures(0..100)).left_out, 50);
        drop(one);
        // What was left out is not so any more; the count only grows.
        assert_eq!(other.take(&figures(0..100)).left_out, 50);
        assert_eq!(Tally::new(budget.clone()).take(&figures(0..100)).left_out, 50);
        drop(other);
        assert_eq!(Tally::new(budget).take(&figures(0..100)).left_out, 0);
    }

    #[test]
    fn over_time_there_are_no_more_series_than_at_once() {
        let mut tally = Tally::new(SeriesBudget::new(1_000));
        let mut seen = BTreeSet::new();
        for poll in 0..100 {
            let counted = tally.take(&figures(poll * 70..(poll + 1) * 70));
            seen.extend(counted.metrics.custom.iter().map(|(figure, _)| figure.name.clone()));
        }
        assert_eq!(seen.len(), MOST_SERIES + 1);
    }
}
