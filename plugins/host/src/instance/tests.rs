//! Instances over their whole life, on a plugin in this process and on one that answers from a script.

use super::*;
use crate::{
    Forwarding, ProtocolChoice, Rpc, WireBody, WorkerLocal,
    testing::{
        Echo, Handler, Server, Speaks, all, answer, local, message,
        plugin::{PluginCall, Serve},
        read, refuse, socket, worker,
    },
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use h2::{RecvStream, server::SendResponse};
use http::Request;
use prism_platform::{
    Address, Platform,
    time::{self, Instant},
};
use prism_plugin_abi::{CallContext, Code, Description, InstanceId, Kind, OperationInfo, Payload};
use prism_proto::{google::protobuf::Any, plugin as wire};
use prost::Message;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

mod holding;
mod interfaces;
mod kinds;
mod life;
mod metrics;
mod protocols;
mod remote;
mod replacement;

/// What the plugin will say, and what it was asked.
#[derive(Default)]
struct Script {
    asked: Vec<String>,
    known: BTreeSet<u64>,
    /// `None`: it knows no `Describe`.
    description: Option<wire::DescribeResponse>,
    /// What `Initialize` fails with.
    rejects: Option<(Code, &'static str)>,
    /// It echoes this instead of the number that it was given.
    echoes: Option<u64>,
    /// It accepts configurations without this.
    poison: Option<&'static str>,
    /// It never answers for configurations with this, and holds the calls.
    stuck: Option<&'static str>,
    held: Vec<SendResponse<Bytes>>,
    health: wire::health_check_response::Status,
    counts: Counts,
    /// Of the configurations that it was given.
    config_types: Vec<String>,
    /// Calls that came over each transport.
    over_grpc: usize,
    over_frames: usize,
}

/// How the plugin will answer `GetMetrics`.
#[derive(Default)]
enum Counts {
    #[default]
    Nothing,
    Requests(i64),
    Custom(wire::CustomMetrics),
    Fails(Code),
    /// It holds the call and never answers.
    Never(Vec<SendResponse<Bytes>>),
    /// It answers with these bytes.
    Bytes(Bytes),
}

type Shared = Rc<RefCell<Script>>;

fn shared() -> Shared {
    let operation = |name: &str| wire::OperationInfo {
        name: name.to_owned(),
        kind: wire::operation_info::Kind::Read.into(),
        ..Default::default()
    };
    let description = wire::DescribeResponse {
        name: "script".to_owned(),
        operations: vec![operation("echo"), operation("get")],
        ..Default::default()
    };
    Rc::new(RefCell::new(Script { description: Some(description), ..Default::default() }))
}

async fn serve(address: &Address, script: &Shared) -> Server {
    let script = Rc::clone(script);
    // A process that starts knows nobody.
    script.borrow_mut().known.clear();
    let frames = Rc::clone(&script);
    let grpc: Handler =
        Rc::new(move |request, respond| respond_to(Rc::clone(&script), request, respond).boxed_local());
    let frames: Serve = Rc::new(move |call| answer_frames(Rc::clone(&frames), call).boxed_local());
    let speaks = Speaks {
        grpc: Some((h2::server::Builder::new(), grpc)),
        frames: Some((crate::testing::frames::config(None), frames)),
    };
    Server::speaking(address, speaks).await
}

async fn answer_frames(script: Shared, mut call: PluginCall) {
    let known = {
        let mut script = script.borrow_mut();
        script.over_frames += 1;
        script.known.contains(&call.head().instance.parse().unwrap())
    };
    let Ok(body) = call.read().await else { return };
    match known {
        true => call.answer(body.into_bytes()).await,
        false => call.fail(Code::FailedPrecondition, "unknown instance"),
    }
}

async fn respond_to(script: Shared, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    let method = head.uri.path().rsplit('/').next().unwrap().to_owned();
    let Ok(mut body) = read(&mut body).await else { return };
    let whole = body.clone();
    drop(body.split_to(5));
    let mut script = script.borrow_mut();
    match method.as_str() {
        "Describe" => {
            script.asked.push(method);
            match script.description.clone() {
                Some(description) => reply(respond, &description),
                None => refuse(respond, Code::Unimplemented, "no such method"),
            }
        }
        "Initialize" => {
            let request = wire::InitializeRequest::decode(body).unwrap();
            script.asked.push(format!("Initialize {}", request.instance));
            let config = request.config.unwrap_or_default();
            script.config_types.push(config.type_url.clone());
            let has = |text: &'static str| config.value.windows(text.len()).any(|it| it == text.as_bytes());
            if script.stuck.is_some_and(has) {
                script.held.push(respond);
                return;
            }
            let poisoned = script.poison.is_some_and(has);
            let rejects = script.rejects.or(poisoned.then_some((Code::InvalidArgument, "poisoned")));
            if rejects.is_none() {
                script.known.insert(request.instance);
            }
            reply(
                respond,
                &wire::InitializeResponse {
                    success: rejects.is_none(),
                    error: rejects.map(|(_, text)| text.to_owned()).unwrap_or_default(),
                    error_code: rejects.map_or(0, |(code, _)| code.number()),
                    supported_operations: vec!["get".to_owned(), "set".to_owned(), "drop".to_owned()],
                    instance: script.echoes.unwrap_or(request.instance),
                    ..Default::default()
                },
            );
        }
        "HealthCheck" => {
            script.asked.push(method);
            let status = script.health.into();
            reply(
                respond,
                &wire::HealthCheckResponse { status, message: "so so".to_owned(), ..Default::default() },
            );
        }
        "GetMetrics" => {
            script.asked.push(method);
            count(&mut script.counts, respond);
        }
        "Shutdown" => {
            let request = wire::ShutdownRequest::decode(body).unwrap();
            script.asked.push(format!("Shutdown {}", request.instance));
            script.known.remove(&request.instance);
            reply(respond, &wire::ShutdownResponse {});
        }
        _ => {
            script.over_grpc += 1;
            let instance: u64 = head.headers["x-prism-instance"].to_str().unwrap().parse().unwrap();
            match script.known.contains(&instance) {
                true => answer(respond, whole),
                false => refuse(respond, Code::FailedPrecondition, "unknown instance"),
            }
        }
    }
}

fn count(counts: &mut Counts, respond: SendResponse<Bytes>) {
    let metrics = wire::PluginMetrics::default();
    match counts {
        Counts::Nothing => reply(respond, &metrics),
        Counts::Requests(requests_total) => {
            reply(respond, &wire::PluginMetrics { requests_total: *requests_total, ..metrics });
        }
        Counts::Custom(custom) => {
            let custom_metrics = Some(Any {
                type_url: "type.googleapis.com/prism.plugin.CustomMetrics".to_owned(),
                value: custom.encode_to_vec().into(),
            });
            reply(respond, &wire::PluginMetrics { custom_metrics, ..metrics });
        }
        Counts::Fails(code) => refuse(respond, *code, "not now"),
        Counts::Never(held) => held.push(respond),
        Counts::Bytes(bytes) => answer(respond, Payload::from(bytes.clone())),
    }
}

fn reply(respond: SendResponse<Bytes>, message: &impl Message) {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    answer(respond, Payload::from(frame.freeze()));
}

impl Script {
    fn count(&self, what: &str) -> usize {
        self.asked.iter().filter(|asked| asked.starts_with(what)).count()
    }
}

/// No health check falls into a test that does not ask for one: what is noticed is noticed by itself.
fn options() -> SupervisionOptions {
    SupervisionOptions {
        health_interval: Duration::from_secs(3600),
        rejected_pause: Duration::from_millis(50),
        ..Default::default()
    }
}

fn slot() -> NamespaceSlot {
    NamespaceSlot::new(Platform::system(), Arc::new(options()))
}

fn slot_that_checks() -> NamespaceSlot {
    let options = SupervisionOptions { health_interval: Duration::from_millis(5), ..options() };
    NamespaceSlot::new(Platform::system(), Arc::new(options))
}

fn spec(transport: Transport, config: serde_json::Value) -> InstanceSpec {
    InstanceSpec {
        namespace: "demo".to_owned(),
        backend_type: "script".to_owned(),
        plugin: Arc::new(PluginSpec::new("script".to_owned(), transport, BTreeMap::new()).unwrap()),
        config: config.into(),
        credentials: Default::default(),
        operation_kinds: BTreeMap::new(),
    }
}

fn sidecar(address: &Address, config: serde_json::Value) -> InstanceSpec {
    spec(Transport::Process { address: address.clone(), protocol: ProtocolChoice::Auto }, config)
}

async fn state(backend: &Backend, wanted: State) -> Arc<Status> {
    backend.wait_until(|status| status.state == wanted).await
}

fn call(backend: &Backend, worker: &WorkerLocal) -> Forwarding {
    let context =
        CallContext { instance: backend.instance(), namespace: "demo".into(), ..Default::default() };
    backend.channel().forward(worker, Rpc::Execute, context, WireBody::Whole(message("echo", "hello")))
}

/// The gRPC status of a call.
async fn grpc_status(backend: &Backend, worker: &WorkerLocal) -> String {
    let (_, trailers) = all(call(backend, worker).await.unwrap()).await.unwrap();
    trailers["grpc-status"].to_str().unwrap().to_owned()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}
