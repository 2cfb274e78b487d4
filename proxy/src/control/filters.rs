//! Files that filters go by, looked at before anything runs.

use super::transport::check_tls;
use prism_config::{Config, FilterOverride, TargetAddress};
use prism_filters::{
    FilterType,
    audit::{self, Audit},
    auth::{self, Auth},
    authz::{self, Authz},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{path::Path, time::SystemTime};

/// What is wrong with them, wherever a filter has settings: where, and what. Blocks.
pub(super) fn check(config: &Config, base_dir: &Path, now: SystemTime) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let listed = listener.filters.iter().enumerate().map(|(place, filter)| {
            (format!("listeners[{index}].filters[{place}]"), &filter.name, &filter.settings)
        });
        let overrides = listener.routes.iter().enumerate().flat_map(|(number, route)| {
            let path = format!("listeners[{index}].routes[{number}].filters");
            route.filters.0.iter().filter_map(move |(name, settings)| match settings {
                FilterOverride::Settings(settings) => Some((path.clone(), name, settings)),
                FilterOverride::Off => None,
            })
        });
        for (path, name, settings) in listed.chain(overrides) {
            let wrong = of_filter(name, settings, base_dir, now);
            found.extend(wrong.into_iter().map(|(key, error)| (format!("{path}.{name}.{key}"), error)));
        }
    }
    found
}

/// What is wrong with those of one filter: under which of its keys, and what.
fn of_filter(name: &str, settings: &Value, base_dir: &Path, now: SystemTime) -> Vec<(String, String)> {
    match name {
        Audit::NAME => read::<audit::Settings>(settings)
            .and_then(|settings| settings.check_key(base_dir).err())
            .map(|error| ("key".to_owned(), error.to_string()))
            .into_iter()
            .collect(),
        Auth::NAME => {
            let wrong = read::<auth::Settings>(settings).map(|settings| settings.check_files(base_dir, now));
            wrong.into_iter().flatten().map(|(key, error)| (key.to_string(), error)).collect()
        }
        Authz::NAME => {
            let external = read::<authz::Settings>(settings).and_then(|settings| settings.external);
            let place = external.map(|external| external.place(base_dir));
            let error = place.and_then(|place| match (&place.address, &place.tls) {
                (TargetAddress::Host(host), Some(tls)) => check_tls(&[host], tls).err(),
                _ => None,
            });
            error.map(|error| ("external.tls".to_owned(), error.to_string())).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Settings as written. What does not fit is refused already.
fn read<S: DeserializeOwned>(settings: &Value) -> Option<S> {
    S::deserialize(settings).ok()
}
