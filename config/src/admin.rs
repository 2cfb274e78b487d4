//! The admin interface's settings, and those of shutting down.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{schema::Address, units::Duration};

mod access;

pub use access::{AdminClient, AdminHost, AdminRole, AdminTls, AdminToken, TokenDigest};

/// Where the proxy is watched and controlled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The TCP address. It only answers, unless there are `tokens` or `clients`. On loopback by default: what it shows (names of
    /// namespaces, backends, versions) is for operators.
    #[schemars(with = "Address")]
    pub address: SocketAddr,
    /// The unix socket, mode 0600, that also changes things; whoever may open it may do everything. Relative to the
    /// configuration file.
    pub socket: PathBuf,
    /// Which namespaces must be up for `/ready` to say yes.
    pub ready: Ready,
    /// Who may do what over the address, by a token (`Authorization: Bearer TOKEN`). Without any, and without `clients`, it
    /// answers whoever reaches it and changes nothing; with either, every endpoint but `/healthz` and `/ready` asks who is
    /// there. An address that is not on loopback then needs `tls`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub tokens: Vec<AdminToken>,
    /// Who may do what over the address, by a client certificate; `tls` has to ask for them (`client_ca`). Whoever several
    /// entries are about has the highest of their roles. A request with a token goes by the token alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub clients: Vec<AdminClient>,
    /// Whether `/metrics` is for everybody where there are `tokens` or `clients`. By default it is not: the names of namespaces
    /// are in it.
    pub open_metrics: bool,
    /// More hosts that the address is asked for by: names, or IP addresses, without a port. Its own address, `localhost`,
    /// `127.0.0.1` and `[::1]` always are; where it listens on every address of the machine, every IP address is. A request
    /// for another host is refused: it would be that of a web page whose name was pointed here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub hosts: Vec<AdminHost>,
    /// What the address is encrypted with. By default it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AdminTls")]
    pub tls: Option<AdminTls>,
}

impl Admin {
    /// Whether the address asks who is there.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        !self.tokens.is_empty() || !self.clients.is_empty()
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50052)),
            socket: PathBuf::from("./run/admin.sock"),
            ready: Ready::default(),
            tokens: Vec::new(),
            clients: Vec::new(),
            open_metrics: false,
            hosts: Vec::new(),
            tls: None,
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
