//! The gRPC services that a listener answers itself: health and reflection.

use futures_util::future::LocalBoxFuture;
use http::{Request, Response};
use prism_filters::{Body, Reason, Rejection};
use std::{convert::Infallible, fmt, time::Duration};
use tonic::body::Body as TonicBody;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Builder;
use tower::{Service, ServiceExt};

/// The service of ours that health and reflection name.
const DATA_SERVICE: &str = "prism.data.v1.DataService";
const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// What the listeners say about their health; shared by all workers.
#[derive(Clone, Default)]
pub struct HealthSource(HealthReporter);

impl HealthSource {
    /// Says whether new calls should come here. Load balancers that watch `grpc.health.v1` follow it.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", DATA_SERVICE] {
            self.0.set_service_status(service, status).await;
        }
    }
}

impl fmt::Debug for HealthSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthSource")
    }
}

/// The largest message that these services take. Theirs are a name and a few bytes; tonic's 4 MiB would let a
/// hundred streams that never end hold 400 MiB.
const MOST_MESSAGE_BYTES: usize = 16 * 1024;

type Handler = Box<dyn Fn(Request<Body>) -> LocalBoxFuture<'static, Response<Body>>>;

/// One worker's copies of the services.
pub(crate) struct LocalServices {
    health: Handler,
    /// Reflection under its two names: clients still ask for the older one.
    reflection: Vec<(&'static str, Handler)>,
}

impl LocalServices {
    /// The services, answering from `health`.
    #[must_use]
    pub(crate) fn new(health: &HealthSource) -> Self {
        let health = HealthServer::new(HealthService::from_health_reporter(health.0.clone()))
            .max_decoding_message_size(MOST_MESSAGE_BYTES);
        let mut reflection = Vec::new();
        // The descriptors are our own and compiled in: they always build.
        if let Ok(service) = descriptors().build_v1() {
            reflection.push((
                "/grpc.reflection.v1.ServerReflection/",
                handler(service.max_decoding_message_size(MOST_MESSAGE_BYTES)),
            ));
        }
        if let Ok(service) = descriptors().build_v1alpha() {
            reflection.push((
                "/grpc.reflection.v1alpha.ServerReflection/",
                handler(service.max_decoding_message_size(MOST_MESSAGE_BYTES)),
            ));
        }
        Self { health: handler(health), reflection }
    }

    /// Answers a call to one of them.
    pub(crate) async fn call(
        &self,
        request: Request<Body>,
        stall_timeout: Duration,
    ) -> Result<Response<Body>, Rejection> {
        let path = request.uri().path();
        let handler = if path.starts_with("/grpc.health.v1.Health/") {
            // Both of its methods take one message.
            let request = request.map(|body| body.unless_stalled(stall_timeout));
            return Ok((self.health)(request).await);
        } else {
            let found = self.reflection.iter().find(|(prefix, _)| path.starts_with(prefix));
            &found.ok_or_else(|| Rejection::new(Reason::NoRoute, "there is no such reflection service"))?.1
        };
        Ok(handler(request).await)
    }
}

fn descriptors() -> Builder<'static> {
    // Only what a listener serves: the plugin protocol is in the same set, and is reachable by nobody.
    Builder::configure()
        .register_encoded_file_descriptor_set(prism_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that tools can show the details of a refusal.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(DATA_SERVICE)
        .with_service_name(HEALTH_SERVICE)
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
