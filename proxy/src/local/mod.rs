//! The gRPC services that a listener answers itself: health and reflection.

mod health;
mod reflection;

pub(crate) use health::HealthSource;

use crate::snapshot::{Namespace, Snapshot};
use arc_swap::ArcSwap;
use futures_util::future::LocalBoxFuture;
use health::NamespaceHealth;
use http::{Request, Response};
use prism_filters::{Body, Reason, Rejection};
use reflection::{Made, Reflection};
use std::{cell::RefCell, convert::Infallible, sync::Arc, time::Duration};
use tonic::body::Body as TonicBody;
use tonic_health::{pb::health_server::HealthServer, server::HealthService};
use tower::{Service, ServiceExt};

/// The service of ours that health and reflection name.
const DATA_SERVICE: &str = "prism.data.v1.DataService";
const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// The largest message that these services take. Theirs are a name and a few bytes; tonic's 4 MiB would let a
/// hundred streams that never end hold 400 MiB.
const MOST_MESSAGE_BYTES: usize = 16 * 1024;

type Handler = Box<dyn Fn(Request<Body>) -> LocalBoxFuture<'static, Response<Body>>>;

/// One worker's copies of the services.
pub(crate) struct LocalServices {
    source: HealthSource,
    snapshots: Arc<ArcSwap<Snapshot>>,
    health: Handler,
    /// `None` is impossible: the descriptors are our own and compiled in.
    reflection: Option<Reflection>,
    plugins: RefCell<Made>,
}

impl LocalServices {
    /// The services, answering from `health` and from what is configured now.
    #[must_use]
    pub(crate) fn new(health: &HealthSource, snapshots: &Arc<ArcSwap<Snapshot>>) -> Self {
        let service = HealthServer::new(HealthService::from_health_reporter(health.reporter.clone()))
            .max_decoding_message_size(MOST_MESSAGE_BYTES);
        Self {
            source: health.clone(),
            snapshots: Arc::clone(snapshots),
            health: handler(service),
            reflection: Reflection::of(None).ok(),
            plugins: RefCell::default(),
        }
    }

    /// Answers a call to one of them: about the listener, or about this namespace.
    pub(crate) async fn call(
        &self,
        request: Request<Body>,
        namespace: Option<&Namespace>,
        stall_timeout: Duration,
    ) -> Result<Response<Body>, Rejection> {
        if request.uri().path().starts_with("/grpc.health.v1.Health/") {
            // Both of its methods take one message.
            let request = request.map(|body| body.unless_stalled(stall_timeout));
            let Some(namespace) = namespace else { return Ok((self.health)(request).await) };
            let health = NamespaceHealth {
                source: self.source.clone(),
                snapshots: Arc::clone(&self.snapshots),
                namespace: namespace.name().clone(),
            };
            let service = HealthServer::new(health).max_decoding_message_size(MOST_MESSAGE_BYTES);
            return Ok(handler(service)(request).await);
        }
        let answering = self.reflect(request, namespace)?;
        Ok(answering.await)
    }

    fn reflect(
        &self,
        request: Request<Body>,
        namespace: Option<&Namespace>,
    ) -> Result<LocalBoxFuture<'static, Response<Body>>, Rejection> {
        let nothing = || Rejection::new(Reason::NoRoute, "there is no such reflection service");
        let table = namespace
            .and_then(|namespace| namespace.slot().active())
            .and_then(|backend| backend.status().operations.clone());
        let path = request.uri().path().to_owned();
        let Some(table) = table else {
            let found = self.reflection.as_ref().and_then(|reflection| reflection.find(&path));
            return Ok(found.ok_or_else(nothing)?(request));
        };
        let made = self.plugins.borrow_mut().get(&table);
        let made = made.map_err(|error| {
            Rejection::new(
                Reason::Internal,
                format!("what the namespace's plugin says of its messages cannot be shown: {error}"),
            )
        })?;
        Ok(made.find(&path).ok_or_else(nothing)?(request))
    }
}

fn handler<S>(service: S) -> Handler
where
    S: Service<Request<Body>, Response = Response<TonicBody>, Error = Infallible> + Clone + 'static,
    S::Future: 'static,
{
    Box::new(move |request| {
        let service = service.clone();
        Box::pin(async move {
            match service.oneshot(request).await {
                Ok(response) => response.map(Body::new),
                Err(never) => match never {},
            }
        })
    })
}
