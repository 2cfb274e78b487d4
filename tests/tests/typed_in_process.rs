//! Typed calls of a plugin in the proxy's process, which go without an envelope: every outcome that there is means what it
//! means of the same plugin behind a socket.

use bytes::Bytes;
use prism_config::Source;
use prism_edge::{Builtins, Options};
use prism_filters::registry;
use prism_platform::Platform;
use prism_plugin_sdk::{
    BackendPlugin, Hosted, InitContext,
    abi::{
        CallContext, Code as ErrorCode, Data, Description, Error, Health, Kind, OperationInfo, Payload,
        Request,
    },
    server::{Address, ServeOptions, serve},
};
use prism_tests::{
    InProcess,
    client::http2::{self, Answer, Connection},
    free_port, wait,
    wire::{claimed, framed, messages},
};
use serde_json::Value;
use std::{collections::BTreeMap, future, sync::Arc};
use tonic::Code;
use tonic_types::StatusExt;

const METHOD: &str = "/test.v1.Teller/Tell";
const PARAMS_URL: &str = "type.googleapis.com/test.v1.What";
const RESULT_URL: &str = "type.googleapis.com/test.v1.Told";

/// The namespace's `limits.max_message_bytes`.
const LIMIT: usize = 64 << 10;

/// Answers a call as its parameters, which are text, say.
#[derive(Debug)]
struct Teller;

impl BackendPlugin for Teller {
    type Config = BTreeMap<String, Value>;

    fn descriptor() -> Description {
        let tell = OperationInfo {
            name: "tell".to_owned(),
            kind: Kind::Read,
            service_method: METHOD[1..].to_owned(),
            params_type: "test.v1.What".to_owned(),
            result_type: "test.v1.Told".to_owned(),
            ..Default::default()
        };
        Description { name: "teller".to_owned(), operations: vec![tell], ..Default::default() }
    }

    async fn initialize(_: InitContext<Self::Config>) -> Result<Self, Error> {
        Ok(Self)
    }

    async fn health(&self) -> Health {
        Health::healthy()
    }

    async fn execute(self: &Arc<Self>, _: &CallContext, request: Request) -> Result<Data, Error> {
        let Request { operation, params, metadata } = request;
        let Data::Typed { type_url, value } = params else { return Err(Error::invalid("no message")) };
        if (&*operation, &*type_url, metadata.len()) != ("tell", PARAMS_URL, 0) {
            return Err(Error::invalid("another call"));
        }
        let what = value.clone().into_bytes();
        let typed = |url: &str, value: Payload| Ok(Data::Typed { type_url: url.into(), value });
        let bytes = |length| Payload::from(Bytes::from(vec![7; length]));
        match &*what {
            b"nothing" => typed(RESULT_URL, Payload::new()),
            b"large" => typed(RESULT_URL, bytes(5_000)),
            b"largest" => typed(RESULT_URL, bytes(LIMIT)),
            b"pieces" => {
                typed(RESULT_URL, [bytes(700).into_bytes(), bytes(900).into_bytes()].into_iter().collect())
            }
            b"too large" => typed(RESULT_URL, bytes(LIMIT + 1)),
            b"another type" => typed("type.googleapis.com/test.v1.Other", bytes(9)),
            b"no type" => typed("", bytes(9)),
            b"raw" => Ok(Data::Raw(bytes(9))),
            b"no data" => Ok(Data::Empty),
            b"not found" => Err(Error::operation(ErrorCode::NotFound, "there is no such thing")),
            b"no reason" => Err(Error::operation(ErrorCode::Aborted, "")),
            b"refused" => Err(Error::channel(ErrorCode::ResourceExhausted, "too many")),
            b"panic" => panic!("as it was told"),
            // What it was sent.
            _ => typed(RESULT_URL, value),
        }
    }
}

/// A proxy in this process, with the plugin in it and beside it.
struct Running {
    port: u16,
    _proxy: InProcess,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
        let socket = folder.path().join("teller.sock");
        let options = ServeOptions { address: Address::Unix(socket.clone()), ..ServeOptions::default() };
        tokio::spawn(serve(Arc::new(Hosted::<Teller>::new()), options, future::pending()));
        let limits = "limits: { max_message_bytes: 64KiB }";
        let text = format!(
            "
listeners:
  - {{ name: edge, address: '127.0.0.1:{port}', filters: [{{ trace: {{ access_log: {{ path: 'off' }} }} }}, plugin_dispatch] }}
workers: 1
plugins:
  - {{ name: inline, type: builtin, builtin: teller }}
  - {{ name: frames, type: sidecar, socket: '{socket}', transport: frames }}
  - {{ name: grpc, type: sidecar, socket: '{socket}', transport: grpc }}
namespaces:
  - {{ name: inline, backend: teller, plugin: inline, {limits} }}
  - {{ name: frames, backend: teller, plugin: frames, {limits} }}
  - {{ name: grpc, backend: teller, plugin: grpc, {limits} }}
",
            socket = socket.display()
        );
        let options = Options {
            platform: Platform::system(),
            filters: registry::builtin(),
            builtins: Builtins::standard().with("teller", Arc::new(Hosted::<Teller>::new())),
            source: Source { name: "teller".into(), text, base_dir: ".".into() },
            file: None,
            admin: false,
        };
        Self { port, _proxy: InProcess::start(options), _folder: folder }
    }
}

async fn tell(connection: &Connection, namespace: &str, body: Bytes) -> Answer {
    connection.call(http2::head(METHOD, &[("x-prism-namespace", namespace)]), body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outcome_means_the_same_in_the_process_and_outside() {
    let proxy = Running::start();
    let connection = http2::connect(proxy.port).await;
    for namespace in ["inline", "frames", "grpc"] {
        wait::until_async("the plugin should serve", || async {
            let answer = tell(&connection, namespace, framed(b"ready")).await;
            (answer.code() == Code::Ok).then_some(())
        })
        .await;
        let long = vec![b'x'; LIMIT];
        for (what, result) in [
            (&b""[..], &b""[..]),
            (b"hello", b"hello"),
            (&long[..1024], &long[..1024]),
            (&long[..1025], &long[..1025]),
            (&long, &long),
            (b"nothing", b""),
            (b"large", &[7; 5_000]),
            (b"largest", &[7; LIMIT]),
            (b"pieces", &[7; 1_600]),
        ] {
            let answer = tell(&connection, namespace, framed(what)).await;
            let said = String::from_utf8_lossy(&what[..what.len().min(20)]);
            assert_eq!(answer.code(), Code::Ok, "{said} in {namespace}: {answer:?}");
            assert_eq!(answer.headers.get("content-type").unwrap(), "application/grpc");
            assert!(messages(&answer.body) == [result], "{said} in {namespace}");
        }
        let protocol = (Code::Internal, Some("PLUGIN_PROTOCOL"));
        for (what, (code, reason)) in [
            ("too large", (Code::ResourceExhausted, Some("MESSAGE_TOO_LARGE"))),
            ("another type", protocol),
            ("no type", protocol),
            ("raw", protocol),
            ("no data", protocol),
            ("not found", (Code::NotFound, Some("OPERATION_FAILED"))),
            ("no reason", (Code::Aborted, Some("OPERATION_FAILED"))),
            // Its own status, which a sidecar's answer brings as it is.
            ("refused", (Code::ResourceExhausted, None)),
            ("panic", (Code::Internal, None)),
        ] {
            let answer = tell(&connection, namespace, framed(what.as_bytes())).await;
            let status = answer.grpc();
            assert_eq!(status.code(), code, "{what} in {namespace}: {status:?}");
            assert!(
                answer.body.is_empty() && !status.message().is_empty(),
                "{what} in {namespace}: {status:?}"
            );
            if reason.is_some() {
                let info = status.get_error_details().error_info().cloned().unwrap();
                assert_eq!(Some(&*info.reason), reason, "{what} in {namespace}: {status:?}");
            }
        }
        // What the client must keep to is no different either.
        for (body, code) in [
            (Bytes::new(), Code::InvalidArgument),
            (framed(b"hello").slice(..7), Code::InvalidArgument),
            ([framed(b"one"), framed(b"two")].concat().into(), Code::InvalidArgument),
            (claimed(2, 5, b"hello"), Code::InvalidArgument),
            (framed(&vec![0; LIMIT + 1]), Code::ResourceExhausted),
        ] {
            let status = tell(&connection, namespace, body).await.grpc();
            assert_eq!(status.code(), code, "in {namespace}: {status:?}");
        }
    }
}
