//! A backend as a plugin: instances, declared operations, counting, and a wall around panics.

use crate::{
    BackendPlugin, InitContext, PluginConfig,
    instances::{Instance, Instances},
};
use futures_util::{FutureExt, Stream, StreamExt};
use prism_plugin_abi::{
    Call, CallContext, Code, Description, Error, Health, HealthStatus, Initialize, Initialized, InstanceId,
    Metrics, Opening, OperationInfo, Plugin, Request, RequestStream, Task, unknown_instance,
};
use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::Instant;

pub use crate::instances::MAX_INSTANCES;

/// A [`BackendPlugin`] as a [`Plugin`], in memory.
pub struct Hosted<P> {
    shared: Arc<Shared<P>>,
}

struct Shared<P> {
    description: Arc<Description>,
    /// A dozen short names are found sooner in order than by a keyed hash.
    operations: BTreeMap<String, OperationInfo>,
    instances: Instances<P>,
}

impl<P: BackendPlugin> Default for Hosted<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: BackendPlugin> Hosted<P> {
    /// Without any instance yet.
    #[must_use]
    pub fn new() -> Self {
        let description = P::descriptor();
        // Here, so that no author can forget it: it follows from the type.
        let description = Arc::new(Description { config_type: P::Config::message_name(), ..description });
        let operations =
            description.operations.iter().map(|info| (info.name.clone(), info.clone())).collect();
        Self { shared: Arc::new(Shared { description, operations, instances: Instances::new() }) }
    }
}

impl<P: BackendPlugin> Shared<P> {
    /// The instance that a call means, and whether it can be called like this.
    fn admit(&self, context: &CallContext, operation: &str, stream: bool) -> Result<Arc<Instance<P>>, Error> {
        let unimplemented = |message| Err(Error::channel(Code::Unimplemented, message));
        let name = &self.description.name;
        match self.operations.get(operation) {
            None => return unimplemented(format!("plugin `{name}` has no operation `{operation}`")),
            Some(info) if info.streaming() && !stream => {
                return unimplemented(format!("`{operation}` is a stream: call it through ExecuteStream"));
            }
            Some(info) if !info.streaming() && stream => {
                return unimplemented(format!("`{operation}` is no stream: call it through Execute"));
            }
            Some(_) => {}
        }
        let found = self.instances.find(context.instance, &context.namespace);
        found.ok_or_else(|| match context.instance.0 {
            0 if context.namespace.is_empty() => Error::channel(
                Code::InvalidArgument,
                "the call names no namespace: set the x-prism-namespace header to the one of `Initialize`",
            ),
            0 => Error::channel(
                Code::FailedPrecondition,
                format!("namespace `{}` is not initialized here", context.namespace),
            ),
            _ => unknown_instance(context.instance),
        })
    }

    async fn initialize(&self, request: Initialize) -> Result<Initialized, Error> {
        let reservation = self.instances.reserve(&request)?;
        let build = contained(async {
            let config = P::Config::decode(&request.config_type_url, request.config.clone())?;
            P::initialize(InitContext {
                instance: request.instance,
                namespace: request.namespace.clone(),
                backend_type: request.backend_type.clone(),
                config,
                credentials: request.credentials.clone(),
            })
            .await
        });
        reservation.fill(build).await?;
        let retired = reservation.install();
        let gone = retired.is_err();
        if let Some(instance) = retired.unwrap_or_else(|built| built) {
            retire(&instance).await;
        }
        if gone {
            return Err(Error::channel(
                Code::Aborted,
                format!("instance {} was shut down while it was being initialized", request.instance),
            ));
        }
        Ok(Initialized {
            plugin_version: self.description.version.clone(),
            supported_operations: self.description.operations.iter().map(|info| info.name.clone()).collect(),
        })
    }

    async fn health(&self, id: InstanceId) -> Health {
        let instances = self.instances.named(id);
        if instances.is_empty() {
            return Health::unhealthy(match id.0 {
                0 => "nothing is initialized here".to_owned(),
                _ => unknown_instance(id).message.into_owned(),
            });
        }
        let mut worst = Health::healthy();
        for (namespace, instance) in instances {
            let asked = contained(async { Ok(instance.backend.health().await) }).await;
            let health = asked.unwrap_or_else(|error| Health::unhealthy(error.message));
            if id.0 != 0 {
                return health;
            }
            worst.details.insert(namespace, format!("{:?} {}", health.status, health.message));
            if rank(health.status) > rank(worst.status) {
                (worst.status, worst.message) = (health.status, health.message);
            }
        }
        worst
    }
}

fn rank(status: HealthStatus) -> u8 {
    match status {
        HealthStatus::Healthy => 0,
        HealthStatus::Degraded => 1,
        HealthStatus::Unhealthy => 2,
    }
}

async fn retire<P: BackendPlugin>(instance: &Instance<P>) {
    // Its panic harms nobody: the instance is already out of reach.
    let _ = contained(async {
        instance.backend.shutdown().await;
        Ok(())
    })
    .await;
}

/// Polls a plugin's future; a panic in it becomes an error. No `async fn`, which would hold the future twice.
fn contained<T>(future: impl Future<Output = Result<T, Error>>) -> impl Future<Output = Result<T, Error>> {
    AssertUnwindSafe(future).catch_unwind().map(|outcome| outcome.unwrap_or_else(|_| Err(panicked())))
}

fn panicked() -> Error {
    // The panic hook has printed where and why; what it says may hold data and is not for callers.
    Error::operation(Code::Internal, "the plugin panicked in this call; its log says where")
}

impl<P: BackendPlugin> Plugin for Hosted<P> {
    fn describe(&self) -> Arc<Description> {
        self.shared.description.clone()
    }

    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.initialize(request).await })
    }

    fn health(&self, instance: InstanceId) -> Task<Health> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.health(instance).await })
    }

    fn execute(&self, context: CallContext, request: Request) -> Call {
        let instance = match self.shared.admit(&context, &request.operation, false) {
            Ok(instance) => instance,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        Box::pin(async move {
            let began = Instant::now();
            instance.counters.began();
            let outcome = contained(async { instance.backend.execute(&context, request).await }).await;
            instance.counters.ended(began.elapsed(), outcome.is_err());
            outcome
        })
    }

    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening {
        let instance = match self.shared.admit(&context, &first.operation, true) {
            Ok(instance) => instance,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        Box::pin(async move {
            let began = Instant::now();
            instance.counters.began();
            let opened =
                contained(async { instance.backend.execute_stream(&context, first, rest).await }).await;
            instance.counters.ended(began.elapsed(), opened.is_err());
            let inner = AssertUnwindSafe(opened?).catch_unwind();
            Ok(Box::pin(Watched { inner: Some(inner), instance }) as _)
        })
    }

    fn metrics(&self, id: InstanceId) -> Task<Result<Metrics, Error>> {
        let instances = self.shared.instances.named(id);
        let of = |instance: &Instance<P>| {
            let backend = instance.backend.metrics();
            if id.0 == 0 {
                instance.counters.interval(backend)
            } else {
                instance.counters.cumulative(backend)
            }
        };
        let metrics = instances.values().map(|instance| of(instance)).reduce(sum);
        Box::pin(std::future::ready(metrics.ok_or_else(|| unknown_instance(id))))
    }

    fn shutdown(&self, id: InstanceId) -> Task<()> {
        let removed = self.shared.instances.remove(id);
        Box::pin(async move {
            for instance in removed {
                retire(&instance).await;
            }
        })
    }
}

#[allow(clippy::cast_precision_loss)] // a mean
fn sum(a: Metrics, b: Metrics) -> Metrics {
    let requests = a.requests_total + b.requests_total;
    let weighted = a.latency_ms * a.requests_total as f64 + b.latency_ms * b.requests_total as f64;
    Metrics {
        requests_total: requests,
        requests_failed: a.requests_failed + b.requests_failed,
        latency_ms: if requests == 0 { 0.0 } else { weighted / requests as f64 },
        connections_active: a.connections_active + b.connections_active,
        connections_idle: a.connections_idle + b.connections_idle,
        queries_executed: a.queries_executed + b.queries_executed,
        cache_hits: a.cache_hits + b.cache_hits,
        cache_misses: a.cache_misses + b.cache_misses,
        interval_start_ns: a.interval_start_ns.min(b.interval_start_ns),
        custom: a.custom.plus(b.custom),
    }
}

/// A plugin's stream: its panics become an error, its errors are counted, and it ends with the first.
/// Keeps the instance until then.
struct Watched<P, S> {
    inner: Option<S>,
    instance: Arc<Instance<P>>,
}

impl<P, S, T> Stream for Watched<P, S>
where
    P: BackendPlugin,
    S: Stream<Item = std::thread::Result<Result<T, Error>>> + Unpin,
{
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let Poll::Ready(next) = inner.poll_next_unpin(cx) else { return Poll::Pending };
        let next = next.map(|item| item.unwrap_or_else(|_| Err(panicked())));
        if !matches!(next, Some(Ok(_))) {
            self.inner = None;
        }
        if matches!(next, Some(Err(_))) {
            self.instance.counters.failed();
        }
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests;
