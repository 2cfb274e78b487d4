//! A client on a connection and a runtime of its own.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderName, Request};
use prism_platform::Platform;
use prism_proto::plugin::{ExecuteRequest, execute_request::Params};
use prost::Message;
use tokio::runtime::Runtime;

/// One connection.
pub struct Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody serves HTTP/2 there.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let send = runtime.block_on(async {
            let address = format!("127.0.0.1:{port}").parse().expect("an address");
            let io = Platform::system().connect(&address).await.expect("a listener");
            let (send, connection) = h2::client::handshake(io).await.expect("HTTP/2");
            tokio::spawn(connection);
            send
        });
        Self { runtime, send }
    }

    /// One unary echo of `message` (a framed `ExecuteRequest`), from the first byte out to the trailers.
    ///
    /// # Panics
    /// When the call fails.
    pub fn call(&self, namespace: &'static str, message: &Bytes) {
        self.runtime.block_on(async {
            let request = Request::post("http://edge/prism.data.v1.DataService/Execute")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header(HeaderName::from_static("x-prism-namespace"), namespace)
                .body(())
                .expect("a request");
            let mut send = self.send.clone().ready().await.expect("an open connection");
            let (response, mut body) = send.send_request(request, false).expect("a stream");
            body.send_data(message.clone(), true).expect("an open stream");
            let mut body = response.await.expect("an answer").into_body();
            while let Some(data) = body.data().await {
                let length = data.expect("an open stream").len();
                body.flow_control().release_capacity(length).expect("an open stream");
            }
            let trailers = body.trailers().await.expect("an orderly end").expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
        });
    }
}

/// A framed echo request with `payload` bytes.
///
/// # Panics
/// When the message would exceed what gRPC can frame.
#[must_use]
pub fn echo_request(payload: usize) -> Bytes {
    let message = ExecuteRequest {
        operation: "echo".to_owned(),
        params: Some(Params::RawParams(vec![7; payload].into())),
        ..Default::default()
    }
    .encode_to_vec();
    let length = u32::try_from(message.len()).expect("a message that gRPC can frame");
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}
