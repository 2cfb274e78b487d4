//! What plugins say of themselves, as series.
//!
//! Made anew for each scrape from what there is, so that a namespace that is gone takes its series along.
//! What a plugin named comes as the value of a label and never as a metric's name: no plugin can take a name
//! of ours, or give one metric two kinds.

use prism_plugin_abi::{CustomMetrics, MetricKind, Metrics};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// What there is to say of a namespace's plugin instance.
#[derive(Clone, Debug)]
pub struct PluginReport<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Its plugin.
    pub plugin: &'a str,
    /// The instance serves.
    pub up: bool,
    /// How often it was asked what it counted, and did not answer.
    pub failed_polls: u64,
    /// How often it kept one of the proxy's threads for too long; `None` for one in another process.
    pub long_polls: Option<u64>,
    /// What there is to say of a plugin on other hosts.
    pub remote: Option<RemoteReport>,
    /// What it counted, where it says so.
    pub counts: Option<PluginCounts<'a>>,
}

/// What there is to say of a plugin on other hosts.
#[derive(Clone, Copy, Debug)]
pub struct RemoteReport {
    /// Its endpoints.
    pub endpoints: u64,
    /// Those where the instance serves.
    pub serving: u64,
    /// How often its files for TLS had changed and could not be used.
    pub failed_renewals: u64,
}

/// What a plugin instance counted.
#[derive(Clone, Debug)]
pub struct PluginCounts<'a> {
    /// Since it began.
    pub metrics: &'a Metrics,
    /// The share of look-ups that a cache answered lately.
    pub cache_hit_ratio: Option<f64>,
    /// Figures of its own that are not told apart.
    pub left_out: u64,
}

/// A sample's value; a value that is no number makes none.
type Value = fn(&PluginReport<'_>) -> Option<f64>;

/// Every metric of a plugin instance except its own figures.
const FAMILIES: [(&str, MetricType, &str, Value); 17] = {
    use MetricType::{COUNTER, GAUGE};
    [
        ("prism_plugin_up", GAUGE, "1 when the namespace's plugin instance serves, else 0.", |report| {
            Some(f64::from(u8::from(report.up)))
        }),
        (
            "prism_plugin_metrics_failures_total",
            COUNTER,
            "GetMetrics calls that failed or were not answered in time.",
            |report| Some(count(report.failed_polls)),
        ),
        (
            "prism_plugin_long_polls_total",
            COUNTER,
            "Times the plugin kept a thread of the proxy's for more than 10 ms.",
            |report| report.long_polls.map(count),
        ),
        ("prism_plugin_endpoints", GAUGE, "Endpoints of a remote plugin.", |report| {
            report.remote.map(|remote| count(remote.endpoints))
        }),
        (
            "prism_plugin_endpoints_serving",
            GAUGE,
            "Endpoints of a remote plugin at which the instance serves.",
            |report| report.remote.map(|remote| count(remote.serving)),
        ),
        (
            "prism_plugin_tls_failed_renewals_total",
            COUNTER,
            "Times a remote plugin's certificates had changed and could not be used.",
            |report| report.remote.map(|remote| count(remote.failed_renewals)),
        ),
        ("prism_plugin_requests_total", COUNTER, "Operations that the instance was asked for.", |report| {
            report.metrics().map(|metrics| count(metrics.requests_total))
        }),
        ("prism_plugin_requests_failed_total", COUNTER, "Of these, those that failed.", |report| {
            report.metrics().map(|metrics| count(metrics.requests_failed))
        }),
        (
            "prism_plugin_latency_seconds",
            GAUGE,
            "Mean time of an operation inside the plugin, since the instance began.",
            |report| {
                let mean = report.metrics().map(|metrics| metrics.latency_ms / 1e3)?;
                (mean.is_finite() && mean >= 0.0).then_some(mean)
            },
        ),
        ("prism_plugin_connections_active", GAUGE, "Backend connections in use.", |report| {
            report.metrics().map(|metrics| count(metrics.connections_active))
        }),
        ("prism_plugin_connections_idle", GAUGE, "Backend connections kept for later.", |report| {
            report.metrics().map(|metrics| count(metrics.connections_idle))
        }),
        ("prism_plugin_queries_total", COUNTER, "Queries sent to the backend.", |report| {
            report.metrics().map(|metrics| count(metrics.queries_executed))
        }),
        ("prism_plugin_cache_hits_total", COUNTER, "Answers that the plugin found in a cache.", |report| {
            report.metrics().map(|metrics| count(metrics.cache_hits))
        }),
        (
            "prism_plugin_cache_misses_total",
            COUNTER,
            "Answers that the plugin did not find in a cache.",
            |report| report.metrics().map(|metrics| count(metrics.cache_misses)),
        ),
        (
            "prism_plugin_cache_hit_ratio",
            GAUGE,
            "Share of cache look-ups that were hits, between the last two polls; absent when there were none.",
            |report| report.counts.as_ref().and_then(|counts| counts.cache_hit_ratio),
        ),
        (
            "prism_plugin_custom_dropped_total",
            COUNTER,
            "Figures of the plugin's own that were added up under the name _overflow, or were none.",
            |report| report.counts.as_ref().map(|counts| count(counts.left_out)),
        ),
        (
            "prism_plugin_start_time_seconds",
            GAUGE,
            "When the instance began to count, in seconds since 1970.",
            |report| {
                let began = report.metrics().map(|metrics| metrics.interval_start_ns)?;
                u64::try_from(began).ok().filter(|began| *began > 0).map(|began| count(began) / 1e9)
            },
        ),
    ]
};

impl PluginReport<'_> {
    fn metrics(&self) -> Option<&Metrics> {
        self.counts.as_ref().map(|counts| counts.metrics)
    }

    fn custom(&self) -> Option<&CustomMetrics> {
        self.metrics().map(|metrics| &metrics.custom)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        [("namespace", self.namespace), ("plugin", self.plugin)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }
}

pub(super) fn families<'a>(reports: &'a [PluginReport<'a>]) -> Vec<MetricFamily> {
    let known = FAMILIES.into_iter().map(|(name, kind, help, value)| {
        let samples = reports.iter().filter_map(|report| Some(sample(kind, report.labels(), value(report)?)));
        family(name, kind, help, samples.collect())
    });
    let own = [
        ("prism_plugin_custom_total", MetricKind::Counter, "What only this plugin counts."),
        ("prism_plugin_custom", MetricKind::Gauge, "What only this plugin measures."),
    ];
    let own = own.into_iter().map(|(name, kind, help)| {
        let of = match kind {
            MetricKind::Counter => MetricType::COUNTER,
            MetricKind::Gauge => MetricType::GAUGE,
        };
        family(name, of, help, reports.iter().flat_map(|report| custom(report, kind, of)).collect())
    });
    // The format has no metric without a sample.
    known.chain(own).filter(|family| !family.get_metric().is_empty()).collect()
}

fn custom(report: &PluginReport<'_>, kind: MetricKind, of: MetricType) -> Vec<Metric> {
    let figures = report.custom().into_iter().flat_map(CustomMetrics::iter);
    figures
        .filter(|(figure, _)| figure.kind == kind)
        .map(|(figure, value)| {
            let mut labels = report.labels();
            labels.insert("name".to_owned(), figure.name.clone());
            for (label, value) in &figure.labels {
                let mut label = label.clone();
                // As Prometheus does where a target's label has the name of one of its own.
                while labels.contains_key(&label) {
                    label.insert_str(0, "exported_");
                }
                labels.insert(label, value.clone());
            }
            sample(of, labels, value)
        })
        .collect()
}

pub(super) fn family(name: &str, kind: MetricType, help: &str, samples: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples);
    family
}

pub(super) fn sample(kind: MetricType, labels: BTreeMap<String, String>, value: f64) -> Metric {
    let pair = |(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name);
        pair.set_value(value);
        pair
    };
    let mut sample = Metric::from_label(labels.into_iter().map(pair).collect());
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        sample.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        sample.set_gauge(gauge);
    }
    sample
}

#[allow(clippy::cast_precision_loss)] // a double is what the format has
const fn count(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report<'a>(metrics: &'a Metrics, cache_hit_ratio: Option<f64>) -> PluginReport<'a> {
        PluginReport {
            namespace: "demo",
            plugin: "cache",
            up: true,
            failed_polls: 2,
            long_polls: Some(8),
            remote: Some(RemoteReport { endpoints: 3, serving: 2, failed_renewals: 4 }),
            counts: Some(PluginCounts { metrics, cache_hit_ratio, left_out: 9 }),
        }
    }

    fn rendered(reports: &[PluginReport<'_>]) -> String {
        super::super::Metrics::new().unwrap().render(reports).unwrap()
    }

    #[test]
    fn everything_that_a_plugin_counts_is_a_series() {
        let custom = CustomMetrics::new().gauge("depth", -2.5).counter("evictions", 3.0).with(
            MetricKind::Gauge,
            "lag_seconds",
            [("topic", "a\"b")],
            0.25,
        );
        let metrics = Metrics {
            requests_total: 10,
            requests_failed: 1,
            latency_ms: 2.5,
            connections_active: 3,
            connections_idle: 4,
            queries_executed: 5,
            cache_hits: 6,
            cache_misses: 7,
            interval_start_ns: 1_500_000_000_000_000_000,
            custom,
        };
        let text = rendered(&[report(&metrics, Some(0.75))]);
        for line in [
            r#"prism_plugin_up{namespace="demo",plugin="cache"} 1"#,
            r#"prism_plugin_metrics_failures_total{namespace="demo",plugin="cache"} 2"#,
            r#"prism_plugin_long_polls_total{namespace="demo",plugin="cache"} 8"#,
            r#"prism_plugin_requests_total{namespace="demo",plugin="cache"} 10"#,
            r#"prism_plugin_requests_failed_total{namespace="demo",plugin="cache"} 1"#,
            r#"prism_plugin_latency_seconds{namespace="demo",plugin="cache"} 0.0025"#,
            r#"prism_plugin_connections_active{namespace="demo",plugin="cache"} 3"#,
            r#"prism_plugin_connections_idle{namespace="demo",plugin="cache"} 4"#,
            r#"prism_plugin_queries_total{namespace="demo",plugin="cache"} 5"#,
            r#"prism_plugin_cache_hits_total{namespace="demo",plugin="cache"} 6"#,
            r#"prism_plugin_cache_misses_total{namespace="demo",plugin="cache"} 7"#,
            r#"prism_plugin_cache_hit_ratio{namespace="demo",plugin="cache"} 0.75"#,
            r#"prism_plugin_custom_dropped_total{namespace="demo",plugin="cache"} 9"#,
            r#"prism_plugin_start_time_seconds{namespace="demo",plugin="cache"} 1500000000"#,
            r#"prism_plugin_custom_total{name="evictions",namespace="demo",plugin="cache"} 3"#,
            r#"prism_plugin_custom{name="depth",namespace="demo",plugin="cache"} -2.5"#,
            r#"prism_plugin_custom{name="lag_seconds",namespace="demo",plugin="cache",topic="a\"b"} 0.25"#,
            "# TYPE prism_plugin_custom gauge",
            "# TYPE prism_plugin_custom_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
    }

    #[test]
    fn what_is_no_number_makes_no_sample() {
        let said =
            [f64::NAN, f64::INFINITY, -1.0].map(|latency_ms| Metrics { latency_ms, ..Metrics::default() });
        for metrics in &said {
            let text = rendered(&[report(metrics, None)]);
            assert!(!text.contains("prism_plugin_cache_hit_ratio"), "{text}");
            assert!(!text.contains("prism_plugin_start_time_seconds"), "{text}");
            assert!(!text.contains("prism_plugin_latency_seconds"), "{text}");
        }
    }

    #[test]
    fn an_instance_that_does_not_count_is_up_all_the_same() {
        let silent = PluginReport {
            namespace: "demo",
            plugin: "cache",
            up: false,
            failed_polls: 0,
            long_polls: None,
            remote: None,
            counts: None,
        };
        let text = rendered(&[silent]);
        let of_plugins = |line: &&str| line.starts_with("prism_plugin_") && line.contains("namespace=");
        assert_eq!(text.lines().filter(of_plugins).count(), 2, "{text}");
        assert_eq!(rendered(&[]).lines().filter(of_plugins).count(), 0);
    }

    #[test]
    fn labels_of_ours_are_not_taken() {
        let labels = [("namespace", "other"), ("plugin", "p"), ("name", "n"), ("exported_name", "e")];
        let custom = CustomMetrics::new().with(MetricKind::Counter, "x", labels, 1.0);
        let metrics = Metrics { custom, ..Metrics::default() };
        let text = rendered(&[report(&metrics, None)]);
        let line = text.lines().find(|line| line.starts_with("prism_plugin_custom_total{")).unwrap();
        for label in [
            r#"{exported_exported_name="n","#,
            r#",exported_name="e","#,
            r#",exported_namespace="other","#,
            r#",exported_plugin="p","#,
            r#",name="x",namespace="demo",plugin="cache"} 1"#,
        ] {
            assert!(line.contains(label), "{label} is missing from {line}");
        }
    }
}
