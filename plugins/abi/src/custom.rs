//! Figures that only one plugin has, bounded in number and size whoever says them.
//!
//! The same type is what a plugin fills and what the proxy reads a plugin's answer into, so that what is a
//! good name, and how many there may be, is decided once.

use std::collections::BTreeMap;

/// What a figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Grows and shrinks.
    Gauge,
}

/// Which figure. Two with the same are one: their values are added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figure {
    /// What it means.
    pub kind: MetricKind,
    /// Its name, `[a-z][a-z0-9_]*`, or [`CustomMetrics::OVERFLOW`].
    pub name: String,
    /// What tells it from others of its name: names like its own, any text without control characters.
    pub labels: BTreeMap<String, String>,
}

/// Figures that only one plugin has.
///
/// Names are made to fit (`Cache Size` becomes `cache_size`), texts are cut to length, and figures that are
/// none (not finite, a counter below zero, a name without a letter) are left out. Past
/// [`MOST`](Self::MOST), figures are added up under the name [`OVERFLOW`](Self::OVERFLOW).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CustomMetrics {
    figures: BTreeMap<Figure, f64>,
    /// How many of `figures` are not sums of others.
    apart: usize,
    left_out: u64,
}

impl CustomMetrics {
    /// The most figures that are told apart: ten times what a proxy exports of one instance, so that it can
    /// keep to those that it has exported before when a plugin lists them in another order.
    pub const MOST: usize = 1_000;
    /// What the sum of those past the limit is called. No name of a plugin's own can be this.
    pub const OVERFLOW: &'static str = "_overflow";
    /// The longest name, of a figure or a label, in bytes.
    pub const LONGEST_NAME: usize = 100;
    /// The longest value of a label, in bytes: names of things, not texts.
    pub const LONGEST_VALUE: usize = 128;
    /// The most labels of one figure: each multiplies the series that there can be.
    pub const MOST_LABELS: usize = 8;

    /// No figures.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With a figure that only grows.
    #[must_use]
    pub fn counter(self, name: &str, value: f64) -> Self {
        self.with(MetricKind::Counter, name, [], value)
    }

    /// With a figure that grows and shrinks.
    #[must_use]
    pub fn gauge(self, name: &str, value: f64) -> Self {
        self.with(MetricKind::Gauge, name, [], value)
    }

    /// With a figure that is one of several of its name. The values of its labels come from a small, fixed
    /// set: never from keys, users or requests.
    #[must_use]
    pub fn with<'a>(
        mut self,
        kind: MetricKind,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        value: f64,
    ) -> Self {
        self.add(kind, name, labels, value);
        self
    }

    /// Adds a figure, or to the one that there is.
    pub fn add<'a>(
        &mut self,
        kind: MetricKind,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        value: f64,
    ) {
        if name == Self::OVERFLOW {
            return self.put(Figure::overflow(kind), value);
        }
        let Some(name) = fitting(name) else { return self.leave_out(1) };
        let mut fitted = BTreeMap::new();
        for (label, content) in labels {
            match fitting(label) {
                Some(label) if fitted.len() < Self::MOST_LABELS => fitted.insert(label, printable(content)),
                // Without one of its labels it would be another figure.
                _ => return self.leave_out(1),
            };
        }
        self.put(Figure { kind, name, labels: fitted }, value);
    }

    /// Adds figures that are as they should be already.
    pub fn put(&mut self, figure: Figure, value: f64) {
        if !value.is_finite() || (figure.kind == MetricKind::Counter && value < 0.0) {
            return self.leave_out(1);
        }
        let mut figure = figure;
        if figure.name != Self::OVERFLOW && !self.figures.contains_key(&figure) {
            if self.apart < Self::MOST {
                self.apart += 1;
            } else {
                self.leave_out(1);
                figure = Figure::overflow(figure.kind);
            }
        }
        let sum = self.figures.entry(figure).or_insert(0.0);
        // Of two finite numbers, so never NaN.
        *sum = (*sum + value).clamp(f64::MIN, f64::MAX);
    }

    /// Says that there were so many more.
    pub fn leave_out(&mut self, figures: u64) {
        self.left_out = self.left_out.saturating_add(figures);
    }

    /// How many figures were not told apart, or were none.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// There is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.left_out == 0
    }

    /// The figures, in the order of their kinds and names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Figure, f64)> {
        self.figures.iter().map(|(figure, value)| (figure, *value))
    }

    /// With the figures of another instance.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        for (figure, value) in other.figures {
            self.put(figure, value);
        }
        self.leave_out(other.left_out);
        self
    }

    /// As if counting had begun when `before` was said: counters without what they had then.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (figure, value) in &mut since.figures {
            if figure.kind == MetricKind::Counter {
                let was = before.figures.get(figure).copied().unwrap_or(0.0);
                // One that fell began anew.
                *value = if *value < was { *value } else { *value - was };
            }
        }
        since
    }
}

impl Figure {
    /// The sum of figures of a kind that are not told apart.
    #[must_use]
    pub fn overflow(kind: MetricKind) -> Self {
        Self { kind, name: CustomMetrics::OVERFLOW.to_owned(), labels: BTreeMap::new() }
    }
}

/// The name as `[a-z][a-z0-9_]*`; `None` where it has no letter to begin with.
fn fitting(name: &str) -> Option<String> {
    let begin = name.find(|letter: char| letter.is_ascii_alphabetic())?;
    let fitted = name[begin..].chars().take(CustomMetrics::LONGEST_NAME);
    Some(
        fitted
            .map(|letter| match letter.to_ascii_lowercase() {
                fine @ ('a'..='z' | '0'..='9' | '_') => fine,
                _ => '_',
            })
            .collect(),
    )
}

/// The text without control characters, and not longer than it may be.
fn printable(text: &str) -> String {
    let most = CustomMetrics::LONGEST_VALUE;
    let fitting = text.char_indices().take_while(|(at, letter)| at + letter.len_utf8() <= most);
    fitting.map(|(_, letter)| if letter.is_control() { '_' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::{MetricKind::*, *};

    fn names(metrics: &CustomMetrics) -> Vec<&str> {
        metrics.iter().map(|(figure, _)| &*figure.name).collect()
    }

    #[test]
    fn names_are_made_to_fit() {
        for (given, fitted) in [
            ("lag_seconds", "lag_seconds"),
            ("Cache Size", "cache_size"),
            ("__name__", "name__"),
            ("9lives", "lives"),
            ("a\"}\n# TYPE x", "a_____type_x"),
            ("größe", "gr__e"),
            ("_overflow_", "overflow_"),
            (&"x".repeat(5_000), &"x".repeat(100)),
        ] {
            let metrics = CustomMetrics::new().gauge(given, 1.0);
            assert_eq!((names(&metrics), metrics.left_out()), (vec![fitted], 0), "{given}");
        }
        for none in ["", "_", "123", "日本", "\0"] {
            let metrics = CustomMetrics::new().gauge(none, 1.0).with(Gauge, "fine", [(none, "x")], 1.0);
            assert_eq!((metrics.iter().len(), metrics.left_out()), (0, 2), "{none}");
        }
    }

    #[test]
    fn labels_are_made_to_fit() {
        let long = "ü".repeat(1_000);
        let metrics = CustomMetrics::new().with(Gauge, "a", [("Kind", "x\r\n\u{1b}"), ("long", &long)], 1.0);
        let (figure, _) = metrics.iter().next().unwrap();
        assert_eq!(figure.labels["kind"], "x___");
        assert_eq!(figure.labels["long"], "ü".repeat(64));
        let many: Vec<_> = (0..9).map(|label| format!("l{label}")).collect();
        let metrics = CustomMetrics::new().with(Gauge, "a", many.iter().map(|label| (&**label, "")), 1.0);
        assert_eq!((metrics.iter().len(), metrics.left_out()), (0, 1));
    }

    #[test]
    fn what_is_no_figure_is_left_out_and_counted() {
        let metrics = CustomMetrics::new()
            .gauge("a", f64::NAN)
            .gauge("b", f64::INFINITY)
            .gauge("c", f64::NEG_INFINITY)
            .counter("d", -1.0)
            .gauge("e", -1.0)
            .counter("f", 0.0);
        assert_eq!((names(&metrics), metrics.left_out()), (vec!["f", "e"], 4));
    }

    #[test]
    fn the_same_figure_is_added_up_and_stays_finite() {
        let metrics = CustomMetrics::new().gauge("A", f64::MAX).gauge("a", f64::MAX).counter("a", 1.0);
        let values: Vec<_> = metrics.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [1.0, f64::MAX]);
    }

    #[test]
    fn past_the_limit_figures_are_added_up() {
        let mut metrics = CustomMetrics::new();
        for number in 0..100_000 {
            metrics.add(Counter, &format!("c{number}"), [], 2.0);
            metrics.add(Gauge, &format!("g{number}"), [], -1.0);
        }
        assert_eq!(metrics.iter().len(), CustomMetrics::MOST + 2);
        let past = 200_000 - CustomMetrics::MOST as u64;
        assert_eq!(metrics.left_out(), past);
        let sum = |kind| metrics.figures[&Figure::overflow(kind)];
        assert_eq!((sum(Counter), sum(Gauge)), (2.0 * 99_500.0, -99_500.0));
        // A sum of sums is the sum.
        let twice = metrics.clone().plus(metrics.clone());
        assert_eq!((twice.iter().len(), twice.left_out()), (CustomMetrics::MOST + 2, 2 * past));
    }

    #[test]
    fn intervals_have_what_was_added() {
        let at = |count, gauge| CustomMetrics::new().counter("count", count).gauge("gauge", gauge);
        assert_eq!(at(5.0, 7.0).since(&at(3.0, 9.0)), at(2.0, 7.0));
        assert_eq!(at(1.0, 7.0).since(&at(3.0, 9.0)), at(1.0, 7.0));
        assert_eq!(at(1.0, 7.0).since(&CustomMetrics::new()), at(1.0, 7.0));
    }
}
