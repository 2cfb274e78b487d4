//! Environment, sockets, and a plugin called over every transport.

#![expect(clippy::disallowed_methods, reason = "a plugin and its tests have no platform seam")]

use super::*;
use crate::{
    BackendPlugin, Hosted, InitContext, Params,
    testing::{RemotePlugin, Transport},
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use prism_plugin_abi::{
    CallContext, Code, Data, Description, Error, Health, HealthStatus, InstanceId, Kind, OperationInfo,
    Request, RequestStream, ResponseStream, Scope,
};
use prism_proto::plugin::{ExecuteRequest, InitializeRequest, backend_plugin_client::BackendPluginClient};
use std::{os::unix::fs::PermissionsExt, path::Path, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};

mod standalone;

/// Makes a test of each function for each transport.
macro_rules! over_every_transport {
    ($($name:ident)*) => {
        mod grpc { $(#[tokio::test] async fn $name() { super::$name(super::Transport::Grpc).await })* }
        mod frames { $(#[tokio::test] async fn $name() { super::$name(super::Transport::Frames).await })* }
    };
}

over_every_transport! {
    unary_calls
    what_never_became_an_operation_is_a_status
    streams
    a_stream_opens_before_its_first_message
    a_deadline_ends_the_call
    who_drops_a_call_cancels_it
    a_panic_ends_its_own_call_alone
    messages_above_the_limit_are_refused
    shutdown_waits_for_calls_but_not_for_ever
    shutdown_lets_calls_end
}

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
    assert_eq!(
        from(&[("PRISM_PLUGIN_ADDRESS", "127.0.0.1:7"), ("PLUGIN_GRPC_PORT", "1")]).unwrap(),
        "127.0.0.1:7"
    );
    assert!(matches!(from(&[("PRISM_PLUGIN_ADDRESS", "localhost:1")]), Err(BindError::Address(_))));
    assert!(matches!(from(&[("PRISM_PLUGIN_ADDRESS", "0.0.0.0:1")]), Err(BindError::Exposed(_))));
    let files = [
        ("PRISM_PLUGIN_TLS_CERT", "/c"),
        ("PRISM_PLUGIN_TLS_KEY", "/k"),
        ("PRISM_PLUGIN_TLS_CLIENT_CA", "/a"),
    ];
    for missing in 0..3 {
        let mut vars = files.to_vec();
        let (name, _) = vars.remove(missing);
        assert!(matches!(from(&vars), Err(BindError::Incomplete(said)) if said == name), "{name}");
    }
    let mut vars = files.to_vec();
    vars.push(("PRISM_PLUGIN_ADDRESS", "0.0.0.0:1"));
    assert_eq!(from(&vars).unwrap(), "0.0.0.0:1");
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

#[derive(Default)]
struct Echo;

/// Calls under way in `sleep`, in this process: tests that look at it use namespaces of their own.
static SLEEPING: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());

struct Sleeping(String);

impl Sleeping {
    fn new(namespace: &str) -> Self {
        SLEEPING.lock().unwrap().push(namespace.to_owned());
        Self(namespace.to_owned())
    }

    fn count(namespace: &str) -> usize {
        SLEEPING.lock().unwrap().iter().filter(|name| *name == namespace).count()
    }

    /// Waits until so many sleep.
    async fn until(namespace: &str, count: usize) {
        let wait = async {
            while Self::count(namespace) != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(HANG, wait).await.expect("calls did not come and go as they should");
    }
}

impl Drop for Sleeping {
    fn drop(&mut self) {
        let mut all = SLEEPING.lock().unwrap();
        let place = all.iter().position(|name| *name == self.0).unwrap();
        all.swap_remove(place);
    }
}

/// Only keeps a hanging test from hanging the suite.
const HANG: Duration = Duration::from_secs(60);

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
            operations: ["echo", "whoami", "sleep", "panic"]
                .map(|name| operation(name, false))
                .into_iter()
                .chain([operation("chat", true)])
                .collect(),
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
            "sleep" => {
                let _sleeping = Sleeping::new(&context.namespace);
                match request.metadata("ms").and_then(|text| text.parse().ok()) {
                    Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                    None => std::future::pending().await,
                }
                Ok(Data::Empty)
            }
            "panic" => panic!("asked for by the test"),
            _ => Ok(Data::Raw(Bytes::from(format!("{context:?}")).into())),
        }
    }

    async fn execute_stream(
        self: &Arc<Self>,
        context: &CallContext,
        first: Request,
        rest: RequestStream,
    ) -> Result<ResponseStream, Error> {
        let sleeping = Sleeping::new(&context.namespace);
        match &*first.raw()?.into_bytes() {
            b"refuse" => return Err(Error::operation(Code::Aborted, "told to")),
            b"unavailable" => return Err(Error::channel(Code::Unavailable, "told to")),
            b"panic" => panic!("asked for by the test"),
            b"never" => {
                return Ok(Box::pin(stream::pending().map(move |(): ()| {
                    let _ = (&sleeping, &rest);
                    Ok(Data::Empty)
                })));
            }
            _ => {}
        }
        Ok(Box::pin(rest.map(move |message| {
            let _ = &sleeping;
            let raw = message?.raw()?;
            match &*raw.clone().into_bytes() {
                b"panic" => panic!("asked for by the test"),
                b"lose" => Err(Error::channel(Code::DataLoss, "told to")),
                _ => Ok(Data::Raw(raw)),
            }
        })))
    }
}

struct Server {
    plugin: RemotePlugin,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<(), ServeError>>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

async fn server(transport: Transport, change: impl FnOnce(&mut ServeOptions)) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.sock");
    let mut options = ServeOptions {
        address: Address::Unix(path.clone()),
        drain_timeout: Duration::from_millis(100),
        ..ServeOptions::default()
    };
    change(&mut options);
    let listener = Listener::bind(&options.address).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve_on(listener, Arc::new(Hosted::<Echo>::new()), options, async {
        let _ = stopped.await;
    }));
    let plugin = RemotePlugin::connect(path.clone(), Arc::new(Echo::descriptor()), transport).await;
    Server { plugin, stop, served, path, _dir: dir }
}

const INSTANCE: InstanceId = InstanceId(u64::MAX - 1);

/// With an instance for this namespace.
async fn initialized(transport: Transport, namespace: &str) -> Server {
    let server = server(transport, |_| ()).await;
    server.initialize(namespace).await;
    server
}

impl Server {
    async fn initialize(&self, namespace: &str) {
        let request =
            InitializeRequest { namespace: namespace.into(), instance: INSTANCE.0, ..Default::default() };
        let answer = self.plugin.initialize_with(&request).await.unwrap();
        assert!(answer.success);
        assert_eq!(answer.instance, INSTANCE.0);
        assert_eq!(answer.supported_operations, ["echo", "whoami", "sleep", "panic", "chat"]);
    }

    async fn execute(&self, context: CallContext, request: Request) -> Result<Data, Error> {
        let call = self.plugin.execute(context, request);
        tokio::time::timeout(HANG, call).await.expect("the call hangs")
    }

    /// Opens a stream with these messages, ended after them.
    async fn chat(
        &self,
        context: CallContext,
        messages: Vec<Request>,
    ) -> Result<Vec<Result<Data, Error>>, Error> {
        let mut messages = messages.into_iter();
        let first = messages.next().unwrap();
        let rest = Box::pin(stream::iter(messages.map(Ok)));
        let call = async {
            let answers = self.plugin.execute_stream(context, first, rest).await?;
            Ok(answers.collect().await)
        };
        tokio::time::timeout(HANG, call).await.expect("the stream hangs")
    }
}

fn context(namespace: &str) -> CallContext {
    CallContext { instance: INSTANCE, namespace: namespace.into(), ..Default::default() }
}

fn from_now(time: Duration) -> Option<Instant> {
    Some(tokio::time::Instant::now().into_std() + time)
}

/// A namespace that no other test has.
fn own(test: &str, transport: Transport) -> String {
    format!("{test} over {transport:?}")
}

fn raw(operation: &'static str, raw: impl Into<Bytes>) -> Request {
    let params = Data::Raw(raw.into().into());
    Request { operation: operation.into(), params, metadata: Vec::new() }
}

fn text(data: Data) -> String {
    let Data::Raw(said) = data else { panic!("not raw: {data:?}") };
    String::from_utf8_lossy(&said.into_bytes()).into_owned()
}

async fn unary_calls(transport: Transport) {
    let server = initialized(transport, "ns").await;
    let described = server.plugin.fetch_description().await.unwrap();
    assert_eq!((&*described.name, described.operations.len(), described.protocol), ("echo", 5, 1));
    assert_eq!(described.transports, ["grpc", "frames/1"]);

    // Larger than every window, and than tonic's own default limit.
    for length in [0, 1, 100, 16 << 10, (64 << 10) - 5, 64 << 10, 300 << 10, 8 << 20] {
        let large = Bytes::from((0..length).map(|index| index as u8).collect::<Vec<_>>());
        let Data::Raw(answer) = server.execute(context("ns"), raw("echo", large.clone())).await.unwrap()
        else {
            panic!("not raw")
        };
        assert!(answer.into_bytes() == large, "{length} bytes");
    }

    let asked = CallContext {
        principal: Some("me".into()),
        request_id: "r1".into(),
        traceparent: "t1".into(),
        deadline: from_now(Duration::from_secs(1000)),
        ..context("ns")
    };
    let said = text(server.execute(asked, raw("whoami", "")).await.unwrap());
    for part in ["Some(\"me\")", "\"ns\"", "\"r1\"", "\"t1\"", "deadline: Some"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = text(server.execute(context("ns"), raw("whoami", "")).await.unwrap());
    for part in ["principal: None", "deadline: None"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // What a client puts into the message is not believed.
    let lying = Request { metadata: vec![("x-prism-principal".into(), "root".into())], ..raw("whoami", "") };
    assert!(!text(server.execute(context("ns"), lying).await.unwrap()).contains("root"));

    let empty = Request { params: Data::Empty, ..raw("echo", "") };
    let failed = server.execute(context("ns"), empty).await.unwrap_err();
    assert_eq!((failed.code, failed.scope), (Code::InvalidArgument, Scope::Operation));
    assert!(!failed.message.is_empty());

    let counted = server.plugin.fetch_metrics(INSTANCE).await.unwrap();
    assert_eq!((counted.requests_total, counted.requests_failed), (12, 1));
    assert_eq!(server.plugin.health(INSTANCE).await.status, HealthStatus::Healthy);
}

async fn what_never_became_an_operation_is_a_status(transport: Transport) {
    let server = initialized(transport, "ns").await;
    let of = |instance, namespace| CallContext { instance, ..context(namespace) };
    for (context, operation, code) in [
        (context("ns"), "nothing", Code::Unimplemented),
        (context("ns"), "chat", Code::Unimplemented),
        (of(InstanceId(5), "ns"), "echo", Code::FailedPrecondition),
        (of(InstanceId(0), "other"), "echo", Code::FailedPrecondition),
    ] {
        let error = server.execute(context.clone(), raw(operation, "")).await.unwrap_err();
        assert_eq!((error.code, error.scope), (code, Scope::Channel), "{context:?} {operation}: {error}");
    }
    let unknown = server.plugin.fetch_metrics(InstanceId(5)).await.unwrap_err();
    assert_eq!((unknown.code, unknown.scope), (Code::FailedPrecondition, Scope::Channel));
    server.plugin.shutdown(INSTANCE).await;
    let error = server.execute(context("ns"), raw("echo", "")).await.unwrap_err();
    assert_eq!((error.code, error.scope), (Code::FailedPrecondition, Scope::Channel));
}

#[tokio::test]
async fn headers_that_no_proxy_sends_are_refused() {
    let server = initialized(Transport::Grpc, "ns").await;
    let mut client = BackendPluginClient::new(crate::testing::connect(server.path.clone()).await);
    for headers in [&["five"][..], &["18446744073709551614", "18446744073709551614"]] {
        let mut request =
            tonic::Request::new(ExecuteRequest { operation: "echo".into(), ..Default::default() });
        for value in headers {
            request.metadata_mut().append("x-prism-instance", value.parse().unwrap());
        }
        assert_eq!(client.execute(request).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}

#[tokio::test]
async fn one_socket_speaks_both_at_once_and_outlives_who_speaks_neither() {
    let first = initialized(Transport::Grpc, "ns").await;
    let description = Arc::new(Echo::descriptor());
    let second = RemotePlugin::connect(first.path.clone(), description, Transport::Frames).await;
    let connect = || async { tokio::net::UnixStream::connect(&first.path).await.unwrap() };
    // Undecided ones, for as long as this test runs.
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"\0", b"\0PRISM"] {
        let mut io = connect().await;
        io.write_all(bytes).await.unwrap();
        silent.push(io);
    }
    for bytes in
        [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], b"\x16\x03\x01", b"\0PRISM/2........................"]
    {
        let mut io = connect().await;
        io.write_all(bytes).await.unwrap();
        io.shutdown().await.unwrap();
        // It is closed, with or without a word.
        let mut said = Vec::new();
        let read = io.read_to_end(&mut said);
        let _ = tokio::time::timeout(HANG, read).await.expect("it stays open");
    }
    for _ in 0..20 {
        let calls = [&first.plugin, &second].map(|plugin| plugin.execute(context("ns"), raw("echo", "x")));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(text(answer.unwrap()), "x");
        }
    }
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_what_it_speaks_is_closed() {
    let server = server(Transport::Frames, |_| ()).await;
    for bytes in [&b""[..], b"\0PRISM"] {
        let began = tokio::time::Instant::now();
        let mut io = tokio::net::UnixStream::connect(&server.path).await.unwrap();
        io.write_all(bytes).await.unwrap();
        assert_eq!(io.read(&mut [0]).await.unwrap(), 0);
        assert!(began.elapsed() >= Duration::from_secs(10));
    }
}

async fn streams(transport: Transport) {
    let server = initialized(transport, "ns").await;
    let chat = |messages: &[(&'static str, &'static str)]| {
        let messages = messages.iter().map(|(operation, text)| raw(operation, *text)).collect();
        server.chat(context("ns"), messages)
    };
    let answers = chat(&[("chat", "open"), ("", "a"), ("chat", "b")]).await.unwrap();
    assert_eq!(answers.into_iter().map(|answer| text(answer.unwrap())).collect::<Vec<_>>(), ["a", "b"]);

    // In-band: the call goes well, and its only message is the failure.
    for (messages, code) in [
        (&[("chat", "refuse")][..], Code::Aborted),
        (&[("chat", "open"), ("other", "a")], Code::InvalidArgument),
        (&[("chat", "panic")], Code::Internal),
        (&[("chat", "open"), ("", "panic")], Code::Internal),
    ] {
        let [Err(error)] = &chat(messages).await.unwrap()[..] else { panic!("not one error: {messages:?}") };
        assert_eq!((error.code, error.scope), (code, Scope::Operation));
    }
    for (messages, code) in
        [(&[("chat", "unavailable")][..], Code::Unavailable), (&[("echo", "")], Code::Unimplemented)]
    {
        let error = chat(messages).await.unwrap_err();
        assert_eq!((error.code, error.scope), (code, Scope::Channel));
    }
    let answers = chat(&[("chat", "open"), ("", "a"), ("", "lose"), ("", "b")]).await.unwrap();
    let [Ok(_), Err(error)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((error.code, error.scope), (Code::DataLoss, Scope::Channel));

    // Larger than every window, in both directions at once, and many small ones.
    let large = Bytes::from(vec![7; 3 << 20]);
    let messages = (0..5).map(|_| raw("chat", large.clone())).collect();
    let answers = server.chat(context("ns"), messages).await.unwrap();
    let lengths = answers.into_iter().map(|answer| match answer {
        Ok(Data::Raw(raw)) => raw.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [3 << 20; 4]);
    let messages = (0..10_000).map(|_| raw("chat", "small")).collect();
    assert_eq!(server.chat(context("ns"), messages).await.unwrap().len(), 9_999);
}

/// A client's messages that it sends one by one.
fn by_hand() -> (mpsc::UnboundedSender<Request>, RequestStream) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, Box::pin(stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|next| next.map(Ok)))))
}

async fn a_stream_opens_before_its_first_message(transport: Transport) {
    let namespace = &own("opens", transport);
    let server = initialized(transport, namespace).await;
    let (sender, rest) = by_hand();
    let opening = server.plugin.execute_stream(context(namespace), raw("chat", "open"), rest);
    let mut answers = tokio::time::timeout(HANG, opening).await.expect("it does not open").unwrap();
    assert!(answers.next().now_or_never().is_none());
    for word in ["a", "b"] {
        sender.send(raw("", word)).unwrap();
        assert_eq!(text(answers.next().await.unwrap().unwrap()), word);
    }
    assert_eq!(Sleeping::count(namespace), 1);
    drop(sender);
    assert!(answers.next().await.is_none());
    Sleeping::until(namespace, 0).await;
}

async fn a_deadline_ends_the_call(transport: Transport) {
    let namespace = &own("deadline", transport);
    let server = initialized(transport, namespace).await;
    let soon = || CallContext { deadline: from_now(Duration::from_millis(50)), ..context(namespace) };
    let error = server.execute(soon(), raw("sleep", "")).await.unwrap_err();
    // tonic's server looks at the time too, and says CANCELLED.
    let right = error.code == Code::DeadlineExceeded
        || (transport == Transport::Grpc && error.code == Code::Cancelled);
    assert!(right && error.scope == Scope::Channel, "{error}");
    Sleeping::until(namespace, 0).await;
    // One that ends before is not touched by it.
    assert!(server.execute(soon(), raw("echo", "x")).await.is_ok());
}

async fn who_drops_a_call_cancels_it(transport: Transport) {
    let namespace = &own("drop", transport);
    let server = initialized(transport, namespace).await;
    let calls: Vec<_> =
        (0..20).map(|_| tokio::spawn(server.plugin.execute(context(namespace), raw("sleep", "")))).collect();
    Sleeping::until(namespace, 20).await;
    for call in calls {
        call.abort();
    }
    Sleeping::until(namespace, 0).await;
    let (sender, rest) = by_hand();
    let opening = server.plugin.execute_stream(context(namespace), raw("chat", "never"), rest);
    let answers = opening.await.unwrap();
    Sleeping::until(namespace, 1).await;
    // hyper's client cancels when both sides are given up.
    drop((answers, sender));
    Sleeping::until(namespace, 0).await;
    assert!(server.execute(context(namespace), raw("echo", "x")).await.is_ok());
}

async fn a_panic_ends_its_own_call_alone(transport: Transport) {
    let server = initialized(transport, "ns").await;
    let slow = Request { metadata: vec![("ms".into(), "200".into())], ..raw("sleep", "") };
    let beside = tokio::spawn(server.plugin.execute(context("ns"), slow));
    let error = server.execute(context("ns"), raw("panic", "")).await.unwrap_err();
    assert_eq!(error.code, Code::Internal);
    assert!(beside.await.unwrap().is_ok());
    assert!(server.execute(context("ns"), raw("echo", "x")).await.is_ok());
}

async fn messages_above_the_limit_are_refused(transport: Transport) {
    let server = server(transport, |options| options.max_message_bytes = 100_000).await;
    server.initialize("ns").await;
    let large = || raw("echo", vec![0; 100_001]);
    // tonic says OUT_OF_RANGE where the gRPC documentation says RESOURCE_EXHAUSTED.
    let refused = [Code::ResourceExhausted, Code::OutOfRange];
    let error = server.execute(context("ns"), large()).await.unwrap_err();
    assert!(refused.contains(&error.code) && error.scope == Scope::Channel, "{error}");
    let error = server.chat(context("ns"), vec![Request { operation: "chat".into(), ..large() }]).await;
    assert!(refused.contains(&error.unwrap_err().code));
    assert!(server.execute(context("ns"), raw("echo", vec![0; 99_000])).await.is_ok());
}

async fn shutdown_waits_for_calls_but_not_for_ever(transport: Transport) {
    let server = initialized(transport, "ns").await;
    let (_sender, rest) = by_hand();
    let opening = server.plugin.execute_stream(context("ns"), raw("chat", "open"), rest);
    let mut answers = opening.await.unwrap();
    server.stop.send(()).unwrap();
    server.served.await.unwrap().unwrap();
    let cut = answers.next().await.unwrap().unwrap_err();
    assert_eq!((cut.code, cut.scope), (Code::Unavailable, Scope::Channel), "{cut}");
    assert!(!server.path.exists());
}

async fn shutdown_lets_calls_end(transport: Transport) {
    let namespace = &own("lets", transport);
    let server = server(transport, |options| options.drain_timeout = HANG).await;
    server.initialize(namespace).await;
    let slow = Request { metadata: vec![("ms".into(), "200".into())], ..raw("sleep", "") };
    let slow = tokio::spawn(server.plugin.execute(context(namespace), slow));
    Sleeping::until(namespace, 1).await;
    let (sender, rest) = by_hand();
    let opening = server.plugin.execute_stream(context(namespace), raw("chat", "open"), rest);
    let mut answers = opening.await.unwrap();
    server.stop.send(()).unwrap();
    assert!(slow.await.unwrap().is_ok());
    sender.send(raw("", "still here")).unwrap();
    assert_eq!(text(answers.next().await.unwrap().unwrap()), "still here");
    drop(sender);
    assert!(answers.next().await.is_none());
    server.served.await.unwrap().unwrap();
}

/// Its backlog is full, and it accepts nobody.
#[tokio::test]
async fn a_server_that_is_stopped_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("plugin.sock");
    let address = socket2::SockAddr::unix(&path).unwrap();
    let socket = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let stopped = socket();
    stopped.bind(&address).unwrap();
    stopped.listen(1).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = socket();
        client.set_nonblocking(true).unwrap();
        if client.connect(&address).is_err() {
            break;
        }
        waiting.push(client);
    }
    let bound = Listener::bind(&Address::Unix(path));
    assert!(matches!(bound, Err(BindError::InUse(_))), "{:?}", bound.err());
}
