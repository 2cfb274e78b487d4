//! The admin interface's settings, and those of shutting down.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{schema::Address, units::Duration};

/// Where the proxy is watched and controlled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The TCP address of the read-only endpoints. On loopback by default: what they show (names of
    /// namespaces, backends, versions) is for operators.
    #[schemars(with = "Address")]
    pub address: SocketAddr,
    /// The unix socket, mode 0600, that also changes things. Relative to the configuration file.
    pub socket: PathBuf,
    /// Which namespaces must be up for `/ready` to say yes.
    pub ready: Ready,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50052)),
            socket: PathBuf::from("./run/admin.sock"),
            ready: Ready::default(),
        }
    }
}

/// When the proxy counts as ready: `any`, `all`, or a list of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "ReadyForm", into = "ReadyForm")]
pub enum Ready {
    /// When any namespace is up, or there is none. The default: one tenant's backend that is away must
    /// not take the proxy away from all others.
    #[default]
    Any,
    /// When every namespace is up.
    All,
    /// When these namespaces are up.
    Names(Vec<String>),
}

/// How [`Ready`] is written.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ReadyForm {
    Rule(ReadyRule),
    Names(#[schemars(length(min = 1))] Vec<String>),
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReadyRule {
    /// Any namespace is up.
    Any,
    /// Every namespace is up.
    All,
}

impl From<ReadyForm> for Ready {
    fn from(form: ReadyForm) -> Self {
        match form {
            ReadyForm::Rule(ReadyRule::Any) => Self::Any,
            ReadyForm::Rule(ReadyRule::All) => Self::All,
            ReadyForm::Names(names) => Self::Names(names),
        }
    }
}

impl From<Ready> for ReadyForm {
    fn from(ready: Ready) -> Self {
        match ready {
            Ready::Any => Self::Rule(ReadyRule::Any),
            Ready::All => Self::Rule(ReadyRule::All),
            Ready::Names(names) => Self::Names(names),
        }
    }
}

/// How the proxy goes away: on SIGTERM, and for listeners that a reload removes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long calls in flight may take to finish before they are cut. 30 s is what process managers
    /// commonly grant before they kill. `0s` cuts at once.
    #[schemars(extend("minimum" = 0))]
    pub timeout: Duration,
    /// How long a closed connection still reads and discards what its client had under way, so that
    /// the last answer is not lost to a reset (RFC 9112, section 9.6). One second is several round
    /// trips around the world. `0s` does not linger.
    #[schemars(extend("minimum" = 0))]
    pub linger: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: Duration::seconds(30), linger: Duration::seconds(1) }
    }
}
