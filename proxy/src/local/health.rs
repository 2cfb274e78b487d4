//! Health (`grpc.health.v1`): of the listener, and, for who names a namespace, of what answers for it.

use super::DATA_SERVICE;
use crate::snapshot::Snapshot;
use arc_swap::ArcSwap;
use bytestring::ByteString;
use futures_util::stream::{self, BoxStream};
use prism_platform::time;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tonic::{Request, Response, Status};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, HealthCheckResponse, health_check_response, health_server::Health},
    server::HealthReporter,
};

/// What the listeners say about their health; shared by all workers.
#[derive(Clone, Default)]
pub struct HealthSource {
    pub(super) reporter: HealthReporter,
    serving: Arc<AtomicBool>,
}

impl HealthSource {
    /// Says whether new calls should come here. Load balancers that watch `grpc.health.v1` follow it.
    pub async fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", DATA_SERVICE] {
            self.reporter.set_service_status(service, status).await;
        }
    }

    fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for HealthSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthSource")
    }
}

/// How often a namespace's health is looked at for those who watch it. Instances, and the configuration itself, come and
/// go; a second is what load balancers take to act on anything.
const LOOK: Duration = Duration::from_secs(1);

/// One namespace's health.
#[derive(Clone)]
pub(super) struct NamespaceHealth {
    pub(super) source: HealthSource,
    pub(super) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(super) namespace: ByteString,
}

impl NamespaceHealth {
    /// How it is now; `None` for a service that it does not have.
    fn status(&self, service: &str) -> Option<health_check_response::ServingStatus> {
        use health_check_response::ServingStatus::{NotServing, Serving};
        let snapshot = self.snapshots.load();
        // One that was removed serves no more.
        let Some(backend) = snapshot.namespace(&self.namespace).and_then(|found| found.slot().active())
        else {
            return Some(NotServing);
        };
        let status = backend.status();
        let offered = ["", DATA_SERVICE].contains(&service)
            || status.operations.as_ref().is_some_and(|table| table.services().contains(service));
        let serves = self.source.is_serving() && status.state.serves();
        // While nothing is known of it, it may have any.
        let known = status.operations.is_some();
        (offered || !known).then_some(if serves { Serving } else { NotServing })
    }
}

fn response(status: health_check_response::ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for NamespaceHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.status(&request.into_inner().service);
        status
            .map(|status| Response::new(response(status)))
            .ok_or_else(|| Status::not_found("the namespace's plugin has no such service"))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let told = None;
        let changes =
            stream::unfold((self.clone(), service, told), |(health, service, mut told)| async move {
                loop {
                    // "SERVICE_UNKNOWN", and later whatever it becomes (health.proto, `Watch`).
                    let unknown = health_check_response::ServingStatus::ServiceUnknown;
                    let status = health.status(&service).unwrap_or(unknown);
                    if told.replace(status) != Some(status) {
                        return Some((Ok(response(status)), (health, service, told)));
                    }
                    time::sleep(LOOK).await;
                }
            });
        Ok(Response::new(Box::pin(changes)))
    }
}
