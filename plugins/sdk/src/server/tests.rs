//! Environment, sockets, and a plugin called through tonic's own client.

use super::*;
use crate::{BackendPlugin, Hosted, InitContext, Params};
use bytes::Bytes;
use prism_plugin_abi::{
    CallContext, Code, Data, Description, Error, Health, Kind, OperationInfo, Request, RequestStream,
    ResponseStream,
};
use prism_proto::plugin::{
    DescribeRequest, ExecuteRequest, GetMetricsRequest, HealthCheckRequest, InitializeRequest,
    ShutdownRequest, StreamRequest, backend_plugin_client::BackendPluginClient, execute_request,
    execute_response, stream_request,
};
use std::os::unix::fs::PermissionsExt;
use tonic::transport::Channel;

#[test]
fn the_environment_names_the_address() {
    let from = |vars: &[(&str, &str)]| {
        let vars: std::collections::HashMap<_, _> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        ServeOptions::from_vars(|name| vars.get(name).cloned()).map(|options| options.address.to_string())
    };
    assert_eq!(from(&[]).unwrap(), "127.0.0.1:50100");
    assert_eq!(from(&[("PLUGIN_GRPC_PORT", "1234")]).unwrap(), "127.0.0.1:1234");
    assert_eq!(from(&[("PLUGIN_SOCKET", "/b"), ("PLUGIN_GRPC_PORT", "1234")]).unwrap(), "/b");
    assert_eq!(from(&[("PRISM_PLUGIN_SOCKET", "/a"), ("PLUGIN_SOCKET", "/b")]).unwrap(), "/a");
    assert_eq!(from(&[("PRISM_PLUGIN_SOCKET", ""), ("PLUGIN_SOCKET", "/b")]).unwrap(), "/b");
    for port in ["x", "65536", "-1", "127.0.0.1:1"] {
        assert!(matches!(from(&[("PLUGIN_GRPC_PORT", port)]), Err(BindError::Port(_))), "{port}");
    }
}

#[tokio::test]
async fn a_socket_is_private_and_only_a_dead_one_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let address = Address::Unix(path.clone());
    let first = Listener::bind(&address).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Listener::bind(&address), Err(BindError::InUse(_))));
    drop(first);
    assert!(!path.exists(), "it takes its path along");

    // What a killed server leaves behind: the path, and nobody there.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = Listener::bind(&address).unwrap();
    std::fs::remove_file(&path).unwrap();
    let third = Listener::bind(&address).unwrap();
    drop(second);
    assert!(path.exists(), "a successor's path is not removed");
    drop(third);

    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(Listener::bind(&address), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    let nowhere = Address::Unix(dir.path().join("no/such/s"));
    assert!(matches!(Listener::bind(&nowhere), Err(BindError::Io { .. })));
}

struct Echo;

impl BackendPlugin for Echo {
    type Config = std::collections::HashMap<String, String>;

    fn descriptor() -> Description {
        let operation = |name: &str, stream| OperationInfo {
            name: name.into(),
            kind: Kind::Read,
            server_streaming: stream,
            client_streaming: stream,
            raw: true,
            ..OperationInfo::default()
        };
        Description {
            name: "echo".into(),
            version: "0".into(),
            operations: vec![operation("echo", false), operation("whoami", false), operation("chat", true)],
            ..Description::default()
        }
    }

    async fn initialize(_: InitContext<Self::Config>) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }

    async fn execute(self: &Arc<Self>, context: &CallContext, request: Request) -> Result<Data, Error> {
        match &*request.operation {
            "echo" => Ok(Data::Raw(request.raw()?)),
            _ => Ok(Data::Raw(Bytes::from(format!("{context:?}")).into())),
        }
    }

    async fn execute_stream(
        self: &Arc<Self>,
        _: &CallContext,
        first: Request,
        rest: RequestStream,
    ) -> Result<ResponseStream, Error> {
        use futures_util::StreamExt;
        match &*first.raw()?.into_bytes() {
            b"refuse" => return Err(Error::operation(Code::Aborted, "told to")),
            b"unavailable" => return Err(Error::channel(Code::Unavailable, "told to")),
            _ => {}
        }
        Ok(Box::pin(rest.map(|message| Ok(Data::Raw(message?.raw()?)))))
    }
}

struct Server {
    client: BackendPluginClient<Channel>,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<(), ServeError>>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

async fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.sock");
    let options = ServeOptions {
        address: Address::Unix(path.clone()),
        drain_timeout: Duration::from_millis(100),
        ..ServeOptions::default()
    };
    let listener = Listener::bind(&options.address).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve_on(listener, Arc::new(Hosted::<Echo>::new()), options, async {
        let _ = stopped.await;
    }));
    let client = BackendPluginClient::new(crate::testing::connect(path.clone()).await)
        .max_decoding_message_size(usize::MAX);
    Server { client, stop, served, path, _dir: dir }
}

fn with<T>(message: T, headers: &[(&'static str, &str)]) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

fn execute(operation: &str, raw: Vec<u8>) -> ExecuteRequest {
    ExecuteRequest {
        operation: operation.into(),
        params: Some(execute_request::Params::RawParams(raw.into())),
        metadata: Default::default(),
    }
}

async fn initialized() -> Server {
    let mut server = server().await;
    let request = InitializeRequest { namespace: "ns".into(), instance: u64::MAX - 1, ..Default::default() };
    let answer = server.client.initialize(request).await.unwrap().into_inner();
    assert!(answer.success);
    assert_eq!(answer.instance, u64::MAX - 1);
    assert_eq!(answer.supported_operations, ["echo", "whoami", "chat"]);
    server
}

const INSTANCE: (&str, &str) = ("x-prism-instance", "18446744073709551614");

#[tokio::test]
async fn unary_calls() {
    let mut server = initialized().await;
    let client = &mut server.client;
    let described = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!((&*described.name, described.operations.len(), described.protocol), ("echo", 3, 1));
    assert_eq!(described.transports, ["grpc"]);

    // Larger than every window, and than tonic's own default limit.
    let large = vec![7; 8 << 20];
    let answer =
        client.execute(with(execute("echo", large.clone()), &[INSTANCE])).await.unwrap().into_inner();
    assert!(answer.success);
    assert_eq!(answer.result, Some(execute_response::Result::RawResult(large.into())));

    let headers =
        [INSTANCE, ("x-prism-namespace", "ns"), ("x-prism-principal", "me"), ("x-request-id", "r1")];
    let answer = client.execute(with(execute("whoami", vec![]), &headers)).await.unwrap().into_inner();
    let Some(execute_response::Result::RawResult(said)) = answer.result else { panic!() };
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("\"me\"") && said.contains("\"ns\"") && said.contains("\"r1\""), "{said}");
    // What a client puts into the message is not believed.
    let mut lying = execute("whoami", vec![]);
    lying.metadata.insert("x-prism-principal".into(), "root".into());
    let answer = client.execute(with(lying, &[INSTANCE])).await.unwrap().into_inner();
    let Some(execute_response::Result::RawResult(said)) = answer.result else { panic!() };
    assert!(!String::from_utf8_lossy(&said).contains("root"));

    let empty = ExecuteRequest { params: None, ..execute("echo", vec![]) };
    let failed = client.execute(with(empty, &[INSTANCE])).await.unwrap().into_inner();
    assert_eq!((failed.success, failed.error_code), (false, Code::InvalidArgument.number()));
    assert!(!failed.error.is_empty());

    let counted =
        client.get_metrics(GetMetricsRequest { instance: u64::MAX - 1 }).await.unwrap().into_inner();
    assert_eq!((counted.requests_total, counted.requests_failed), (4, 1));
    let healthy = HealthCheckRequest { instance: u64::MAX - 1, connection_id: None };
    assert_eq!(client.health_check(healthy).await.unwrap().into_inner().status, 0);
}

#[tokio::test]
async fn what_never_became_an_operation_is_a_status() {
    let mut server = initialized().await;
    let client = &mut server.client;
    for (headers, operation, code) in [
        (vec![INSTANCE], "nothing", tonic::Code::Unimplemented),
        (vec![INSTANCE], "chat", tonic::Code::Unimplemented),
        (vec![("x-prism-instance", "5")], "echo", tonic::Code::FailedPrecondition),
        (vec![("x-prism-namespace", "other")], "echo", tonic::Code::FailedPrecondition),
        (vec![("x-prism-instance", "five")], "echo", tonic::Code::InvalidArgument),
        (vec![INSTANCE, INSTANCE], "echo", tonic::Code::InvalidArgument),
    ] {
        let status = client.execute(with(execute(operation, vec![]), &headers)).await.unwrap_err();
        assert_eq!(status.code(), code, "{headers:?} {operation}: {status}");
    }
    let unknown = client.get_metrics(GetMetricsRequest { instance: 5 }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::FailedPrecondition);
    client.shutdown(ShutdownRequest { instance: u64::MAX - 1 }).await.unwrap();
    let status = client.execute(with(execute("echo", vec![]), &[INSTANCE])).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
}

fn chat(operation: &str, raw: &'static [u8]) -> StreamRequest {
    StreamRequest {
        operation: operation.into(),
        params: Some(stream_request::Params::RawParams(Bytes::from_static(raw))),
        metadata: Default::default(),
    }
}

#[tokio::test]
async fn streams() {
    let mut server = initialized().await;
    let client = &mut server.client;
    let messages = [chat("chat", b"open"), chat("", b"a"), chat("chat", b"b")];
    let call = with(tokio_stream::iter(messages), &[INSTANCE]);
    let mut answers = client.execute_stream(call).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(answers.message().await.unwrap().unwrap().error_code, 0);
    }
    assert!(answers.message().await.unwrap().is_none());

    // In-band: the headers say OK, and the only message is final.
    for (messages, code) in [
        (vec![chat("chat", b"refuse")], Code::Aborted),
        (vec![chat("chat", b"open"), chat("other", b"a")], Code::InvalidArgument),
    ] {
        let call = with(tokio_stream::iter(messages), &[INSTANCE]);
        let mut answers = client.execute_stream(call).await.unwrap().into_inner();
        let last = answers.message().await.unwrap().unwrap();
        assert_eq!((last.is_final, last.error_code), (true, code.number()));
        assert!(answers.message().await.unwrap().is_none());
    }
    for (messages, code) in [
        (vec![], tonic::Code::InvalidArgument),
        (vec![chat("chat", b"unavailable")], tonic::Code::Unavailable),
        (vec![chat("echo", b"")], tonic::Code::Unimplemented),
    ] {
        let call = with(tokio_stream::iter(messages), &[INSTANCE]);
        assert_eq!(client.execute_stream(call).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn shutdown_waits_for_calls_but_not_for_ever() {
    let mut server = initialized().await;
    let open =
        tokio_stream::StreamExt::chain(tokio_stream::iter([chat("chat", b"open")]), tokio_stream::pending());
    let mut answers = server.client.execute_stream(with(open, &[INSTANCE])).await.unwrap().into_inner();
    server.stop.send(()).unwrap();
    server.served.await.unwrap().unwrap();
    let cut = answers.message().await.unwrap_err();
    assert_eq!(cut.code(), tonic::Code::Unavailable, "{cut}");
    assert!(!server.path.exists());
}
