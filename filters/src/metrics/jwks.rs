//! How fresh the keys are that tokens are checked with, as series.
//!
//! Looked up anew for each scrape, so that what is not used any more takes its series along. There is one of each for a
//! listener and an issuer as configured, however many tokens strangers make up.

use super::plugins::{family, sample};
use crate::auth::jwks::Keys;
use prometheus::proto::{
    MetricFamily, MetricType,
    MetricType::{COUNTER, GAUGE},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Whose keys: the listener and the issuer.
type Owner = (Arc<str>, Arc<str>);

/// The keys that are in use, and whose they are.
#[derive(Default)]
pub(super) struct Issuers(Mutex<Vec<(Owner, Weak<Keys>)>>);

/// What a metric has to say of keys; nothing where there is nothing yet.
type Value = fn(&Keys) -> Option<f64>;

const FAMILIES: [(&str, MetricType, &str, Value); 3] = [
    (
        "prism_jwks_age_seconds",
        GAUGE,
        "Time since an issuer's keys were last read or fetched; absent until they first were.",
        |keys| keys.age().map(|age| age.as_secs_f64()),
    ),
    ("prism_jwks_failures_total", COUNTER, "Times an issuer's keys could not be read or fetched.", |keys| {
        Some(keys.failures() as f64)
    }),
    ("prism_jwks_keys", GAUGE, "An issuer's keys that are in use.", |keys| {
        Some(keys.current().as_ref().map_or(0, |set| set.keys().count()) as f64)
    }),
];

impl Issuers {
    pub(super) fn add(&self, listener: &str, issuer: &str, keys: &Arc<Keys>) {
        let owner = (listener.into(), issuer.into());
        let keys = Arc::downgrade(keys);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, keys)| keys.strong_count() > 0);
        // Filters are built anew on keys that stay.
        if !all.iter().any(|(other, there)| *other == owner && there.ptr_eq(&keys)) {
            all.push((owner, keys));
        }
    }

    /// Each issuer's. A configuration that is tried has keys of its own beside those in use, and routes may have some: the last
    /// that were added and are still there count, so that the series go back when a configuration is refused.
    fn current(&self) -> BTreeMap<Owner, Arc<Keys>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, keys)| keys.strong_count() > 0);
        all.iter().filter_map(|(owner, keys)| Some((owner.clone(), keys.upgrade()?))).collect()
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let current = self.current();
        let families = FAMILIES.map(|(name, kind, help, value)| {
            let samples = current.iter().filter_map(|((listener, issuer), keys)| {
                let labels = [("issuer", issuer), ("listener", listener)];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_string()));
                Some(sample(kind, labels.into(), value(keys)?))
            });
            family(name, kind, help, samples.collect())
        });
        // The format has no metric without a sample.
        families.into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::{auth::jwks::Keys, metrics::Metrics};
    use prism_platform::Platform;
    use serde_json::json;
    use std::{fs, path::Path, sync::Arc};

    /// A file with as many keys.
    fn open(folder: &Path, name: &str, keys: usize) -> Arc<Keys> {
        let key = |id| json!({"kty": "OKP", "crv": "Ed25519", "kid": format!("{id}"), "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let set = json!({"keys": (0..keys).map(key).collect::<Vec<_>>()});
        fs::write(folder.join(name), set.to_string()).unwrap();
        let settings = serde_json::from_value(json!({"file": name})).unwrap();
        Keys::open(&settings, &Platform::system(), folder, None).unwrap()
    }

    #[tokio::test]
    async fn series_are_those_of_the_keys_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let shown = || {
            let text = metrics.render(&[]).unwrap();
            let lines = text.lines().filter_map(|line| line.strip_prefix("prism_jwks_keys{"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (one, other) = (open(folder.path(), "a", 1), open(folder.path(), "b", 2));
        for _ in 0..3 {
            metrics.add_keys("edge", "https://id.example", &one);
        }
        metrics.add_keys("edge", "https://other.example", &other);
        metrics.add_keys("inner", "https://id.example", &one);
        let before = [
            r#"issuer="https://id.example",listener="edge"} 1"#,
            r#"issuer="https://other.example",listener="edge"} 2"#,
            r#"issuer="https://id.example",listener="inner"} 1"#,
        ];
        assert_eq!(shown(), before);
        let text = metrics.render(&[]).unwrap();
        assert!(
            text.contains(r#"prism_jwks_failures_total{issuer="https://id.example",listener="edge"} 0"#),
            "{text}"
        );
        assert!(
            text.contains(r#"prism_jwks_age_seconds{issuer="https://id.example",listener="edge"} "#),
            "{text}"
        );
        // A configuration that is tried, and refused.
        let tried = open(folder.path(), "c", 3);
        metrics.add_keys("edge", "https://id.example", &tried);
        assert_eq!(shown()[0], r#"issuer="https://id.example",listener="edge"} 3"#);
        drop(tried);
        assert_eq!(shown(), before);
        drop((one, other));
        assert_eq!(shown(), [""; 0]);
        assert!(!metrics.render(&[]).unwrap().contains("prism_jwks"));
    }
}
