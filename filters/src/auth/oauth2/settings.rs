//! Settings of opaque tokens.

use super::super::fetch::Url;
use prism_config::{Duration, Secret, SettingProblem};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{fmt, path::PathBuf};

/// Opaque tokens of one authorization server, which is asked what each is worth (RFC 7662). The principal is
/// `oauth2:ISSUER:SUBJECT`; what else it says are claims for the rules of `access`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OAuth2")]
pub struct Settings {
    /// What the authorization server is called in principals; where an answer has an `iss`, it has to be this.
    pub issuer: String,
    /// Who a token has to be for: one of them has to be the answer's `aud`, or in it. At least one, because a token that any
    /// service takes lets every service act as its caller elsewhere.
    #[schemars(length(min = 1))]
    pub audiences: Vec<String>,
    /// Whom to ask.
    pub introspection: Introspection,
    /// How long a good token is not asked for again, 1 s to 10 minutes; never beyond its `exp`. 30 s by default: a token that is
    /// revoked is good for as long.
    #[serde(default = "remember")]
    pub remember: Duration,
    /// How many good tokens are remembered; 0 remembers none, so that each call is a question. 10,000 by default.
    #[serde(default = "cache_size")]
    #[schemars(range(max = 1_000_000))]
    pub cache_size: u32,
}

/// An introspection endpoint (RFC 7662 section 2).
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Where it is: `https://…`, or `http://…` on this host alone.
    pub url: String,
    /// Who asks: the proxy's own name at the authorization server.
    pub client_id: String,
    /// Its password there, sent as HTTP Basic (RFC 6749 section 2.3.1): a text, or better `{{ secret:NAME }}`.
    pub client_secret: Secret,
    /// PEM file: the authorities of the server, and no others. Relative to the configuration file. Without it those that the
    /// system trusts.
    #[serde(default)]
    #[schemars(with = "String")]
    pub ca_cert: Option<PathBuf>,
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("url", &self.url)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

const fn remember() -> Duration {
    Duration::seconds(30)
}

const fn cache_size() -> u32 {
    10_000
}

pub(in crate::auth) fn check(settings: &Settings, problems: &mut Vec<SettingProblem>, key: &'static str) {
    let mut wrong = |message: String, hint: &str| problems.push(SettingProblem::new(key, message).hint(hint));
    if !(1..=256).contains(&settings.issuer.len()) {
        wrong("`issuer` has 1 to 256 bytes".into(), "such as the server's address");
    }
    if settings.audiences.is_empty() || settings.audiences.iter().any(String::is_empty) {
        wrong("`audiences`: a token has to be for somebody".into(), "the name of this service at the server");
    }
    match settings.introspection.url.parse::<Url>() {
        Err(error) => {
            wrong(format!("`introspection.url`: {error}"), "such as `https://id.example.com/introspect`");
        }
        Ok(url) if !url.is_tls() && settings.introspection.ca_cert.is_some() => {
            wrong(
                "`introspection.ca_cert` does nothing with `http://`".into(),
                "remove it, or use `https://`",
            );
        }
        Ok(_) => {}
    }
    if settings.introspection.client_id.is_empty() || settings.introspection.client_secret.expose().is_empty()
    {
        wrong(
            "`introspection` asks nobody in without a name and a password".into(),
            "set `client_id` and `client_secret`",
        );
    }
    if !(1..=600).contains(&settings.remember.get().as_secs()) {
        wrong("`remember` is not within 1 s and 10 minutes".into(), "such as `30s`");
    }
}
