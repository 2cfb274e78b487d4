//! The control plane: what turns a configuration into a running snapshot, and keeps the two in step.

mod audit;
mod build;
mod decide;
mod file;
mod filters;
mod libraries;
mod queue;
mod report;
mod routes;
mod secrets;
mod services;
mod tls;
mod transport;

pub(crate) use build::{advice, kind};
pub use file::{ConfigFile, watch};
pub use libraries::LibraryError;
pub use queue::{Accepted, ControlHandle, Mode};
pub(crate) use queue::{ControlQueue, queue};
pub(crate) use report::ConfigReport;
pub use report::{Refusal, Unhealthy, log_outcome};
pub(crate) use routes::bare_routes;
pub(crate) use transport::secured_now;

use crate::{
    builtins::Builtins,
    listener::{self, ListenerHandle},
    snapshot::Snapshot,
    worker::WorkerHandle,
};
use arc_swap::ArcSwap;
use libraries::Libraries;
use prism_config::{Config, Places, Problems, Source};
use prism_filters::{Changes, Registry, metrics::Metrics};
use prism_platform::{Platform, time};
use prism_plugin_host::{NamespaceSlot, PluginSpec, Service, SupervisionOptions};
use prism_plugin_loader::Generations;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// What everything that configures has in common.
pub(crate) struct Control {
    pub(crate) platform: Platform,
    pub(crate) filters: Registry,
    pub(crate) builtins: Builtins,
    pub(crate) config_registry: prism_config::Registry,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) changes: Changes,
    pub(crate) supervision: Arc<SupervisionOptions>,
    pub(crate) generations: Arc<Generations>,
    pub(crate) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(crate) report: Arc<ArcSwap<ConfigReport>>,
    secrets: secrets::Watch,
    workers: Arc<[WorkerHandle]>,
    running: Running,
    accepting: JoinSet<()>,
    retiring: JoinSet<()>,
    /// Removed listeners whose connections still have time to end.
    cutting: JoinSet<()>,
}

/// What the running snapshot was made from and what lives longer than it.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) config: Option<Arc<Config>>,
    pub(crate) version: u64,
    pub(crate) listeners: BTreeMap<SocketAddr, Arc<ListenerHandle>>,
    pub(crate) next_listener: u32,
    pub(crate) libraries: Libraries,
    pub(crate) plugins: BTreeMap<String, Arc<PluginSpec>>,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) slots: BTreeMap<String, Arc<NamespaceSlot>>,
}

/// What the control plane needs from the outside.
pub(crate) struct Parts {
    /// Sockets, clock and chance.
    pub platform: Platform,
    /// The filters of this binary.
    pub filters: Registry,
    /// The builtin plugins of this binary.
    pub builtins: Builtins,
    /// What configuration is checked against ([`config_registry`] of the two above).
    pub config_registry: prism_config::Registry,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// Where what filters go by says that it has changed.
    pub changes: Changes,
    /// The slot that snapshots are swapped into.
    pub snapshots: Arc<ArcSwap<Snapshot>>,
    /// Who serves the connections.
    pub workers: Arc<[WorkerHandle]>,
}

impl Control {
    /// A control plane that runs nothing yet.
    #[must_use]
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            platform: parts.platform,
            filters: parts.filters,
            builtins: parts.builtins,
            config_registry: parts.config_registry,
            metrics: parts.metrics,
            changes: parts.changes,
            supervision: Arc::new(SupervisionOptions::default()),
            generations: Arc::default(),
            snapshots: parts.snapshots,
            report: Arc::default(),
            secrets: secrets::Watch::default(),
            workers: parts.workers,
            running: Running::default(),
            accepting: JoinSet::new(),
            retiring: JoinSet::new(),
            cutting: JoinSet::new(),
        }
    }

    /// What is said of the running configuration.
    #[must_use]
    pub(crate) fn report(&self) -> Arc<ArcSwap<ConfigReport>> {
        Arc::clone(&self.report)
    }

    /// Applies a configuration now, for somebody whom the audit log names. Given up when `stop` resolves while plugins are waited for.
    ///
    /// # Errors
    /// What is wrong with it; the running configuration is untouched.
    pub(crate) async fn apply(
        &mut self,
        who: &str,
        source: &Source,
        mode: Mode,
        stop: impl Future<Output = ()>,
    ) -> Result<Accepted, Refusal> {
        let dry_run = mode == Mode::DryRun;
        let before = self.snapshots.load_full();
        let result = self.try_apply(source, mode, stop).await;
        match &result {
            Ok(_) if dry_run => {}
            Ok(accepted) => {
                self.metrics.config_accepted.inc();
                self.metrics.config_version.set(i64::try_from(accepted.version).unwrap_or(i64::MAX));
            }
            Err(_) if dry_run => {}
            Err(refusal) => {
                self.metrics.config_rejected.inc();
                let report = self.report.load().refused(self.platform.wall_clock(), &source.name, refusal);
                self.report.store(Arc::new(report));
            }
        }
        if !dry_run {
            self.audit_applied(&before, who, source, &result).await;
        }
        result
    }

    async fn try_apply(
        &mut self,
        source: &Source,
        mode: Mode,
        stop: impl Future<Output = ()>,
    ) -> Result<Accepted, Refusal> {
        let dry_run = mode == Mode::DryRun;
        let config = prism_config::parse(source, &self.config_registry)?;
        let config = Arc::new(secrets::resolved(config, source).await?);
        let changes = match &self.running.config {
            Some(running) => {
                build::check_restart_only(running, &config)?;
                prism_config::diff(running, &config).iter().map(ToString::to_string).collect()
            }
            None => vec!["first configuration".to_owned()],
        };
        // Also where the text is the same: a library may have been replaced.
        let needed = self.running.libraries.check(&config).await.map_err(Refusal::Build)?;
        if (self.running.config.as_ref() == Some(&config) && !needed.is_change()) || dry_run {
            if !dry_run {
                // The same configuration, possibly from somewhere else: nothing is touched.
                self.accept_report(source, &config);
            }
            return Ok(Accepted { version: self.running.version, changes });
        }
        let version = self.running.version + 1;
        let built = build::build(self, &config, version, &source.base_dir, needed, mode).await?;
        if let Err(refusal) = self.decide(&built.held, &config, stop).await {
            self.give_up(built);
            return Err(refusal);
        }
        self.swap(built, config.clone(), version);
        self.accept_report(source, &config);
        Ok(Accepted { version, changes })
    }

    fn accept_report(&mut self, source: &Source, config: &Arc<Config>) {
        self.secrets.follow(source, config);
        let now = self.platform.wall_clock();
        let report = self.report.load().accepted(now, self.running.version, source, config);
        self.report.store(Arc::new(report));
    }

    /// From here on nothing can fail.
    fn swap(&mut self, built: build::Built, config: Arc<Config>, version: u64) {
        self.platform.windows().set_limit(config.window_budget_bytes.get());
        let before = self.snapshots.load_full();
        let mut removed = std::mem::replace(&mut self.running.listeners, built.listeners);
        removed.retain(|address, _| !self.running.listeners.contains_key(address));
        for handle in removed.values() {
            // Before the swap: from then on its connections find it in no snapshot, and look here.
            if let Some(state) = before.listener(handle.id()) {
                handle.set_last(Arc::clone(&before), Arc::clone(state));
            }
        }
        for (_, held) in built.held {
            // Before the snapshot: a new namespace is there with its instance.
            held.promote();
        }
        self.snapshots.store(Arc::new(built.snapshot));
        // After the swap: whoever sees that something has changed sees what.
        self.changes.happened();
        for plugin in &config.plugins {
            if let Some(spec) = built.plugins.get(&plugin.name) {
                spec.poll_metrics_every(plugin.metrics_interval.get());
            }
        }
        // Before a new listener takes its first connection, and for those that come from now on to a running one.
        for (handle, tls) in built.tls {
            self.metrics.set_listener_tls(handle.name(), tls.as_ref());
            handle.set_tls(tls);
        }
        for (handle, socket) in built.new_sockets {
            self.accepting.spawn(listener::accept(handle, socket, Arc::clone(&self.workers)));
        }
        let drain = config.drain.timeout.get();
        for handle in removed.into_values() {
            handle.drain();
            self.cutting.spawn(async move {
                time::sleep(drain).await;
                handle.cut();
            });
        }
        for (handle, limits, max_connections) in built.new_limits {
            handle.set_limits(limits, max_connections);
        }
        for (name, slot) in std::mem::replace(&mut self.running.slots, built.slots) {
            if !self.running.slots.contains_key(&name) {
                self.metrics.forget_namespace(&name);
                self.retiring.spawn(slot.retire(drain).finished());
            }
        }
        while self.retiring.try_join_next().is_some() {}
        while self.cutting.try_join_next().is_some() {}
        while self.accepting.try_join_next().is_some() {}
        self.running.libraries = built.libraries;
        self.running.plugins = built.plugins;
        self.running.services = built.services;
        self.running.next_listener = built.next_listener;
        self.running.config = Some(config);
        self.running.version = version;
    }

    /// Serves the queue until `stop` resolves.
    pub(crate) async fn run(&mut self, queue: &mut ControlQueue, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let change = tokio::select! {
                biased;
                () = &mut stop => return,
                change = queue.next() => Ok(change),
                found = self.secrets.changed() => Err(found),
            };
            let change = match change {
                Ok(Some(change)) => change,
                Ok(None) => return,
                Err(found) => match self.secrets_changed(found, &mut stop).await {
                    true => continue,
                    false => return,
                },
            };
            let result = self.apply(&change.who, &change.source, change.mode, &mut stop).await;
            let stopped = matches!(result, Err(Refusal::ShuttingDown));
            // Whoever asked may have gone; the change stands.
            let _ = change.reply.send(result);
            if stopped {
                return;
            }
        }
    }

    /// Stops accepting and sends every connection its GOAWAY. The accept loops have ended when this returns.
    pub(crate) async fn drain(&mut self) {
        for handle in self.running.listeners.values() {
            handle.drain();
        }
        while self.accepting.join_next().await.is_some() {}
    }

    /// Name and configured address of every running listener.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.running.listeners.iter().map(|(address, handle)| (&**handle.name(), *address))
    }

    /// Ends what the drain has left, on every listener.
    pub(crate) fn cut(&self) {
        for handle in self.running.listeners.values() {
            handle.cut();
        }
    }

    /// Lets go of the workers: they end when their connections have.
    pub(crate) fn release_workers(&mut self) {
        self.workers = Arc::new([]);
    }

    /// Retires every plugin instance, after the last call: bounded by `drain` and the plugins' own deadlines.
    pub(crate) async fn retire(&mut self, drain: Duration) {
        for slot in std::mem::take(&mut self.running.slots).into_values() {
            self.retiring.spawn(slot.retire(drain).finished());
        }
        while self.retiring.join_next().await.is_some() {}
    }

    /// The drain time that the running configuration allows.
    #[must_use]
    pub(crate) fn drain_timeout(&self) -> Duration {
        self.running.config.as_ref().map_or(Duration::from_secs(30), |config| config.drain.timeout.get())
    }
}

/// What configuration is checked against: the filters and builtin plugins of this binary.
#[must_use]
pub fn config_registry(filters: &Registry, builtins: &Builtins) -> prism_config::Registry {
    let mut schemas = prism_config::FilterSchemas::new();
    for schema in filters.schemas() {
        schemas.insert(schema);
    }
    schemas.insert(prism_filters::tls::schema());
    schemas.insert(crate::dispatch::schema());
    prism_config::Registry::new(schemas, builtins.names())
}

/// Checks what a configuration names, for `prism-edge check`: secrets, which are looked up, plugin libraries, of which nothing runs,
/// certificates, and keys of audit logs. `source` is what it was read from. Blocks.
///
/// # Errors
/// What is wrong with them, all at once, each with its line.
pub fn check_files(config: &Config, source: &Source) -> Result<(), Problems> {
    let places = Places::of(source);
    let plugin = |name: &str, key: &str| format!("{}.{key}", places.plugin(name));
    let listeners = tls::check(config, &source.base_dir);
    let listeners = listeners.into_iter().map(|error| (error.path, error.source.to_string()));
    let filters = filters::check(config, &source.base_dir, Platform::system().wall_clock());
    let libraries = libraries::check_all(config);
    let libraries = libraries.into_iter().map(|(name, error)| (plugin(name, "library"), error.to_string()));
    let remotes = transport::check(config);
    let remotes = remotes.into_iter().map(|(name, error)| (plugin(name, "tls"), error.to_string()));
    let services = services::check(config).into_iter().map(|(path, error)| (path, error.to_string()));
    let admin = crate::admin::check_tls(&config.admin);
    let admin = admin.into_iter().map(|error| ("admin.tls".to_owned(), error.to_string()));
    let found: Vec<_> =
        admin.chain(listeners).chain(filters).chain(libraries).chain(remotes).chain(services).collect();
    let mut problems = places.problems(found);
    if let Err(missing) = secrets::resolve(config.clone(), source) {
        problems.problems.extend(missing.problems);
        problems.problems.sort_by_key(|problem| (problem.line, problem.column));
    }
    if problems.problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Runs what blocks where it delays nobody.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // Only a runtime that ends cancels it, and this with it.
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
