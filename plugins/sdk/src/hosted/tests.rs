//! Instances, declared operations, counting and panics, on a backend that does what it is told.

use super::*;
use bytes::Bytes;
use prism_plugin_abi::{Data, Kind, ResponseStream, Scope};
use prism_proto::google::protobuf::{Struct, Value, value};
use prost::Message;
use serde::Deserialize;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    label: String,
}

static SHUTDOWNS: AtomicU64 = AtomicU64::new(0);

struct Probe {
    label: String,
}

impl BackendPlugin for Probe {
    type Config = Config;

    fn descriptor() -> Description {
        let operation = |name: &str, server_streaming| OperationInfo {
            name: name.into(),
            kind: Kind::Read,
            server_streaming,
            ..OperationInfo::default()
        };
        Description {
            name: "probe".into(),
            version: "1".into(),
            operations: [("label", false), ("fail", false), ("panic", false), ("stuck", false)]
                .map(|(name, stream)| operation(name, stream))
                .into_iter()
                .chain([operation("count", true), operation("burst", true)])
                .collect(),
            ..Description::default()
        }
    }

    async fn initialize(context: InitContext<Config>) -> Result<Self, Error> {
        match &*context.config.label {
            "refuse" => return Err(Error::operation(Code::Unauthenticated, "no")),
            "panic" => panic!("told to"),
            "slow" => tokio::time::sleep(Duration::from_secs(10)).await,
            _ => {}
        }
        Ok(Self { label: context.config.label })
    }

    async fn health(&self) -> Health {
        match &*self.label {
            "sick" => Health::unhealthy("sick"),
            "mad" => panic!("told to"),
            _ => Health::healthy(),
        }
    }

    async fn execute(self: &Arc<Self>, _: &CallContext, request: Request) -> Result<Data, Error> {
        match &*request.operation {
            "fail" => Err(Error::operation(Code::Aborted, "told to")),
            "panic" => panic!("told to"),
            "stuck" => std::future::pending().await,
            _ => Ok(Data::Raw(Bytes::from(self.label.clone()).into())),
        }
    }

    async fn execute_stream(
        self: &Arc<Self>,
        _: &CallContext,
        first: Request,
        _: RequestStream,
    ) -> Result<ResponseStream, Error> {
        let burst = &*first.operation == "burst";
        let mut left = 2;
        Ok(Box::pin(futures_util::stream::poll_fn(move |_| {
            if left == 0 {
                assert!(!burst, "told to");
                return Poll::Ready(None);
            }
            left -= 1;
            Poll::Ready(Some(Ok(Data::Empty)))
        })))
    }

    async fn shutdown(&self) {
        SHUTDOWNS.fetch_add(1, Ordering::Relaxed);
    }
}

fn initialize(instance: u64, namespace: &str, label: &str) -> Initialize {
    let value = Value { kind: Some(value::Kind::StringValue(label.into())) };
    let config = Struct { fields: [("label".to_owned(), value)].into() };
    Initialize {
        instance: InstanceId(instance),
        namespace: namespace.into(),
        config: config.encode_to_vec().into(),
        ..Initialize::default()
    }
}

fn context(instance: u64, namespace: &'static str) -> CallContext {
    CallContext { instance: InstanceId(instance), namespace: namespace.into(), ..CallContext::default() }
}

fn request(operation: &'static str) -> Request {
    Request { operation: operation.into(), ..Request::default() }
}

async fn label(plugin: &Hosted<Probe>, instance: u64, namespace: &'static str) -> Result<String, Error> {
    let data = plugin.execute(context(instance, namespace), request("label")).await?;
    let Data::Raw(label) = data else { panic!("{data:?}") };
    Ok(String::from_utf8(label.into_bytes().to_vec()).unwrap())
}

fn empty() -> RequestStream {
    Box::pin(futures_util::stream::empty())
}

#[tokio::test]
async fn instances_stand_beside_each_other() {
    let plugin = Hosted::<Probe>::new();
    plugin.initialize(initialize(1, "ns", "old")).await.unwrap();
    plugin.initialize(initialize(2, "ns", "new")).await.unwrap();
    // Known already: nothing happens, whatever the repetition says.
    let done = plugin.initialize(initialize(1, "ns", "refuse")).await.unwrap();
    assert_eq!(done.plugin_version, "1");
    assert_eq!(done.supported_operations.len(), 6);
    assert_eq!(label(&plugin, 1, "ns").await.unwrap(), "old");
    assert_eq!(label(&plugin, 2, "ns").await.unwrap(), "new");
    assert_eq!(label(&plugin, 0, "ns").await.unwrap(), "new", "unnamed: the latest of the namespace");
    plugin.shutdown(InstanceId(1)).await;
    let error = label(&plugin, 1, "ns").await.unwrap_err();
    assert_eq!((error.code, error.scope), (Code::FailedPrecondition, Scope::Channel));
    assert_eq!(label(&plugin, 2, "ns").await.unwrap(), "new");
    plugin.shutdown(InstanceId(77)).await;
}

#[tokio::test]
async fn an_instance_belongs_to_its_namespace() {
    let plugin = Hosted::<Probe>::new();
    plugin.initialize(initialize(1, "a", "x")).await.unwrap();
    assert_eq!(plugin.initialize(initialize(1, "b", "x")).await.unwrap_err().code, Code::InvalidArgument);
    assert_eq!(label(&plugin, 0, "b").await.unwrap_err().code, Code::FailedPrecondition);
}

#[tokio::test]
async fn the_plain_protocol_replaces_in_place() {
    let plugin = Hosted::<Probe>::new();
    plugin.initialize(initialize(0, "ns", "one")).await.unwrap();
    let before = SHUTDOWNS.load(Ordering::Relaxed);
    plugin.initialize(initialize(0, "ns", "one")).await.unwrap();
    plugin.initialize(initialize(0, "ns", "refuse")).await.unwrap_err();
    assert_eq!(label(&plugin, 0, "ns").await.unwrap(), "one", "a failed attempt harms nothing");
    plugin.initialize(initialize(0, "ns", "two")).await.unwrap();
    assert_eq!(label(&plugin, 0, "ns").await.unwrap(), "two");
    assert!(SHUTDOWNS.load(Ordering::Relaxed) > before, "the replaced one is told");
    plugin.shutdown(InstanceId(0)).await;
    assert!(label(&plugin, 0, "ns").await.is_err());
}

#[tokio::test]
async fn failed_attempts_leave_nothing() {
    let plugin = Hosted::<Probe>::new();
    for (text, code) in [("refuse", Code::Unauthenticated), ("panic", Code::Internal)] {
        assert_eq!(plugin.initialize(initialize(1, "ns", text)).await.unwrap_err().code, code);
    }
    assert!(label(&plugin, 1, "ns").await.is_err());
    plugin.initialize(initialize(1, "ns", "ok")).await.unwrap();
    assert_eq!(label(&plugin, 1, "ns").await.unwrap(), "ok");
}

#[tokio::test(start_paused = true)]
async fn attempts_at_once_build_once_and_may_be_cancelled() {
    let plugin = Hosted::<Probe>::new();
    let mut first = plugin.initialize(initialize(1, "ns", "slow"));
    let mut second = plugin.initialize(initialize(1, "ns", "slow"));
    for attempt in [&mut first, &mut second] {
        assert!(futures_util::poll!(attempt.as_mut()).is_pending());
    }
    assert_eq!(label(&plugin, 1, "ns").await.unwrap_err().code, Code::FailedPrecondition);
    drop(first);
    second.await.unwrap();
    assert_eq!(label(&plugin, 1, "ns").await.unwrap(), "slow");
    // Shut down in the middle of its own birth.
    let mut late = plugin.initialize(initialize(2, "ns", "slow"));
    assert!(futures_util::poll!(late.as_mut()).is_pending());
    plugin.shutdown(InstanceId(2)).await;
    assert_eq!(late.await.unwrap_err().code, Code::Aborted);
    assert!(label(&plugin, 2, "ns").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn instances_are_bounded_and_cancelled_attempts_count_for_nothing() {
    let plugin = Hosted::<Probe>::new();
    for instance in 1..=2 * MAX_INSTANCES as u64 {
        let mut attempt = plugin.initialize(initialize(instance, "ns", "slow"));
        assert!(futures_util::poll!(attempt.as_mut()).is_pending());
    }
    for instance in 1..=MAX_INSTANCES as u64 {
        plugin.initialize(initialize(instance, "ns", "x")).await.unwrap();
    }
    let error = plugin.initialize(initialize(u64::MAX, "ns", "x")).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
    plugin.shutdown(InstanceId(1)).await;
    plugin.initialize(initialize(u64::MAX, "ns", "x")).await.unwrap();
}

#[tokio::test]
async fn only_declared_operations_reach_the_backend() {
    let plugin = Hosted::<Probe>::new();
    plugin.initialize(initialize(1, "ns", "x")).await.unwrap();
    for operation in ["", "nothing", "Label", "count"] {
        let error = plugin.execute(context(1, "ns"), request(operation)).await.unwrap_err();
        assert_eq!((error.code, error.scope), (Code::Unimplemented, Scope::Channel), "{operation}");
    }
    for operation in ["", "nothing", "label"] {
        let opened = plugin.execute_stream(context(1, "ns"), request(operation), empty()).await;
        assert_eq!(opened.err().unwrap().code, Code::Unimplemented, "{operation}");
    }
}

#[tokio::test]
async fn panics_are_contained_and_counted() {
    let plugin = Hosted::<Probe>::new();
    plugin.initialize(initialize(1, "ns", "x")).await.unwrap();
    assert_eq!(plugin.execute(context(1, "ns"), request("panic")).await.unwrap_err(), panicked());
    assert_eq!(plugin.execute(context(1, "ns"), request("fail")).await.unwrap_err().code, Code::Aborted);
    assert_eq!(label(&plugin, 1, "ns").await.unwrap(), "x");
    let burst = plugin.execute_stream(context(1, "ns"), request("burst"), empty()).await.unwrap();
    let items: Vec<_> = burst.map(|item| item.map(drop)).collect().await;
    assert_eq!(items, [Ok(()), Ok(()), Err(panicked())]);
    let count = plugin.execute_stream(context(1, "ns"), request("count"), empty()).await.unwrap();
    assert_eq!(count.count().await, 2);
    let mut dropped = plugin.execute(context(1, "ns"), request("stuck"));
    assert!(futures_util::poll!(dropped.as_mut()).is_pending());
    drop(dropped);
    let metrics = plugin.metrics(InstanceId(1)).await.unwrap();
    assert_eq!((metrics.requests_total, metrics.requests_failed), (6, 3));
    assert_eq!(plugin.metrics(InstanceId(2)).await.unwrap_err().code, Code::FailedPrecondition);
    assert_eq!(plugin.metrics(InstanceId(0)).await.unwrap().requests_total, 6);
    assert_eq!(plugin.metrics(InstanceId(0)).await.unwrap().requests_total, 0, "reset by the fetch before");
    assert_eq!(plugin.metrics(InstanceId(1)).await.unwrap().requests_total, 6);
}

#[tokio::test]
async fn health_is_asked_and_the_worst_is_told() {
    let plugin = Hosted::<Probe>::new();
    assert_eq!(plugin.health(InstanceId(0)).await.status, HealthStatus::Unhealthy);
    plugin.initialize(initialize(1, "a", "x")).await.unwrap();
    assert_eq!(plugin.health(InstanceId(0)).await.status, HealthStatus::Healthy);
    plugin.initialize(initialize(2, "b", "sick")).await.unwrap();
    plugin.initialize(initialize(3, "c", "mad")).await.unwrap();
    assert_eq!(plugin.health(InstanceId(1)).await.status, HealthStatus::Healthy);
    assert_eq!(plugin.health(InstanceId(2)).await.message, "sick");
    assert_eq!(plugin.health(InstanceId(3)).await.status, HealthStatus::Unhealthy);
    let all = plugin.health(InstanceId(0)).await;
    assert_eq!((all.status, all.details.len()), (HealthStatus::Unhealthy, 3));
    assert_eq!(plugin.health(InstanceId(4)).await.status, HealthStatus::Unhealthy);
}
