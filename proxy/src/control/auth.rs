//! Files of keys that `auth` goes by, looked at before anything runs.

use prism_config::Config;
use prism_filters::{
    FilterType,
    auth::{Auth, Settings},
};
use serde::Deserialize;
use std::{path::Path, time::SystemTime};

/// What is wrong with them: where, and what. Blocks.
pub(super) fn check(config: &Config, base_dir: &Path, now: SystemTime) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        for (place, filter) in listener.filters.iter().enumerate().filter(|(_, it)| it.name == Auth::NAME) {
            // What does not fit is refused already.
            let Ok(settings) = Settings::deserialize(&filter.settings) else { continue };
            let wrong = settings.check_files(base_dir, now);
            let path = format!("listeners[{index}].filters[{place}].{}", Auth::NAME);
            found.extend(wrong.into_iter().map(|(key, error)| (format!("{path}.{key}"), error)));
        }
    }
    found
}
