//! When the certificates and revocation lists of listeners end, as series.
//!
//! Looked up anew for each scrape, so that what was renewed, or is gone, is not shown any more.

use super::plugins::{family, sample};
use prism_tls::{Expiry, ServerTls};
use prometheus::proto::{MetricFamily, MetricType::GAUGE};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::SystemTime,
};

const SECONDS_A_DAY: f64 = 86_400.0;

/// What listeners encrypt their connections with, by their names.
#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<Arc<str>, Weak<ServerTls>>>);

impl Listeners {
    pub(super) fn set(&self, listener: &Arc<str>, tls: Option<&Arc<ServerTls>>) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match tls {
            Some(tls) => listeners.insert(Arc::clone(listener), Arc::downgrade(tls)),
            None => listeners.remove(listener),
        };
    }

    /// Each with what is in use now. Those that are gone are forgotten.
    fn current(&self) -> Vec<(Arc<str>, Arc<ServerTls>)> {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|_, tls| tls.strong_count() > 0);
        listeners.iter().filter_map(|(name, tls)| Some((Arc::clone(name), tls.upgrade()?))).collect()
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let current = self.current();
        let of = |label: &str, ends: fn(&ServerTls) -> Vec<Expiry>, value: fn(&Expiry) -> f64| {
            let samples = current.iter().flat_map(|(listener, tls)| {
                // A file may stand there twice, and a series may not.
                let files: BTreeMap<_, _> =
                    ends(tls).into_iter().map(|end| (end.path.clone(), end)).collect();
                files.into_values().map(|end| {
                    let labels =
                        [("listener", listener.to_string()), (label, end.path.display().to_string())];
                    sample(GAUGE, labels.map(|(name, value)| (name.to_owned(), value)).into(), value(&end))
                })
            });
            samples.collect::<Vec<_>>()
        };
        let families = [
            family(
                "prism_tls_certificate_expiry_timestamp_seconds",
                GAUGE,
                "When a listener's own certificate ends, in seconds since 1970.",
                of("certificate", ServerTls::certificates, timestamp),
            ),
            family(
                "prism_tls_certificate_expiry_days",
                GAUGE,
                "Days until a listener's own certificate ends; negative once it has.",
                of("certificate", ServerTls::certificates, |end| end.seconds_left() / SECONDS_A_DAY),
            ),
            family(
                "prism_tls_crl_expiry_timestamp_seconds",
                GAUGE,
                "When a listener's revocation list ends, in seconds since 1970.",
                of("crl", ServerTls::revocation_lists, timestamp),
            ),
        ];
        // The format has no metric without a sample.
        families.into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

fn timestamp(end: &Expiry) -> f64 {
    end.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
