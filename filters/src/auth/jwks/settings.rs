//! Where keys come from, as it is configured.

use super::{KeySet, fresh};
use crate::auth::fetch::Url;
use prism_config::{Duration, SettingProblem};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// How often a key set is fetched if nothing else is said. Issuers announce keys hours before they use them, and a key that
/// has to go should be gone in minutes; one small request in that time is no load for anybody.
pub const REFRESH: Duration = Duration::seconds(300);

/// An issuer's public keys (a JSON web key set, RFC 7517): from a `file` or from a `url`, one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Jwks")]
pub struct Settings {
    /// A file with the key set. Relative to the configuration file. It is looked at twice a second.
    #[serde(default)]
    #[schemars(with = "String")]
    pub file: Option<PathBuf>,
    /// Where the key set is fetched: `https://…`, or `http://…` on this host alone. Nothing but this very address is asked:
    /// redirects are not followed, and what a token says of keys is refused.
    #[serde(default)]
    #[schemars(with = "String")]
    pub url: Option<String>,
    /// PEM file: the authorities of the `url`'s server, and no others. Relative to the configuration file. Without it those
    /// that the system trusts.
    #[serde(default)]
    #[schemars(with = "String")]
    pub ca_cert: Option<PathBuf>,
    /// How often the `url` is asked, 30 s to 1 day. By default 5 minutes: issuers announce keys hours before they use them,
    /// and a key that has to go should be gone in minutes. A token with an unknown key asks at once, every 30 s at most.
    #[serde(default)]
    #[schemars(with = "Duration")]
    pub refresh: Option<Duration>,
}

impl Settings {
    /// # Errors
    /// What is wrong with the file, where there is one. Blocks.
    pub(in crate::auth) fn check_file(&self, base_dir: &Path) -> Result<(), String> {
        let Some(file) = &self.file else { return Ok(()) };
        let path = base_dir.join(file);
        let failed = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
        let document = fresh::read(&path).map_err(|error| failed(&error))?;
        KeySet::read(&document).map(drop).map_err(|error| failed(&error))
    }

    /// What is wrong with them, under the key that they stand below.
    #[must_use]
    pub fn check(&self, key: &'static str) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        let mut wrong = |message: String, hint: &str| {
            problems.push(SettingProblem::new(key, message).hint(hint));
        };
        match (&self.file, &self.url) {
            (Some(_), Some(_)) => wrong("`file` and `url` cannot both be used".into(), "keep one of them"),
            (None, None) => wrong("no keys: neither `file` nor `url`".into(), "name the issuer's key set"),
            (Some(_), None) => {
                for (name, there) in
                    [("ca_cert", self.ca_cert.is_some()), ("refresh", self.refresh.is_some())]
                {
                    if there {
                        wrong(format!("`{name}` does nothing with a `file`"), "remove it");
                    }
                }
            }
            (None, Some(url)) => match url.parse::<Url>() {
                Err(error) => wrong(format!("`url`: {error}"), "such as `https://id.example.com/keys`"),
                Ok(url) if !url.is_tls() && self.ca_cert.is_some() => {
                    wrong("`ca_cert` does nothing with `http://`".into(), "remove it, or use `https://`");
                }
                Ok(_) => {}
            },
        }
        if self.refresh.is_some_and(|refresh| !(30..=86_400).contains(&refresh.get().as_secs())) {
            wrong("`refresh` is not within 30 s and 1 day".into(), "such as `5m`");
        }
        problems
    }
}
