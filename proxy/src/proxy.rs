//! A whole proxy, put together: workers, control plane and admin interface, as futures that threads or a
//! simulation run.

use crate::{
    admin::{AdminError, AdminServer, AdminState, Seldom},
    builtins::Builtins,
    control::{self, Accepted, ConfigFile, Control, ControlHandle, ControlQueue, Mode, Refusal},
    local::HealthSource,
    snapshot::Snapshot,
    worker::{Worker, WorkerHandle},
};
use arc_swap::ArcSwap;
use prism_config::{Config, Source};
use prism_filters::{Changes, Registry, metrics::Metrics};
use prism_platform::{Platform, time};
use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// What a proxy is started with.
pub struct Options {
    /// Sockets, clock and chance.
    pub platform: Platform,
    /// The filters that configuration can name.
    pub filters: Registry,
    /// The builtin plugins that configuration can name.
    pub builtins: Builtins,
    /// The configuration to begin with.
    pub source: Source,
    /// The file that it came from, if it did.
    pub file: Option<ConfigFile>,
    /// Whether the admin interface is served.
    pub admin: bool,
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The admin interface cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
    /// Two metrics of one name: a bug, or a filter that registers one of ours.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A proxy that is ready to run.
pub struct Proxy {
    control: Control,
    queue: ControlQueue,
    handle: ControlHandle,
    admin: Option<AdminServer>,
    admin_state: Arc<AdminState>,
    health: HealthSource,
    cut: watch::Sender<bool>,
    first: Accepted,
}

impl Proxy {
    /// Validates the configuration, binds every socket and builds the first snapshot. The workers that come
    /// back must be run, each on a [`tokio::task::LocalSet`]; [`Proxy::run`] must be run on the control plane's
    /// runtime, which is also where this is called.
    ///
    /// # Errors
    /// The configuration is refused, or a socket cannot be had.
    pub async fn start(options: Options) -> Result<(Self, Vec<Worker>), StartError> {
        let Options { platform, filters, builtins, source, file, admin } = options;
        let metrics = Arc::new(Metrics::new()?);
        let config_registry = control::config_registry(&filters, &builtins);
        // Looked at here for what is needed before anything can be built: how many workers, where the admin
        // interface is.
        let config = prism_config::parse(&source, &config_registry).map_err(Refusal::from)?;
        let snapshots = Arc::new(ArcSwap::from_pointee(empty_snapshot(&config)));
        let (cut, cut_receiver) = watch::channel(false);
        let health = HealthSource::default();
        let changes = Changes::default();
        let count = config.workers.unwrap_or_else(cores);
        let (workers, handles): (Vec<_>, Vec<WorkerHandle>) = (0..count)
            .map(|_| {
                let linger = config.drain.linger.get();
                Worker::new(&snapshots, &platform, linger, health.clone(), &changes, cut_receiver.clone())
            })
            .unzip();
        // Before anything else is touched: a second proxy on the same admin socket stops here.
        let admin_server =
            if admin { Some(AdminServer::bind(&platform, &config.admin).await?) } else { None };
        if let Some(tls) = admin_server.as_ref().and_then(AdminServer::tls) {
            metrics.set_listener_tls(&ADMIN.into(), Some(tls));
        }
        let (handle, queue) = control::queue();
        let world = platform.clone();
        let mut control = Control::new(control::Parts {
            platform,
            filters,
            builtins,
            config_registry: config_registry.clone(),
            metrics: Arc::clone(&metrics),
            changes,
            snapshots: Arc::clone(&snapshots),
            workers: handles.into(),
        });
        let first = control.apply("process", &source, Mode::Apply, std::future::pending()).await?;
        health.set_serving(true).await;
        let admin_state = Arc::new(AdminState {
            snapshots,
            report: control.report(),
            control: handle.clone(),
            metrics,
            file,
            platform: world,
            registry: config_registry,
            base_dir: source.base_dir,
            draining: AtomicBool::new(false),
            seldom_logged: Seldom::default(),
            seldom_audited: Seldom::default(),
        });
        let proxy = Self { control, queue, handle, admin: admin_server, admin_state, health, cut, first };
        Ok((proxy, workers))
    }

    /// Where changes are handed in while the proxy runs.
    #[must_use]
    pub fn control(&self) -> ControlHandle {
        self.handle.clone()
    }

    /// What the first configuration became.
    #[must_use]
    pub fn first(&self) -> &Accepted {
        &self.first
    }

    /// The listeners of the first configuration: name and address.
    pub fn listeners(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.control.listeners()
    }

    /// How long it takes at most, by the configuration of that moment, from when it is told to stop until it has ended:
    /// the drain, the lingering, and what instances are given to shut down.
    pub fn ends_within(&self) -> impl Fn() -> Duration + use<> {
        let state = Arc::clone(&self.admin_state);
        move || {
            let snapshot = state.snapshots.load();
            let drain = &snapshot.config().drain;
            drain.timeout.get() + drain.linger.get() + ENDING
        }
    }

    /// Runs the control plane until `stop` resolves, then drains: no new connections, GOAWAY on the open ones,
    /// calls under way finish. Whatever is left at the drain's deadline is cut. `drained` resolves when every
    /// worker has ended.
    pub async fn run(mut self, stop: impl Future<Output = ()>, drained: impl Future<Output = ()>) {
        let admin = self.admin.take().map(|admin| admin.run(Arc::clone(&self.admin_state)));
        let serving = async {
            self.control.run(&mut self.queue, stop).await;
            // Whoever asks for a change now is told at once.
            self.queue.close();
            self.control.audit_drain().await;
            // Load balancers first: they should look elsewhere before connections are refused.
            self.admin_state.draining.store(true, Ordering::Relaxed);
            self.health.set_serving(false).await;
            self.control.drain().await;
            // The workers end when nobody can send them a connection any more and theirs are done.
            self.control.release_workers();
            let timeout = self.control.drain_timeout();
            let mut drained = std::pin::pin!(drained);
            if time::timeout(timeout, &mut drained).await.is_err() {
                self.control.cut();
                self.cut.send_replace(true);
                drained.await;
            }
            self.control.retire(Duration::from_secs(1)).await;
        };
        match admin {
            Some(admin) => {
                tokio::select! {
                    biased;
                    () = serving => {}
                    () = admin => {}
                }
            }
            None => serving.await,
        }
    }
}

/// What metrics that are a listener's have the admin address as: no listener can be called so.
const ADMIN: &str = "(admin)";

/// More than all that follows a drain takes: last words to clients, and to plugins.
const ENDING: Duration = Duration::from_secs(10);

/// What connections would find that come before the first snapshot; none can, as no socket is bound yet.
fn empty_snapshot(config: &Config) -> Snapshot {
    Snapshot::new(0, Arc::new(config.clone()), [], [])
}

/// The cores that this process may run on.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
