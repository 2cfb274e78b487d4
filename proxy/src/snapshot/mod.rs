//! A snapshot: one version of the configuration, built and ready to serve. Requests load it, a reload swaps
//! it, nothing ever changes it.

mod chains;
mod forward;
mod routes;

pub(crate) use chains::{ChainError, Chains};
pub(crate) use forward::Forward;
pub(crate) use routes::Place;
pub use routes::{Conditions, Route, RouteTable};

use crate::listener::ListenerId;
use bytestring::ByteString;
use foldhash::HashMap;
use prism_config::Config;
use prism_filters::{
    Filter,
    audit::Log,
    authz::{Guarded, Policy},
    metrics::CallMetrics,
};
use prism_plugin_abi::Kind;
use prism_plugin_host::NamespaceSlot;
use std::sync::Arc;

/// One version of everything.
pub struct Snapshot {
    version: u64,
    config: Arc<Config>,
    // Not std's hasher: requests look up what they like, but only the configuration puts anything in, so nobody can
    // make the keys collide.
    listeners: HashMap<ListenerId, Arc<ListenerState>>,
    namespaces: HashMap<ByteString, Arc<Namespace>>,
}

impl Snapshot {
    /// Puts a version together.
    #[must_use]
    pub fn new(
        version: u64,
        config: Arc<Config>,
        listeners: impl IntoIterator<Item = (ListenerId, Arc<ListenerState>)>,
        namespaces: impl IntoIterator<Item = (ByteString, Arc<Namespace>)>,
    ) -> Self {
        let (listeners, namespaces) = (listeners.into_iter().collect(), namespaces.into_iter().collect());
        Self { version, config, listeners, namespaces }
    }

    /// Its number. Versions only grow.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What it was built from.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    pub(crate) fn listener(&self, id: ListenerId) -> Option<&Arc<ListenerState>> {
        self.listeners.get(&id)
    }

    /// Every audit log that a listener writes to, once.
    pub(crate) fn audit_logs(&self) -> Vec<Arc<Log>> {
        let all = self.listeners.values().flat_map(|listener| listener.chains.audit_logs());
        let mut logs: Vec<_> = all.cloned().collect();
        logs.sort_by(|one, other| one.dir().cmp(other.dir()));
        logs.dedup_by(|one, other| Arc::ptr_eq(one, other));
        logs
    }

    /// A namespace by its name.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.namespaces.get(name)
    }

    /// All namespaces, in no order.
    pub fn namespaces(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.namespaces.values()
    }
}

/// What a listener does with requests.
pub struct ListenerState {
    name: Arc<str>,
    routes: RouteTable,
    chains: Chains,
}

impl ListenerState {
    /// A listener's routes and the chains that they use.
    #[must_use]
    pub fn new(name: Arc<str>, routes: RouteTable, chains: Chains) -> Self {
        Self { name, routes, chains }
    }

    /// A listener that serves nothing.
    pub(crate) fn empty(name: &Arc<str>) -> Self {
        Self { name: Arc::clone(name), routes: RouteTable::default(), chains: Chains::default() }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn routes(&self) -> &RouteTable {
        &self.routes
    }

    pub(crate) fn chains(&self) -> &Chains {
        &self.chains
    }

    /// The filters of a request that no route takes: it is authenticated and logged like any other before it
    /// is told that nothing is here.
    pub(crate) fn default_chain(&self) -> &[Arc<dyn Filter>] {
        self.chains.base()
    }
}

/// A namespace, as requests see it.
pub struct Namespace {
    name: ByteString,
    plugin: ByteString,
    max_message_bytes: usize,
    slot: Arc<NamespaceSlot>,
    metrics: Arc<CallMetrics>,
    rules: Option<Arc<Rules>>,
}

impl Namespace {
    /// A namespace whose calls go to what `slot` holds.
    #[must_use]
    pub fn new(
        name: &str,
        plugin: &str,
        max_message_bytes: usize,
        slot: Arc<NamespaceSlot>,
        metrics: Arc<CallMetrics>,
    ) -> Self {
        Self { name: name.into(), plugin: plugin.into(), max_message_bytes, slot, metrics, rules: None }
    }

    /// The same with rules of who may do what.
    #[must_use]
    pub fn guarded_by(mut self, policy: Option<Arc<Policy>>) -> Self {
        let slot = Arc::clone(&self.slot);
        self.rules = policy.map(|policy| Arc::new(Rules { policy, slot }));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ByteString {
        &self.name
    }

    /// Its plugin's name.
    #[must_use]
    pub fn plugin(&self) -> &ByteString {
        &self.plugin
    }

    /// The largest message, either way.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Where its plugin instance is.
    #[must_use]
    pub fn slot(&self) -> &Arc<NamespaceSlot> {
        &self.slot
    }

    pub(crate) fn metrics(&self) -> &Arc<CallMetrics> {
        &self.metrics
    }

    /// Who may do what in it; `None` where it has no rules.
    pub(crate) fn policy(&self) -> Option<&Arc<Policy>> {
        self.rules.as_ref().map(|rules| &rules.policy)
    }

    /// What `authz` judges by; `None` where it has no rules.
    pub(crate) fn guarded(&self) -> Option<Arc<dyn Guarded>> {
        self.rules.clone().map(|rules| rules as Arc<dyn Guarded>)
    }
}

/// A namespace's rules, and what its operations are.
struct Rules {
    policy: Arc<Policy>,
    slot: Arc<NamespaceSlot>,
}

impl Guarded for Rules {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn kind(&self, operation: &str) -> Option<Kind> {
        self.slot.kind(operation)
    }
}
