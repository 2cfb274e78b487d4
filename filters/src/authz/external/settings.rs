//! Settings of the authorizer.

use crate::{ServicePlace, fields::is};
use http::HeaderName;
use prism_config::{Duration, SettingProblem, TargetAddress, UpstreamTls};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::Path;

/// The longest that a call may wait for an authorizer: what is longer is an outage of everything behind it.
const MOST_TIMEOUT: u64 = 10;

/// An authorizer in another process, asked by Envoy's `ext_authz` protocol, version 3, over gRPC.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ExternalAuthorizer")]
pub struct Settings {
    /// Where it listens: `HOST:PORT`, or `unix:PATH` for a unix socket (relative to the configuration file).
    pub address: TargetAddress,
    /// How connections to it are secured. On another host it must be written, `{ enabled: false }` too.
    #[serde(default)]
    #[schemars(with = "UpstreamTls")]
    pub tls: Option<UpstreamTls>,
    /// How long a call waits for its answer, connecting included, 1 ms to 10 s. Then the call is refused
    /// (`AUTHZ_UNAVAILABLE`). 200 ms as Envoy has it: an answer from the same network takes a few.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Headers of the call that it is told. None by default: what is not named does not leave the proxy. Credentials are
    /// never among them.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub headers: Vec<String>,
    /// Claims of the caller that it is told, in `metadata_context` under `prism.caller`. Named as in the `claims` of access
    /// rules.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub claims: Vec<String>,
}

const fn timeout() -> Duration {
    Duration::millis(200)
}

/// What holds a credential, whoever put it there.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

impl Settings {
    /// Where it listens, its paths made absolute.
    #[must_use]
    pub fn place(&self, base_dir: &Path) -> ServicePlace {
        let address = match &self.address {
            TargetAddress::Unix(path) => TargetAddress::Unix(base_dir.join(path)),
            at @ TargetAddress::Host(_) => at.clone(),
        };
        let tls = self.tls.clone().and_then(|tls| tls.resolved(&|path| base_dir.join(path)));
        ServicePlace { address, tls }
    }

    /// What is wrong with them.
    pub(in crate::authz) fn check(&self) -> Vec<SettingProblem> {
        let problem = |message: String, hint: &str| SettingProblem::new("external", message).hint(hint);
        let mut problems = Vec::new();
        let tls = match self.address.tls_fault(self.tls.is_some(), "an authorizer") {
            Some(fault) => vec![fault],
            None => self.tls.as_ref().map(UpstreamTls::faults).unwrap_or_default(),
        };
        problems.extend(tls.into_iter().map(|fault| problem(fault.message, &fault.hint)));
        if !(1..=MOST_TIMEOUT * 1000).contains(&self.timeout.get().as_millis().try_into().unwrap_or(u64::MAX))
        {
            problems.push(problem("`timeout` is not within 1 ms and 10 s".into(), "such as `200ms`"));
        }
        for name in &self.headers {
            if HeaderName::try_from(name.as_str()).is_err() {
                problems
                    .push(problem(format!("`headers`: `{name}` is no header's name"), "such as `x-tenant`"));
            }
            if CREDENTIALS.iter().any(|credential| is(&name.to_ascii_lowercase(), credential)) {
                problems.push(problem(
                    format!("`headers`: `{name}` holds a credential, and those are told to nobody"),
                    "let `auth` judge it, and name claims in `claims`",
                ));
            }
        }
        problems
    }
}
