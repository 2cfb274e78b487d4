//! Building a snapshot: everything that can fail, before anything is changed.

use super::{
    Control, LibraryError, Mode, Refusal,
    libraries::{Libraries, Needed, load_all},
    routes, services,
    tls::{self, ListenerTlsError},
    transport::{tls_error, transport},
};
use crate::{
    edge::Limits,
    listener::{ListenerHandle, ListenerId},
    snapshot::{ChainError, Namespace, Snapshot},
};
use bytestring::ByteString;
use prism_config::{AccessRules, Config, NotLookedUp, OperationKind, PatternError};
use prism_filters::authz::Policy;
use prism_platform::{Address, BindOptions, Listener, time::Instant};
use prism_plugin_abi::{Credentials, Kind};
use prism_plugin_host::{Held, InstanceSpec, NamespaceSlot, PluginSpec, Service, Settings};
use prism_tls::{ServerTls, TlsError};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

/// How long a new plugin instance may take to say how it is before the snapshot goes live without it: long
/// enough for one that is there, so that a call right after a reload is served; short enough that one tenant's
/// slow backend delays nobody's change by much.
const FIRST_VERDICT: Duration = Duration::from_secs(2);

/// Why a valid configuration could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A socket cannot be bound.
    #[error("listener `{name}`: cannot listen on {address}: {source}{}", advice(source))]
    Bind {
        /// The listener.
        name: String,
        /// Where it should listen.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// A filter cannot be built.
    #[error(transparent)]
    Filter(#[from] ChainError),
    /// A route's header matcher is not a header.
    #[error("{path}: `{name}: {value}` is not a header")]
    Header {
        /// Where it stands.
        path: String,
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// A plugin's library cannot be used.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// What a forward route's connections are to be secured with cannot be used.
    #[error("{path}: tls: {source}")]
    Service {
        /// Where it stands.
        path: String,
        /// Why not.
        source: Box<TlsError>,
    },
    /// What a remote plugin's connections are to be secured with cannot be used.
    #[error("plugin `{plugin}`: tls: {source}")]
    Tls {
        /// The plugin.
        plugin: String,
        /// Why not.
        source: Box<TlsError>,
    },
    /// What a listener's connections are to be encrypted with cannot be used.
    #[error(transparent)]
    ListenerTls(#[from] ListenerTlsError),
    /// An access rule's principal is no pattern.
    #[error("{path}: {source}")]
    Access {
        /// Where it stands.
        path: String,
        /// Why not.
        source: PatternError,
    },
    /// A secret that nobody has looked up.
    #[error("{path}: {source}")]
    Secret {
        /// Where it is named.
        path: String,
        /// Which.
        source: NotLookedUp,
    },
    /// A setting that is read once, at the start.
    #[error("`{0}` is read only at the start: restart the proxy to change it, or set it back")]
    NeedsRestart(&'static str),
}

/// What to do about an address that cannot be had.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            " (`ss -ltnp` shows who listens there: stop it, or choose another address)"
        }
        _ => "",
    }
}

impl BuildError {
    /// Where in the configuration, where that is one place.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Bind { .. } => "listeners",
            Self::Filter(error) => &error.path,
            Self::Header { path, .. }
            | Self::Service { path, .. }
            | Self::Access { path, .. }
            | Self::Secret { path, .. } => path,
            Self::ListenerTls(error) => &error.path,
            Self::Library(_) | Self::Tls { .. } => "plugins",
            Self::NeedsRestart(key) => key,
        }
    }
}

/// A snapshot that is ready to be swapped in, and what goes with it.
pub(super) struct Built {
    pub(super) snapshot: Snapshot,
    pub(super) listeners: BTreeMap<SocketAddr, Arc<ListenerHandle>>,
    pub(super) next_listener: u32,
    pub(super) new_sockets: Vec<(Arc<ListenerHandle>, Box<dyn Listener>)>,
    pub(super) new_limits: Vec<(Arc<ListenerHandle>, Limits, usize)>,
    /// What every listener encrypts with, if it does.
    pub(super) tls: Vec<(Arc<ListenerHandle>, Option<Arc<ServerTls>>)>,
    pub(super) libraries: Libraries,
    pub(super) plugins: BTreeMap<String, Arc<PluginSpec>>,
    /// Of forward routes.
    pub(super) services: Vec<Arc<Service>>,
    pub(super) slots: BTreeMap<String, Arc<NamespaceSlot>>,
    /// What the namespaces will have, by their place in the configuration, where that is not decided yet.
    pub(super) held: Vec<(usize, Held)>,
}

/// Refuses changes to what is read once.
pub(super) fn check_restart_only(running: &Config, wanted: &Config) -> Result<(), Refusal> {
    let changed = [
        (running.admin.address != wanted.admin.address, "admin.address"),
        (running.admin.socket != wanted.admin.socket, "admin.socket"),
        (running.admin.tls != wanted.admin.tls, "admin.tls"),
        (running.workers != wanted.workers, "workers"),
        (running.drain.linger != wanted.drain.linger, "drain.linger"),
    ];
    let errors: Vec<_> = changed
        .into_iter()
        .filter(|(changed, _)| *changed)
        .map(|(_, key)| BuildError::NeedsRestart(key))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Refusal::Build(errors)) }
}

pub(super) async fn build(
    control: &Control,
    config: &Arc<Config>,
    version: u64,
    base_dir: &Path,
    needed: Needed,
    mode: Mode,
) -> Result<Built, Refusal> {
    let mut errors = Vec::new();
    let mut listeners = BTreeMap::new();
    let mut next_listener = control.running.next_listener;
    let (mut new_sockets, mut new_limits) = (Vec::new(), Vec::new());
    let mut states = HashMap::new();
    let mut secured = Vec::new();
    let before = control.snapshots.load_full();
    let (clusters, services) =
        services::clusters(control, config).await.map_err(|error| Refusal::Build(vec![error]))?;

    for (index, listener) in config.listeners.iter().enumerate() {
        let limits = Limits::new(listener);
        let max_connections = listener.limits.max_connections;
        let handle = match control.running.listeners.get(&listener.address) {
            Some(running) => {
                new_limits.push((Arc::clone(running), limits, max_connections));
                Arc::clone(running)
            }
            None => {
                let name: Arc<str> = listener.name.as_str().into();
                let id = ListenerId(next_listener);
                next_listener += 1;
                let metrics = control.metrics.listener(&name);
                let handle = Arc::new(ListenerHandle::new(id, name, limits, max_connections, metrics));
                match control.platform.bind(&Address::Tcp(listener.address), BindOptions::default()).await {
                    Ok(socket) => new_sockets.push((Arc::clone(&handle), socket)),
                    Err(source) => errors.push(BuildError::Bind {
                        name: listener.name.clone(),
                        address: listener.address,
                        source,
                    }),
                }
                handle
            }
        };
        match tls::secure(listener, index, base_dir, &handle).await {
            Ok(tls) => secured.push((Arc::clone(&handle), tls)),
            Err(error) => errors.push(error.into()),
        }
        let previous = before.listener(handle.id()).map(|state| state.chains());
        match routes::state(control, listener, index, &config.found, base_dir, previous, &clusters) {
            Ok(state) => {
                states.insert(handle.id(), Arc::new(state));
            }
            Err(error) => errors.push(error),
        }
        listeners.insert(listener.address, handle);
    }
    let policies = policies(config, &before).map_err(|error| errors.push(error)).unwrap_or_default();
    let filled = filled(config).map_err(|error| errors.push(error)).unwrap_or_default();
    if !errors.is_empty() {
        return Err(Refusal::Build(errors));
    }

    // Last of all, because a library cannot be unloaded when something else is wrong: so certificates are read before.
    if needed.is_change() {
        let others = plugins(control, config, &Libraries::default()).await;
        drop(others.map_err(|error| Refusal::Build(vec![error]))?);
    }
    let (limit, deadline) = (config.max_library_generations, control.supervision.describe_deadline);
    let loaded = load_all(needed, &control.generations, limit, deadline).await;
    let generations = control.generations.loaded();
    control.metrics.library_generations.set(i64::try_from(generations).unwrap_or(i64::MAX));
    let libraries = loaded.map_err(|error| Refusal::Build(vec![error]))?;
    let plugins = plugins(control, config, &libraries).await.map_err(|error| Refusal::Build(vec![error]))?;

    // Only what is away can go wrong from here on, and that stops nobody's change who does not ask for it.
    let Namespaces { slots, views, held } =
        namespaces(control, config, &plugins, policies, filled, mode).await;
    let snapshot = Snapshot::new(version, Arc::clone(config), states, views);
    Ok(Built {
        snapshot,
        listeners,
        next_listener,
        new_sockets,
        new_limits,
        tls: secured,
        libraries,
        plugins,
        services,
        slots,
        held,
    })
}

/// Every plugin's specification; one that did not change is the running one, so that its connections stay.
async fn plugins(
    control: &Control,
    config: &Config,
    libraries: &Libraries,
) -> Result<BTreeMap<String, Arc<PluginSpec>>, BuildError> {
    let mut plugins = BTreeMap::new();
    for plugin in &config.plugins {
        let Some(transport) = transport(control, plugin, libraries).await? else { continue };
        let spec = PluginSpec::new(plugin.name.clone(), transport, kinds(&plugin.operations))
            .map_err(|source| tls_error(plugin, source))?;
        let spec = Arc::new(spec);
        let spec = match control.running.plugins.get(&plugin.name) {
            // It hears of another interval when it is decided that there is one.
            Some(running) if **running == *spec => Arc::clone(running),
            _ => {
                spec.poll_metrics_every(plugin.metrics_interval.get());
                spec
            }
        };
        plugins.insert(plugin.name.clone(), spec);
    }
    Ok(plugins)
}

/// The rules of each namespace, compiled; those that did not change are the running ones.
fn policies(config: &Config, before: &Snapshot) -> Result<Vec<Option<Arc<Policy>>>, BuildError> {
    let compiled = config.namespaces.iter().enumerate().map(|(index, namespace)| {
        let running = before.namespace(&namespace.name).and_then(|running| running.policy());
        policy(&namespace.access, running, || format!("namespaces[{index}]"))
    });
    compiled.collect()
}

/// Rules, compiled, of what stands at `path`; `None` where there are none.
pub(super) fn policy(
    rules: &AccessRules,
    running: Option<&Arc<Policy>>,
    path: impl Fn() -> String,
) -> Result<Option<Arc<Policy>>, BuildError> {
    if rules.is_empty() {
        return Ok(None);
    }
    if let Some(same) = running.filter(|running| running.source() == rules) {
        return Ok(Some(Arc::clone(same)));
    }
    let policy = Policy::new(rules).map_err(|(rule, source)| BuildError::Access {
        path: format!("{}.access[{rule}].principal", path()),
        source,
    })?;
    Ok(Some(Arc::new(policy)))
}

/// What an instance is built from, with its secrets.
struct Filled {
    config: Settings,
    credentials: Credentials,
}

/// Each namespace's part of it.
fn filled(config: &Config) -> Result<Vec<Filled>, BuildError> {
    let secrets = &config.found;
    let fill = |(index, namespace): (usize, &prism_config::Namespace)| {
        let at = |key: &str| {
            let path = format!("namespaces[{index}].{key}");
            |source| BuildError::Secret { path, source }
        };
        let written = namespace.config.iter().flat_map(serde_json::Map::values);
        let named = written.flat_map(|value| secrets.named_in(value)).map(str::to_owned);
        let value = match &namespace.config {
            Some(settings) => {
                let filled = settings
                    .iter()
                    .map(|(key, value)| Ok((key.clone(), secrets.value(value)?.into_exposed())));
                filled.collect::<Result<_, _>>().map(serde_json::Value::Object).map_err(at("config"))?
            }
            None => serde_json::Value::Null,
        };
        let credentials = namespace.credentials.iter().map(|(name, written)| {
            Ok((name.to_owned(), secrets.text(written.expose())?.expose().to_owned()))
        });
        let credentials = credentials.collect::<Result<_, _>>().map_err(at("credentials"))?;
        Ok(Filled { config: Settings::with_secrets(value, named), credentials: Credentials(credentials) })
    };
    config.namespaces.iter().enumerate().map(fill).collect()
}

#[derive(Default)]
struct Namespaces {
    slots: BTreeMap<String, Arc<NamespaceSlot>>,
    views: HashMap<ByteString, Arc<Namespace>>,
    held: Vec<(usize, Held)>,
}

/// Every namespace, its slot told what it should hold. Waits a little for new instances, unless all of them have
/// to be there anyway before any takes over.
async fn namespaces(
    control: &Control,
    config: &Config,
    plugins: &BTreeMap<String, Arc<PluginSpec>>,
    policies: Vec<Option<Arc<Policy>>>,
    filled: Vec<Filled>,
    mode: Mode,
) -> Namespaces {
    let mut all = Namespaces::default();
    let each = config.namespaces.iter().enumerate().zip(policies).zip(filled);
    for (((index, namespace), policy), filled) in each {
        let Some(plugin) = plugins.get(&namespace.plugin) else { continue };
        let slot = control.running.slots.get(&namespace.name).cloned().unwrap_or_else(|| {
            Arc::new(NamespaceSlot::new(control.platform.clone(), Arc::clone(&control.supervision)))
        });
        let spec = InstanceSpec {
            namespace: namespace.name.clone(),
            backend_type: namespace.backend.clone(),
            plugin: Arc::clone(plugin),
            config: filled.config,
            credentials: filled.credentials,
            operation_kinds: kinds(&namespace.operations),
        };
        if mode == Mode::RequireHealthy {
            all.held.push((index, slot.hold(spec)));
        } else {
            slot.apply(spec);
        }
        let view = Namespace::new(
            &namespace.name,
            plugin.name(),
            namespace.limits.max_message_bytes.as_usize(),
            Arc::clone(&slot),
            control.metrics.namespace(&namespace.name),
        )
        .guarded_by(policy);
        all.views.insert(namespace.name.as_str().into(), Arc::new(view));
        all.slots.insert(namespace.name.clone(), slot);
    }
    if mode != Mode::RequireHealthy {
        let deadline = Instant::now() + FIRST_VERDICT;
        for slot in all.slots.values() {
            // All of them try at the same time, and one deadline is shared.
            slot.first_verdict(deadline).await;
        }
    }
    all
}

fn kinds(kinds: &BTreeMap<String, OperationKind>) -> BTreeMap<String, Kind> {
    kinds.iter().map(|(name, value)| (name.clone(), kind(*value))).collect()
}

/// What a configuration says an operation does, as plugins say it.
pub(crate) fn kind(configured: OperationKind) -> Kind {
    match configured {
        OperationKind::Read => Kind::Read,
        OperationKind::Write => Kind::Write,
        OperationKind::Admin => Kind::Admin,
    }
}
