//! A client on a connection and a runtime of its own.

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use prism_platform::{Address, Platform};
use prism_proto::{
    google::protobuf::Any,
    plugin::{ExecuteRequest, InitializeRequest, execute_request::Params},
};
use prost::Message;
use std::path::Path;
use tokio::runtime::Runtime;

/// What a plugin that is called without a proxy knows its instance by.
const INSTANCE: u64 = 1;

/// One connection, and how calls are addressed on it.
pub struct Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Client {
    /// Connects to a proxy; calls are for `namespace`.
    ///
    /// # Panics
    /// When nobody serves HTTP/2 there.
    #[must_use]
    pub fn connect(port: u16, namespace: &str) -> Self {
        let address = format!("127.0.0.1:{port}").parse().expect("an address");
        let headers = vec![("x-prism-namespace", namespace.to_owned())];
        Self::open(&address, "/prism.data.v1.DataService/Execute", headers)
    }

    /// Connects to the echo itself, over gRPC and without a proxy, and initializes an instance of it.
    ///
    /// # Panics
    /// When nobody serves HTTP/2 there, or the plugin cannot be initialized.
    #[must_use]
    pub fn direct(socket: &Path) -> Self {
        let headers =
            vec![("x-prism-instance", INSTANCE.to_string()), ("x-prism-namespace", "direct".to_owned())];
        let address = Address::Unix(socket.to_owned());
        let mut client = Self::open(&address, "/prism.plugin.BackendPlugin/Initialize", Vec::new());
        let initialize = InitializeRequest {
            namespace: "direct".to_owned(),
            backend_type: "echo".to_owned(),
            config: Some(Any {
                type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(),
                value: Bytes::new(),
            }),
            instance: INSTANCE,
            ..Default::default()
        };
        client.call(&framed(&initialize.encode_to_vec()));
        client.path = "/prism.plugin.BackendPlugin/Execute";
        client.headers = headers;
        client
    }

    fn open(address: &Address, path: &'static str, headers: Vec<(&'static str, String)>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let send = runtime.block_on(async {
            let io = Platform::system().connect(address).await.expect("a listener");
            let (send, connection) = h2::client::handshake(io).await.expect("HTTP/2");
            tokio::spawn(connection);
            send
        });
        Self { runtime, send, path, headers }
    }

    /// One unary call with `message` (framed), from the first byte out to the trailers. The number of bytes that
    /// came back.
    ///
    /// # Panics
    /// When the call fails.
    pub fn call(&self, message: &Bytes) -> usize {
        self.runtime.block_on(async {
            let mut request = Request::post(format!("http://edge{}", self.path))
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            for (name, value) in &self.headers {
                request = request.header(*name, value);
            }
            let request = request.body(()).expect("a request");
            let mut send = self.send.clone().ready().await.expect("an open connection");
            let (response, mut body) = send.send_request(request, false).expect("a stream");
            body.send_data(message.clone(), true).expect("an open stream");
            let response = response.await.expect("an answer");
            assert!(!response.headers().contains_key("grpc-status"), "refused: {:?}", response.headers());
            let mut body = response.into_body();
            let mut bytes = 0;
            while let Some(data) = body.data().await {
                let length = data.expect("an open stream").len();
                body.flow_control().release_capacity(length).expect("an open stream");
                bytes += length;
            }
            let trailers = body.trailers().await.expect("an orderly end").expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
            bytes
        })
    }
}

/// A framed echo request with `payload` bytes.
///
/// # Panics
/// When the message would exceed what gRPC can frame.
#[must_use]
pub fn echo_request(payload: usize) -> Bytes {
    let request = ExecuteRequest {
        operation: "echo".to_owned(),
        params: Some(Params::RawParams(vec![7; payload].into())),
        ..Default::default()
    };
    framed(&request.encode_to_vec())
}

/// A message behind gRPC's prefix.
///
/// # Panics
/// When it is 4 GiB or longer.
#[must_use]
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a message that gRPC can frame");
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}
