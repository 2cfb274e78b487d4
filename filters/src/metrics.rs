//! What the proxy counts. Handles are looked up once, when a snapshot is built; a request only adds to
//! them.
//!
//! One registry per proxy, not per process: two proxies in one test must not see each other's numbers.
//! Histograms have fixed buckets, so they take the same memory after a day as after a minute.

mod jwks;
mod plugins;
mod tls;

pub use plugins::{PluginCounts, PluginReport, RemoteReport};

use crate::{Code, Reason, auth::jwks::Keys};
use prism_tls::ServerTls;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::{fmt, sync::Arc};

/// Buckets of request durations, in seconds: from below what a call to memory takes to beyond any deadline
/// that is likely to be met.
const DURATION_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The label of calls that are for no namespace of ours: whatever name they gave, it is one series.
const NO_NAMESPACE: &str = "(none)";

/// Everything that one proxy counts.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGaugeVec,
    sent_bytes: IntCounterVec,
    rejections: Vec<IntCounter>,
    none: Arc<CallMetrics>,
    connections: IntGaugeVec,
    connections_total: IntCounterVec,
    connections_refused: IntCounterVec,
    tls_handshakes_failed: IntCounterVec,
    tls_failed_renewals: IntCounterVec,
    tls_clients_refused: IntCounterVec,
    tls: tls::Listeners,
    jwks: jwks::Issuers,
    authz_shadow_denied: IntCounterVec,
    authz_external: IntCounterVec,
    authz_external_durations: HistogramVec,
    admin_refused: IntCounterVec,
    audit_records: IntCounterVec,
    audit_dropped: IntCounterVec,
    audit_refused: IntCounterVec,
    audit_sequence: IntGaugeVec,
    audit_failing: IntGaugeVec,
    /// Lines that the access log could not take.
    pub access_log_dropped: IntCounter,
    /// The version of the running configuration.
    pub config_version: IntGauge,
    /// Plugin libraries that this process has loaded; none is ever unloaded.
    pub library_generations: IntGauge,
    /// Configurations that were taken.
    pub config_accepted: IntCounter,
    /// Configurations that were refused.
    pub config_rejected: IntCounter,
}

/// What is counted of the calls to one namespace.
#[derive(Debug)]
pub struct CallMetrics {
    by_code: Vec<IntCounter>,
    duration: Histogram,
    in_flight: IntGauge,
    sent_bytes: IntCounter,
}

impl CallMetrics {
    /// A call began.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// A call is over.
    pub fn end(&self, code: Code, seconds: f64, sent_bytes: u64) {
        self.in_flight.dec();
        self.by_code[code as usize].inc();
        self.duration.observe(seconds);
        self.sent_bytes.inc_by(sent_bytes);
    }
}

/// What is counted of one listener's connections.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    /// Open now.
    pub open: IntGauge,
    /// Ever accepted.
    pub accepted: IntCounter,
    /// Closed at once because the listener had its fill.
    pub refused: IntCounter,
    /// Ended in the TLS handshake, after their first byte.
    pub tls_failed: IntCounter,
    /// Times that its certificates had changed and could not be used.
    pub tls_failed_renewals: IntCounter,
    /// Ended because their client would not be let in any more.
    pub clients_refused: IntCounter,
}

/// What is counted of one listener's questions to an authorizer.
#[derive(Clone, Debug)]
pub struct ExternalMetrics {
    /// It allowed the call.
    pub allowed: IntCounter,
    /// It did not.
    pub denied: IntCounter,
    /// It could not be asked, or answered what makes no sense.
    pub failed: IntCounter,
    /// How long each took.
    pub duration: Histogram,
}

/// What is counted of one audit log.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    /// Records that are in it.
    pub records: IntCounter,
    /// Records that it had no room for.
    pub dropped: IntCounter,
    /// Calls that were refused because it had no room.
    pub refused: IntCounter,
    /// The number of its last line.
    pub sequence: IntGauge,
    /// Whether it cannot be written just now.
    pub failing: IntGauge,
}

impl Metrics {
    /// A fresh set.
    ///
    /// # Errors
    /// Two metrics of one name: a bug that the first start shows.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let add = Adder(&registry);
        let requests = add.counters("prism_requests_total", "Calls by outcome.", &["namespace", "code"])?;
        let durations = add.durations(
            "prism_request_duration_seconds",
            "From a request's head to the last byte of its answer.",
            &["namespace"],
        )?;
        let in_flight = add.gauges("prism_requests_in_flight", "Calls under way.", &["namespace"])?;
        let sent_bytes =
            add.counters("prism_response_bytes_total", "Payload bytes sent to clients.", &["namespace"])?;
        let rejections =
            add.counters("prism_rejections_total", "Calls that the proxy refused, by reason.", &["reason"])?;
        let accepted = add.counters("prism_config_updates_total", "Configurations offered.", &["result"])?;
        let metrics = Self {
            none: Arc::new(call_metrics(&requests, &durations, &in_flight, &sent_bytes, NO_NAMESPACE)),
            rejections: Reason::ALL
                .iter()
                .map(|reason| rejections.with_label_values(&[reason.name()]))
                .collect(),
            connections: add.gauges("prism_connections_open", "Open client connections.", &["listener"])?,
            connections_total: add.counters(
                "prism_connections_total",
                "Client connections accepted.",
                &["listener"],
            )?,
            connections_refused: add.counters(
                "prism_connections_refused_total",
                "Client connections closed at once because limits.max_connections was reached.",
                &["listener"],
            )?,
            tls_handshakes_failed: add.counters(
                "prism_tls_handshakes_failed_total",
                "Client connections that ended in their TLS handshake, after their first byte.",
                &["listener"],
            )?,
            tls_failed_renewals: add.counters(
                "prism_tls_failed_renewals_total",
                "Times that a listener's TLS files had changed and could not be used.",
                &["listener"],
            )?,
            tls_clients_refused: add.counters(
                "prism_tls_clients_ended_total",
                "Open client connections that were ended because their client would not be let in any more.",
                &["listener"],
            )?,
            authz_shadow_denied: add.counters(
                "prism_authz_shadow_denied_total",
                "Requests that authz would have refused if it were not told to shadow.",
                &["listener"],
            )?,
            authz_external: add.counters(
                "prism_authz_external_total",
                "Questions to the authorizer of a listener's authz, by what became of them.",
                &["listener", "result"],
            )?,
            authz_external_durations: add.durations(
                "prism_authz_external_duration_seconds",
                "From a question to a listener's authorizer to its answer, or to the end of waiting for it.",
                &["listener"],
            )?,
            admin_refused: add.counters(
                "prism_admin_refused_total",
                "Requests that the admin address refused before they were looked at, by why.",
                &["reason"],
            )?,
            audit_records: add.counters(
                "prism_audit_records_total",
                "Records written into an audit log.",
                &["log"],
            )?,
            audit_dropped: add.counters(
                "prism_audit_dropped_total",
                "Records that an audit log had no room for.",
                &["log"],
            )?,
            audit_refused: add.counters(
                "prism_audit_refused_total",
                "Calls refused because an audit log had no room for their record.",
                &["log"],
            )?,
            audit_sequence: add.gauges(
                "prism_audit_sequence",
                "The number of an audit log's last line.",
                &["log"],
            )?,
            audit_failing: add.gauges(
                "prism_audit_failing",
                "1 where an audit log cannot be written just now.",
                &["log"],
            )?,
            access_log_dropped: IntCounter::new(
                "prism_access_log_dropped_total",
                "Access log lines that were not written because the log could not keep up.",
            )?,
            config_version: IntGauge::new("prism_config_version", "Version of the running configuration.")?,
            library_generations: IntGauge::new(
                "prism_plugin_library_generations",
                "Plugin libraries loaded since the start; each load is one for good.",
            )?,
            config_accepted: accepted.with_label_values(&["accepted"]),
            config_rejected: accepted.with_label_values(&["rejected"]),
            tls: tls::Listeners::default(),
            jwks: jwks::Issuers::default(),
            requests,
            durations,
            in_flight,
            sent_bytes,
            registry: registry.clone(),
        };
        registry.register(Box::new(metrics.access_log_dropped.clone()))?;
        registry.register(Box::new(metrics.config_version.clone()))?;
        registry.register(Box::new(metrics.library_generations.clone()))?;
        let build = add.gauges("prism_build_info", "Always 1; the labels say what runs.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(metrics)
    }

    /// The handles of a configured namespace.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Arc<CallMetrics> {
        Arc::new(call_metrics(&self.requests, &self.durations, &self.in_flight, &self.sent_bytes, name))
    }

    /// The handles of calls that are for no namespace of ours.
    #[must_use]
    pub fn no_namespace(&self) -> &Arc<CallMetrics> {
        &self.none
    }

    /// Forgets a namespace that is configured no more; calls still under way on its handles harm nothing.
    pub fn forget_namespace(&self, name: &str) {
        // An absent series is what is wanted.
        for code in codes() {
            let _ = self.requests.remove_label_values(&[name, crate::reject::code_name(code)]);
        }
        let _ = self.durations.remove_label_values(&[name]);
        let _ = self.in_flight.remove_label_values(&[name]);
        let _ = self.sent_bytes.remove_label_values(&[name]);
    }

    /// The handles of a listener's connections.
    #[must_use]
    pub fn listener(&self, name: &str) -> ConnectionMetrics {
        ConnectionMetrics {
            open: self.connections.with_label_values(&[name]),
            accepted: self.connections_total.with_label_values(&[name]),
            refused: self.connections_refused.with_label_values(&[name]),
            tls_failed: self.tls_handshakes_failed.with_label_values(&[name]),
            tls_failed_renewals: self.tls_failed_renewals.with_label_values(&[name]),
            clients_refused: self.tls_clients_refused.with_label_values(&[name]),
        }
    }

    /// States what a listener encrypts its connections with, if it does: when that ends is shown.
    pub fn set_listener_tls(&self, listener: &Arc<str>, tls: Option<&Arc<ServerTls>>) {
        self.tls.set(listener, tls);
    }

    /// States with which keys a listener checks the tokens of an issuer: how fresh they are is shown for as long as they are
    /// in use.
    pub fn add_keys(&self, listener: &str, issuer: &str, keys: &Arc<Keys>) {
        self.jwks.add(listener, issuer, keys);
    }

    /// What a listener's `authz` counts where it only watches.
    #[must_use]
    pub fn authz_shadow_denied(&self, listener: &str) -> IntCounter {
        self.authz_shadow_denied.with_label_values(&[listener])
    }

    /// What a listener's `authz` counts of the authorizer that it asks.
    #[must_use]
    pub fn authz_external(&self, listener: &str) -> ExternalMetrics {
        let result = |result: &str| self.authz_external.with_label_values(&[listener, result]);
        ExternalMetrics {
            allowed: result("allowed"),
            denied: result("denied"),
            failed: result("failed"),
            duration: self.authz_external_durations.with_label_values(&[listener]),
        }
    }

    /// What is counted of requests to the admin address that were refused, by a word that says why.
    #[must_use]
    pub fn admin_refused(&self, reason: &'static str) -> IntCounter {
        self.admin_refused.with_label_values(&[reason])
    }

    /// The handles of an audit log, by the folder that the configuration names.
    #[must_use]
    pub fn audit(&self, log: &str) -> AuditMetrics {
        AuditMetrics {
            records: self.audit_records.with_label_values(&[log]),
            dropped: self.audit_dropped.with_label_values(&[log]),
            refused: self.audit_refused.with_label_values(&[log]),
            sequence: self.audit_sequence.with_label_values(&[log]),
            failing: self.audit_failing.with_label_values(&[log]),
        }
    }

    /// Counts a refusal.
    pub fn rejected(&self, reason: Reason) {
        self.rejections[reason.index()].inc();
    }

    /// Everything, in Prometheus's text format, with what there is to say of plugin instances now.
    ///
    /// # Errors
    /// A metric that the format cannot express: a bug.
    pub fn render(&self, plugins: &[PluginReport<'_>]) -> Result<String, prometheus::Error> {
        let mut families = self.registry.gather();
        families.extend(plugins::families(plugins));
        families.extend(self.tls.families());
        families.extend(self.jwks.families());
        TextEncoder::new().encode_to_string(&families)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn codes() -> impl Iterator<Item = Code> {
    (0..=16).map(Code::from_i32)
}

fn call_metrics(
    requests: &IntCounterVec,
    durations: &HistogramVec,
    in_flight: &IntGaugeVec,
    sent_bytes: &IntCounterVec,
    namespace: &str,
) -> CallMetrics {
    CallMetrics {
        by_code: codes()
            .map(|code| requests.with_label_values(&[namespace, crate::reject::code_name(code)]))
            .collect(),
        duration: durations.with_label_values(&[namespace]),
        in_flight: in_flight.with_label_values(&[namespace]),
        sent_bytes: sent_bytes.with_label_values(&[namespace]),
    }
}

struct Adder<'a>(&'a Registry);

impl Adder<'_> {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn durations(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        let metric = HistogramVec::new(options, labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_and_forgotten() {
        let metrics = Metrics::new().unwrap();
        let calls = metrics.namespace("demo");
        calls.begin();
        calls.end(Code::NotFound, 0.002, 7);
        metrics.rejected(Reason::UnknownNamespace);
        let text = metrics.render(&[]).unwrap();
        for line in [
            r#"prism_requests_total{code="NOT_FOUND",namespace="demo"} 1"#,
            r#"prism_request_duration_seconds_bucket{namespace="demo",le="0.0025"} 1"#,
            r#"prism_requests_in_flight{namespace="demo"} 0"#,
            r#"prism_response_bytes_total{namespace="demo"} 7"#,
            r#"prism_rejections_total{reason="UNKNOWN_NAMESPACE"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        metrics.forget_namespace("demo");
        assert!(!metrics.render(&[]).unwrap().contains("demo"));
    }
}
