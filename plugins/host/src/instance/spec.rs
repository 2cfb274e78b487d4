//! What an instance is built from.

use super::{
    Schemas, SeriesBudget,
    settings::{self, Settings},
};
use crate::{
    InProcessPlugin,
    upstream::{Endpoint, ProtocolChoice, RemoteEndpoint, RemoteTls, Target},
};
use prism_platform::Address;
use prism_plugin_abi::{Credentials, Kind};
use prism_tls::{ClientTls, TlsError};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How a plugin is reached.
#[derive(Clone)]
pub enum Transport {
    /// It lives in this process.
    InProcess(InProcessPlugin),
    /// It is another process, which listens somewhere.
    Process {
        /// Where.
        address: Address,
        /// What its calls are to travel over.
        protocol: ProtocolChoice,
    },
    /// It is one or more processes on other hosts.
    Remote(Remote),
}

/// A plugin on other hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Where: at least one place, and a process of its own at each.
    pub endpoints: Vec<RemoteEndpoint>,
    /// How connections are secured; `None`: not at all.
    pub tls: Option<RemoteTls>,
    /// What its calls are to travel over.
    pub protocol: ProtocolChoice,
}

impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::InProcess(one), Self::InProcess(another)) => one == another,
            (
                Self::Process { address, protocol },
                Self::Process { address: other_address, protocol: other_protocol },
            ) => address == other_address && protocol == other_protocol,
            (Self::Remote(one), Self::Remote(another)) => one == another,
            (Self::InProcess(_) | Self::Process { .. } | Self::Remote(_), _) => false,
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess(plugin) => plugin.fmt(f),
            Self::Process { address, protocol } => write!(f, "Process({address}, {protocol:?})"),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

/// A configured plugin. Namespaces that share one `Arc` of it share each worker's connection to it, so a
/// reload hands on the `Arc` of a plugin that did not change.
#[derive(Debug)]
pub struct PluginSpec {
    name: String,
    transport: Transport,
    operation_kinds: BTreeMap<String, Kind>,
    endpoints: Vec<Arc<Endpoint>>,
    metrics_interval: watch::Sender<Duration>,
}

/// Until somebody says otherwise; the reason is at the configuration's key of that name.
const METRICS_INTERVAL: Duration = Duration::from_secs(10);

impl PluginSpec {
    /// A plugin by its configured name. `operation_kinds` says what its operations do where the plugin
    /// itself cannot say.
    ///
    /// # Errors
    /// A remote plugin's host cannot be a server's name.
    pub fn new(
        name: String,
        transport: Transport,
        operation_kinds: BTreeMap<String, Kind>,
    ) -> Result<Self, TlsError> {
        let targets = match &transport {
            Transport::InProcess(_) => Vec::new(),
            Transport::Process { address, .. } => vec![Target::here(address.clone())],
            Transport::Remote(Remote { endpoints, tls, .. }) => endpoints
                .iter()
                .map(|endpoint| Target::there(endpoint.clone(), tls.as_ref()))
                .collect::<Result<_, _>>()?,
        };
        let endpoints = targets.into_iter().map(|target| Arc::new(Endpoint::new(target))).collect();
        let metrics_interval = watch::Sender::new(METRICS_INTERVAL);
        Ok(Self { name, transport, operation_kinds, endpoints, metrics_interval })
    }

    /// Has its instances asked what they counted this often. Holds at once, for those that run too: none has
    /// to be built anew, so two specifications that differ in nothing else are equal.
    pub fn poll_metrics_every(&self, interval: Duration) {
        self.metrics_interval.send_if_modified(|known| std::mem::replace(known, interval) != interval);
    }

    pub(crate) fn metrics_interval(&self) -> watch::Receiver<Duration> {
        self.metrics_interval.subscribe()
    }

    /// Its configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is reached.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// What its operations do where the plugin itself cannot say.
    #[must_use]
    pub fn operation_kinds(&self) -> &BTreeMap<String, Kind> {
        &self.operation_kinds
    }

    /// Connections to it that ended because it broke the transport's protocol.
    #[must_use]
    pub fn protocol_violations(&self) -> u64 {
        self.endpoints.iter().map(|endpoint| endpoint.violations()).sum()
    }

    /// How often it kept a thread of the proxy's for too long; `None` for one in another process.
    #[must_use]
    pub fn long_polls(&self) -> Option<u64> {
        match &self.transport {
            Transport::InProcess(plugin) => Some(plugin.long_polls()),
            Transport::Process { .. } | Transport::Remote(_) => None,
        }
    }

    /// How its connections are secured, where they are.
    #[must_use]
    pub fn tls(&self) -> Option<&ClientTls> {
        match &self.transport {
            Transport::Remote(Remote { tls: Some(tls), .. }) => Some(&tls.client),
            _ => None,
        }
    }

    /// Where it listens; nowhere, when it lives in this process.
    pub(crate) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// On this host, where trying again costs next to nothing.
    pub(crate) fn is_local(&self) -> bool {
        match &self.transport {
            Transport::InProcess(_) | Transport::Process { address: Address::Unix(_), .. } => true,
            Transport::Process { address: Address::Tcp(address), .. } => address.ip().is_loopback(),
            Transport::Remote(remote) => remote.endpoints.iter().all(RemoteEndpoint::is_local),
        }
    }
}

impl PartialEq for PluginSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.transport == other.transport
            && self.operation_kinds == other.operation_kinds
    }
}

/// One instance of a plugin, as the configuration has it. Two that are equal need no new instance.
#[derive(Clone, PartialEq)]
pub struct InstanceSpec {
    /// Whose it is.
    pub namespace: String,
    /// The namespace's `backend`.
    pub backend_type: String,
    /// The plugin.
    pub plugin: Arc<PluginSpec>,
    /// The namespace's `config`.
    pub config: Settings,
    /// Its secrets.
    pub credentials: Credentials,
    /// The namespace's `operations`: what they do, whatever the plugin says.
    pub operation_kinds: BTreeMap<String, Kind>,
}

impl InstanceSpec {
    /// What a plugin, or somebody else who knows the instance's secrets, says of it, without them.
    pub(crate) fn hide(&self, text: String) -> String {
        settings::without(text, self.credentials.0.values().map(String::as_str).chain(self.config.secrets()))
    }
}

impl fmt::Debug for InstanceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without `config`, where URLs may hold passwords.
        f.debug_struct("InstanceSpec")
            .field("namespace", &self.namespace)
            .field("backend_type", &self.backend_type)
            .field("plugin", &self.plugin.name)
            .finish_non_exhaustive()
    }
}

/// How instances are watched over. Every wait has its deadline here.
#[derive(Clone, Debug)]
pub struct SupervisionOptions {
    /// Between two health checks. Default 5 s: connections report a dead process at once, so this is for
    /// backends that fail behind a live one.
    pub health_interval: Duration,
    /// One health check. Default 2 s: it asks the backend itself.
    pub health_deadline: Duration,
    /// Checks that fail in a row before an instance counts as failed. Default 3: one may be chance.
    pub health_misses: u32,
    /// `GetMetrics`. Default 2 s: it reads counters and asks nobody. How often is the plugin's
    /// ([`PluginSpec::poll_metrics_every`]).
    pub metrics_deadline: Duration,
    /// Figures of their own that all instances together may have exported. Default 10,000: the full hundred of
    /// a hundred instances, a scrape of little more than a megabyte.
    pub custom_series: SeriesBudget,
    /// What plugins' messages are, once for all that say the same.
    pub schemas: Schemas,
    /// `Describe`. Default 5 s: it does no I/O, but a process may just be starting.
    pub describe_deadline: Duration,
    /// `Initialize`. Default 15 s: it may fill a connection pool to a far database.
    pub initialize_deadline: Duration,
    /// First pause after a failure; it doubles up to one of the next two. Default 50 ms.
    pub first_pause: Duration,
    /// Longest pause for a plugin on this host. Default 250 ms: it must serve within a second of its return.
    pub longest_local_pause: Duration,
    /// Longest pause for a plugin elsewhere. Default 5 s: trying costs its network and its host.
    pub longest_remote_pause: Duration,
    /// Pause after the plugin rejected its configuration or credentials. Default 5 s: that is for a person to
    /// mend, or for a backend that learns of a credential late.
    pub rejected_pause: Duration,
    /// What all instances of a change that is made only if they serve ([`NamespaceSlot::hold`]) have together.
    /// Default 30 s: more than one attempt may take, so that whoever waits is told what it failed at.
    ///
    /// [`NamespaceSlot::hold`]: super::NamespaceSlot::hold
    pub decision_deadline: Duration,
    /// What calls on a replaced instance are given to end. Default 30 s.
    pub drain: Duration,
    /// `Shutdown`. Default 5 s.
    pub shutdown_deadline: Duration,
}

impl Default for SupervisionOptions {
    fn default() -> Self {
        Self {
            health_interval: Duration::from_secs(5),
            health_deadline: Duration::from_secs(2),
            health_misses: 3,
            metrics_deadline: Duration::from_secs(2),
            custom_series: SeriesBudget::new(10_000),
            schemas: Schemas::default(),
            describe_deadline: Duration::from_secs(5),
            initialize_deadline: Duration::from_secs(15),
            first_pause: Duration::from_millis(50),
            longest_local_pause: Duration::from_millis(250),
            longest_remote_pause: Duration::from_secs(5),
            rejected_pause: Duration::from_secs(5),
            decision_deadline: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            shutdown_deadline: Duration::from_secs(5),
        }
    }
}
