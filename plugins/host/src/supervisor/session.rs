//! The control plane's way to a plugin, in this process or in another.

use crate::{
    grpc::{Control, Lost},
    instance::{InstanceSpec, Seat, Transport},
    upstream::{Endpoint, PeerIdentity, Protocol, ProtocolChoice},
};
use prism_platform::{Platform, time};
use prism_plugin_abi::{
    Code, Description, Error, Health, Initialize, Initialized, InstanceId, Metrics, Plugin, Task,
};
use prism_plugin_envelope::control::{
    read_description, read_health, read_initialized, read_metrics, write_initialize,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub(super) enum Session {
    InProcess(Arc<dyn Plugin>),
    /// Control calls always travel over gRPC: every plugin speaks it, and `Describe` is what tells whether
    /// it speaks anything else.
    Process {
        control: Control,
        endpoint: Arc<Endpoint>,
        /// Of the certificates that the connection was opened with.
        generation: u64,
        protocol: ProtocolChoice,
        /// See [`Seat::echoed`]: another connection may have been the one that initialized.
        echoed: Arc<AtomicBool>,
    },
}

/// What `Describe` answered.
pub(super) struct Described {
    /// `None` when the plugin cannot say.
    pub(super) description: Option<Arc<Description>>,
    /// What it lists; `None` when it cannot say, and in this process.
    transports: Option<Vec<String>>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// Why not, with the address.
    pub(super) async fn open(platform: &Platform, spec: &InstanceSpec, seat: &Seat) -> Result<Self, String> {
        let protocol = match spec.plugin.transport() {
            Transport::InProcess(plugin) => return Ok(Self::InProcess(Arc::clone(plugin.plugin()))),
            Transport::Process { protocol, .. } => *protocol,
            Transport::Remote(remote) => remote.protocol,
        };
        let endpoint = seat.endpoint.clone().ok_or("it has no endpoint")?;
        let generation = endpoint.target().generation();
        let control = Control::connect(platform, endpoint.target()).await;
        // Whatever answers there may not be the plugin any more.
        let control = control.inspect_err(|_| endpoint.target().forget_address())?;
        Ok(Self::Process { control, endpoint, generation, protocol, echoed: Arc::clone(&seat.echoed) })
    }

    /// The process at the other end, where that can be known.
    pub(super) fn peer(&self) -> Option<PeerIdentity> {
        match self {
            Self::InProcess(_) => None,
            Self::Process { control, .. } => control.peer(),
        }
    }

    /// Resolves when the way is gone.
    pub(super) async fn lost(&self) -> Lost {
        match self {
            Self::InProcess(_) => std::future::pending().await,
            Self::Process { control, endpoint, generation, .. } => tokio::select! {
                lost = control.lost() => lost,
                // What it was opened with may be trusted no longer, by either side.
                () = endpoint.target().newer_than(*generation) => {
                    Lost { reason: "its certificates were renewed".to_owned(), graceful: true }
                }
            },
        }
    }

    /// What the plugin is, and what it speaks.
    pub(super) async fn describe(&self, deadline: Duration) -> Result<Described, Error> {
        match self {
            Self::InProcess(plugin) => {
                Ok(Described { description: Some(plugin.describe()), transports: None })
            }
            Self::Process { control, .. } => Ok(match control.describe(deadline).await? {
                None => Described { description: None, transports: None },
                Some(mut description) => Described {
                    transports: Some(std::mem::take(&mut description.transports)),
                    description: Some(Arc::new(read_description(description))),
                },
            }),
        }
    }

    /// What calls will travel over; `None` in this process.
    ///
    /// # Errors
    /// The configuration insists on what the plugin does not list.
    pub(super) fn choose(&self, described: &Described) -> Result<Option<Protocol>, String> {
        match self {
            Self::InProcess(_) => Ok(None),
            Self::Process { protocol, .. } => protocol.choose(described.transports.as_deref()).map(Some),
        }
    }

    pub(super) async fn initialize(
        &self,
        request: Initialize,
        deadline: Duration,
    ) -> Result<Initialized, Error> {
        match self {
            Self::InProcess(plugin) => within(deadline, "Initialize", plugin.initialize(request)).await?,
            Self::Process { control, echoed, .. } => {
                let instance = request.instance;
                let request = write_initialize(request, env!("CARGO_PKG_VERSION"));
                let answer = control.initialize(&request, deadline).await?;
                // One that echoes nothing was initialized in place just now: calls under way on what it had
                // before go on with what it has now.
                let (initialized, echo) = read_initialized(answer, instance)?;
                echoed.store(echo, Ordering::Relaxed);
                Ok(initialized)
            }
        }
    }

    pub(super) async fn health(&self, instance: InstanceId, deadline: Duration) -> Result<Health, Error> {
        match self {
            Self::InProcess(plugin) => within(deadline, "HealthCheck", plugin.health(instance)).await,
            Self::Process { control, .. } => control.health(instance.0, deadline).await.map(read_health),
        }
    }

    /// What the instance counted.
    pub(super) async fn metrics(
        &self,
        instance: InstanceId,
        deadline: Duration,
    ) -> Result<Option<Metrics>, Error> {
        match self {
            Self::InProcess(plugin) => {
                within(deadline, "GetMetrics", plugin.metrics(instance)).await?.map(Some)
            }
            // Without an instance to name, asking would reset what others count.
            Self::Process { echoed, .. } if !echoed.load(Ordering::Relaxed) => Ok(None),
            Self::Process { control, .. } => {
                control.metrics(instance.0, deadline).await.map(|metrics| Some(read_metrics(&metrics)))
            }
        }
    }

    pub(super) async fn shutdown(&self, instance: InstanceId, deadline: Duration) -> Result<(), Error> {
        match self {
            Self::InProcess(plugin) => within(deadline, "Shutdown", plugin.shutdown(instance)).await,
            // A plugin that knows no instances would end altogether, and with it every other namespace's.
            Self::Process { echoed, .. } if !echoed.load(Ordering::Relaxed) => Ok(()),
            Self::Process { control, .. } => control.shutdown(instance.0, deadline).await,
        }
    }
}

/// A control call on a plugin in this process.
async fn within<T>(deadline: Duration, method: &str, call: Task<T>) -> Result<T, Error> {
    time::timeout(deadline, call).await.map_err(|_| {
        let message = format!("{method}: no answer within {} ms", deadline.as_millis());
        Error::channel(Code::DeadlineExceeded, message)
    })
}
