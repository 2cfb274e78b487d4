//! A plugin written with the attributes, called through `Hosted`.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use prism_plugin_sdk::{
    Hosted, InitContext, PluginResult, Proto, Requests,
    abi::{
        CallContext, Code, CustomMetrics, Data, Error, Health, HealthStatus, InstanceId, Kind, Metrics,
        Payload, Plugin, Request,
    },
    kv::{self, Condition, Found, KeyValue, Page, WatchEvent},
    operations, plugin,
    testing::{Host, Instance},
};
use prism_proto::kv::v1::{
    DeleteRequest, ExistsRequest, ExistsResponse, GetRequest, GetResponse, ScanRequest,
};
use prost::{Message, Name};
use serde_json::json;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    greeting: String,
}

#[plugin(name = "own", config = Config, version = "7.8", descriptors = &[10, 3, 10, 1, 97])]
struct Own {
    greeting: String,
    stopped: AtomicBool,
}

#[operations]
impl Own {
    #[init]
    async fn start(context: InitContext<Config>) -> PluginResult<Self> {
        if context.config.greeting.is_empty() {
            return Err(Error::invalid("config.greeting: is empty"));
        }
        Ok(Self { greeting: context.config.greeting, stopped: AtomicBool::new(false) })
    }

    // Named unlike the trait's method, as the others are named like it.
    #[health]
    async fn how(&self) -> Health {
        if self.stopped.load(Relaxed) { Health::unhealthy("stopped") } else { Health::healthy() }
    }

    #[metrics]
    fn metrics(&self) -> Metrics {
        Metrics { cache_hits: 5, custom: CustomMetrics::new().gauge("depth", 2.0), ..Metrics::default() }
    }

    #[shutdown]
    async fn shutdown(&self) {
        self.stopped.store(true, Relaxed);
    }

    #[operation("greet", read, idempotent)]
    async fn greet(&self, context: &CallContext, params: GetRequest) -> PluginResult<GetResponse> {
        let value = format!("{} {} in {}", self.greeting, params.key, context.namespace);
        Ok(GetResponse { found: true, value: value.into(), ..GetResponse::default() })
    }

    #[operation("brief", write)]
    async fn brief(&self, params: ExistsRequest) -> Result<ExistsResponse, Error> {
        assert!(params.key != "panic", "told to");
        Ok(ExistsResponse { exists: params.key == "k" })
    }

    #[operation("blob", admin, raw)]
    async fn blob(&self, _: &CallContext, params: Bytes) -> PluginResult<Payload> {
        Ok([params.clone(), params].into_iter().collect())
    }

    #[operation("count", read, stream)]
    async fn count(
        self: &Arc<Self>,
        params: ScanRequest,
    ) -> PluginResult<impl Stream<Item = PluginResult<ExistsResponse>> + Send + 'static> {
        if params.page_size < 0 {
            return Err(Error::invalid("fewer than none"));
        }
        let this = self.clone();
        Ok(stream::iter(0..params.page_size).map(move |number| match number {
            3 => Err(Error::operation(Code::DataLoss, this.greeting.clone())),
            4 => panic!("told to"),
            _ => Ok(ExistsResponse { exists: true }),
        }))
    }

    #[operation("tail", read, stream, raw)]
    async fn tail(
        &self,
        params: Payload,
    ) -> PluginResult<impl Stream<Item = PluginResult<Bytes>> + Send + 'static> {
        Ok(stream::iter([Ok(params.into_bytes())]))
    }

    #[operation("chat", write, bidi)]
    async fn chat(
        &self,
        _: &CallContext,
        messages: Requests<GetRequest>,
    ) -> PluginResult<Pin<Box<dyn Stream<Item = PluginResult<ExistsRequest>> + Send>>> {
        Ok(Box::pin(messages.map(|message| message.map(|message| ExistsRequest { key: message.key }))))
    }

    #[cfg(any())]
    #[operation("never", read)]
    async fn never(&self, _: GetRequest) -> PluginResult<GetResponse> {}
}

async fn own() -> Instance {
    Instance::initialize(Arc::new(Hosted::<Own>::new()), 1, &json!({ "greeting": "hello" }), &[])
        .await
        .unwrap()
}

#[test]
fn the_description_says_what_is_written() {
    let description = Hosted::<Own>::new().describe();
    assert_eq!((&*description.name, &*description.version), ("own", "7.8"));
    assert!(description.interfaces.is_empty());
    assert_eq!(&description.file_descriptor_set[..], [10, 3, 10, 1, 97]);
    let told: Vec<_> = description
        .operations
        .iter()
        .map(|info| {
            let streams = (info.client_streaming, info.server_streaming);
            (
                &*info.name,
                info.kind,
                info.idempotent,
                info.raw,
                streams,
                &*info.params_type,
                &*info.result_type,
            )
        })
        .collect();
    let v1 = |name: &str| format!("prism.kv.v1.{name}");
    let (get, got, exists, existed, scan) =
        (v1("GetRequest"), v1("GetResponse"), v1("ExistsRequest"), v1("ExistsResponse"), v1("ScanRequest"));
    assert_eq!(
        told,
        [
            ("greet", Kind::Read, true, false, (false, false), &*get, &*got),
            ("brief", Kind::Write, false, false, (false, false), &exists, &existed),
            ("blob", Kind::Admin, false, true, (false, false), "", ""),
            ("count", Kind::Read, false, false, (false, true), &scan, &existed),
            ("tail", Kind::Read, false, true, (false, true), "", ""),
            ("chat", Kind::Write, false, false, (true, true), &get, &exists),
        ]
    );
}

#[tokio::test]
async fn unary_operations_are_called() {
    let own = own().await;
    let got: GetResponse = own.call("greet", &GetRequest { key: "k".into(), with_ttl: false }).await.unwrap();
    assert_eq!(got.value, "hello k in test");
    let got: ExistsResponse = own.call("brief", &ExistsRequest { key: "k".into() }).await.unwrap();
    assert!(got.exists);
    assert_eq!(own.raw("blob", "ab", &[]).await.unwrap(), "abab");
    // Wrong parameters never reach the method.
    for (operation, params) in
        [("brief", Data::Raw(Payload::new())), ("brief", Data::Empty), ("blob", Data::Empty)]
    {
        let error = own.send(operation, params, &[]).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
    }
    let error = own.call::<_, ExistsResponse>("brief", &DeleteRequest::default()).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(
        error.message.contains("`brief` takes typed_params of type `prism.kv.v1.ExistsRequest`"),
        "{error}"
    );
    for operation in ["", "never", "count", "get"] {
        let error = own.send(operation, Data::Empty, &[]).await.unwrap_err();
        assert_eq!(error.code, Code::Unimplemented, "{operation}");
    }
}

#[tokio::test]
async fn streams_are_opened() {
    let own = own().await;
    let error =
        own.open("count", &ScanRequest { page_size: -1, ..ScanRequest::default() }).await.err().unwrap();
    assert_eq!(error.code, Code::InvalidArgument);
    let count = own.open("count", &ScanRequest { page_size: 9, ..ScanRequest::default() }).await.unwrap();
    let items: Vec<_> = count.collect().await;
    assert!(items[..3].iter().all(Result::is_ok));
    assert_eq!(items[3].as_ref().unwrap_err().code, Code::DataLoss);
    let context = CallContext { instance: InstanceId(1), namespace: "test".into(), ..CallContext::default() };
    let request =
        |operation: &'static str, params| Request { operation: operation.into(), params, metadata: vec![] };
    let rest = Box::pin(stream::empty());
    let raw = Data::Raw(Bytes::from("raw").into());
    let mut tail = own.plugin.execute_stream(context.clone(), request("tail", raw), rest).await.unwrap();
    let Some(Ok(Data::Raw(payload))) = tail.next().await else { panic!() };
    assert_eq!(payload.into_bytes(), "raw");

    let message = |key: &str| {
        let encoded = Bytes::from(GetRequest { key: key.into(), with_ttl: false }.encode_to_vec());
        Data::Typed { type_url: GetRequest::type_url().into(), value: encoded.into() }
    };
    let rest = Box::pin(stream::iter([Ok(request("", message("b"))), Ok(request("", Data::Empty))]));
    let chat = own.plugin.execute_stream(context, request("chat", message("a")), rest).await.unwrap();
    let items: Vec<_> = chat.collect().await;
    assert!(matches!(&items[..2], [Ok(Data::Typed { .. }), Ok(Data::Typed { .. })]));
    let error = items[2].as_ref().unwrap_err();
    assert!(error.message.contains("`chat` takes typed_params"), "{error}");
}

#[tokio::test]
async fn a_panic_is_its_calls_alone() {
    let own = own().await;
    let outcome = own.call::<_, ExistsResponse>("brief", &ExistsRequest { key: "panic".into() }).await;
    assert_eq!(outcome.unwrap_err().code, Code::Internal);
    own.call::<_, ExistsResponse>("brief", &ExistsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn the_rest_of_the_trait_is_passed_on() {
    let own = own().await;
    assert_eq!(own.plugin.health(own.id).await.status, HealthStatus::Healthy);
    let metrics = own.plugin.metrics(own.id).await.unwrap();
    assert_eq!((metrics.cache_hits, metrics.custom), (5, CustomMetrics::new().gauge("depth", 2.0)));
    for (config, words) in
        [(json!({ "greeting": "" }), "is empty"), (json!({ "greting": "" }), "unknown field")]
    {
        let plugin = Arc::new(Hosted::<Own>::new());
        let error = Instance::initialize(plugin, 1, &config, &[]).await.err().unwrap();
        assert!(error.message.contains(words), "{error}");
    }
}

/// Configured with a message of the project's own, in place of one that a plugin's author would write.
#[plugin(name = "typed", config = Proto<ScanRequest>, descriptors = prism_proto::FILE_DESCRIPTOR_SET)]
struct Typed {
    config: ScanRequest,
    secret: Option<String>,
}

#[operations]
impl Typed {
    #[init]
    async fn init(context: InitContext<Proto<ScanRequest>>) -> PluginResult<Self> {
        let secret = context.credentials.get("password").map(str::to_owned);
        Ok(Self { config: context.config.0, secret })
    }

    #[health]
    async fn health(&self) -> Health {
        Health::unhealthy("told to")
    }

    #[operation("config", read)]
    async fn config(&self, _: GetRequest) -> PluginResult<ScanRequest> {
        Ok(self.config.clone())
    }

    #[operation("whoami", read, raw)]
    async fn whoami(&self, context: &CallContext, _: Bytes) -> PluginResult<Bytes> {
        let CallContext { namespace, principal, request_id, traceparent, deadline, .. } = context;
        let principal = principal.as_deref().unwrap_or("nobody");
        let deadline = deadline.is_some();
        Ok(format!("{namespace} {principal} {request_id} {traceparent} {deadline} {:?}", self.secret).into())
    }

    #[operation("never", read, raw)]
    async fn never(&self, _: Bytes) -> PluginResult<Bytes> {
        std::future::pending().await
    }

    #[operation("keys", read, bidi)]
    async fn keys(
        &self,
        messages: Requests<GetRequest>,
    ) -> PluginResult<impl Stream<Item = PluginResult<ExistsRequest>> + Send + 'static> {
        Ok(messages.map(|message| message.map(|message| ExistsRequest { key: message.key })))
    }
}

#[tokio::test]
async fn a_configuration_may_be_a_message() {
    let host = Host::new(Arc::new(Hosted::<Typed>::new()));
    assert_eq!(host.plugin().describe().config_type, "prism.kv.v1.ScanRequest");
    assert_eq!(Hosted::<Own>::new().describe().config_type, "");
    let config = json!({ "prefix": "p", "page_size": 7 });
    let typed = host.namespace("a").config(&config).initialize().await.unwrap();
    let got: ScanRequest = typed.call("config", &GetRequest::default()).await.unwrap();
    assert_eq!((&*got.prefix, got.page_size), ("p", 7));
    let none = host.namespace("b").initialize().await.unwrap();
    let got: ScanRequest = none.call("config", &GetRequest::default()).await.unwrap();
    assert_eq!(got, ScanRequest::default());
    for (config, words) in
        [(json!({ "page_size": "many" }), "config.page_size"), (json!({ "prefx": "" }), "'prefx'")]
    {
        let error = host.namespace("c").config(&config).initialize().await.err().unwrap();
        assert!(error.code == Code::InvalidArgument && error.message.contains(words), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_put_together_as_the_proxy_does() {
    let host = Host::new(Arc::new(Hosted::<Typed>::new()));
    let one = host.namespace("one").credential("password", "x").initialize().await.unwrap();
    let other = host.namespace("other").initialize().await.unwrap();
    assert_ne!(one.id, other.id);
    let call = one.request("whoami").bytes("").principal("me").request_id("7").traceparent("00-1");
    assert_eq!(call.within(Duration::from_secs(1)).raw().await.unwrap(), "one me 7 00-1 true Some(\"x\")");
    assert_eq!(other.raw("whoami", "", &[]).await.unwrap(), "other nobody   false None");
    let late = one.request("never").bytes("").within(Duration::from_secs(1)).raw().await.unwrap_err();
    assert_eq!(late.code, Code::DeadlineExceeded);
    let key = |key: &str| GetRequest { key: key.into(), with_ttl: false };
    let keys = one.request("keys").params(&key("a")).params(&key("b")).stream().await.unwrap();
    assert_eq!(keys.map(Result::unwrap).count().await, 2);
    assert_eq!(one.health().await.message, "told to");
    assert_eq!(one.metrics().await.unwrap().requests_total, 3);
    one.shutdown().await;
    assert_eq!(one.raw("whoami", "", &[]).await.unwrap_err().code, Code::FailedPrecondition);
    other.raw("whoami", "", &[]).await.unwrap();
}

/// An interface and an operation of its own; its descriptors are in the interface's already.
#[plugin(name = "both", config = Nothing, implements = KeyValue, descriptors = prism_proto::FILE_DESCRIPTOR_SET)]
struct Both;

#[derive(serde::Deserialize)]
struct Nothing {}

#[operations]
impl Both {
    #[init]
    async fn init(_: InitContext<Nothing>) -> PluginResult<Self> {
        Ok(Self)
    }

    #[health]
    async fn health(&self) -> Health {
        Health::healthy()
    }

    #[operation("rename", write)]
    async fn get(&self, params: GetRequest) -> PluginResult<ExistsRequest> {
        Ok(ExistsRequest { key: params.key })
    }
}

impl KeyValue for Both {
    const TOKEN: &'static str = "both";

    async fn get(&self, key: &str, _: bool) -> PluginResult<Option<Found>> {
        Ok(Some(Found { value: Bytes::copy_from_slice(key.as_bytes()), ttl: None }))
    }

    async fn set(&self, _: String, _: Bytes, _: Option<Duration>, _: Condition) -> PluginResult<bool> {
        Ok(true)
    }

    async fn delete(&self, keys: Vec<String>) -> PluginResult<usize> {
        Ok(keys.len())
    }

    async fn exists(&self, _: &str) -> PluginResult<bool> {
        Ok(true)
    }

    async fn multi_get(&self, keys: &[String]) -> PluginResult<Vec<Option<Bytes>>> {
        Ok(vec![None; keys.len()])
    }

    async fn scan(&self, _: &str, _: usize, _: Option<&[u8]>) -> PluginResult<Page> {
        Err(kv::foreign_token())
    }

    async fn watch(
        &self,
        _: String,
    ) -> PluginResult<impl Stream<Item = PluginResult<WatchEvent>> + Send + 'static> {
        Ok(stream::iter([Ok(WatchEvent::default())]))
    }
}

#[tokio::test]
async fn an_interface_stands_beside_own_operations() {
    let plugin = Arc::new(Hosted::<Both>::new());
    let description = plugin.describe();
    assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(description.interfaces, ["prism.kv.v1"]);
    assert_eq!(description.operations.len(), operations("prism.kv.v1").len() + 1);
    assert_eq!(&description.file_descriptor_set[..], prism_proto::FILE_DESCRIPTOR_SET, "no file twice");
    let both = Instance::initialize(plugin, 1, &json!({}), &[]).await.unwrap();
    assert_eq!(both.raw("get", "key", &[]).await.unwrap(), "key");
    let renamed: ExistsRequest =
        both.call("rename", &GetRequest { key: "k".into(), with_ttl: false }).await.unwrap();
    assert_eq!(renamed.key, "k");
    let watch = both.open("watch", &prism_proto::kv::v1::WatchRequest::default()).await.unwrap();
    assert_eq!(watch.count().await, 1);
}
