//! A gRPC client on h2, on the simulated network.

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use http::Request;
use prism_proto::{
    google::protobuf::Any,
    kv::v1::{SetRequest, WatchEvent, WatchRequest},
    plugin::{
        ExecuteRequest, ExecuteResponse, StreamRequest, StreamResponse, execute_request, stream_request,
        stream_response,
    },
};
use prost::{Message, Name};
use std::cell::RefCell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Refused(tonic::Code),
}

pub(crate) struct Client {
    send: SendRequest<Bytes>,
    request_ids: RefCell<Vec<String>>,
}

impl Client {
    pub(crate) async fn connect(host: &str, port: u16) -> Self {
        // The proxy may be a moment later than its clients.
        let io = loop {
            match turmoil::net::TcpStream::connect((host, port)).await {
                Ok(io) => break io,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        };
        let (send, connection) = h2::client::handshake(io).await.expect("the proxy speaks HTTP/2");
        tokio::task::spawn_local(async move {
            // Ends with the simulation.
            let _ = connection.await;
        });
        Self { send, request_ids: RefCell::default() }
    }

    pub(crate) fn request_ids(&self) -> Vec<String> {
        self.request_ids.borrow().clone()
    }

    async fn call(
        &self,
        method: &str,
        namespace: &str,
        message: &impl Message,
        end: bool,
    ) -> http::Response<RecvStream> {
        let request = Request::post(format!("http://proxy/prism.data.v1.DataService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-prism-namespace", namespace)
            .body(())
            .expect("a well-formed request");
        let mut ready = self.send.clone().ready().await.expect("an open connection");
        let (response, mut body) = ready.send_request(request, false).expect("a stream");
        body.send_data(frame(message), end).expect("an open stream");
        // The sending half stays open with the body; a stream that is dropped would be reset.
        if !end {
            tokio::task::spawn_local(async move {
                let _ = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
            });
        }
        let response = response.await.expect("an answer");
        let id = response.headers()["x-request-id"].to_str().expect("an id is text").to_owned();
        self.request_ids.borrow_mut().push(id);
        response
    }

    pub(crate) async fn set(&self, namespace: &str, key: &str, length: usize) -> Outcome {
        let params =
            SetRequest { key: key.to_owned(), value: vec![b'v'; length].into(), ..Default::default() };
        let request = ExecuteRequest {
            operation: "set".to_owned(),
            params: Some(execute_request::Params::TypedParams(any(&params))),
            ..Default::default()
        };
        let response = self.call("Execute", namespace, &request, true).await;
        if let Some(status) = response.headers().get("grpc-status") {
            return Outcome::Refused(tonic::Code::from_bytes(status.as_bytes()));
        }
        let mut body = response.into_body();
        let message = next(&mut body, &mut BytesMut::new()).await.expect("a message");
        let answer = ExecuteResponse::decode(message).expect("an ExecuteResponse");
        assert!(answer.success, "{answer:?}");
        let trailers = body.trailers().await.expect("an orderly end").expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        Outcome::Ok
    }

    pub(crate) async fn watch(&self, namespace: &str, prefix: &str) -> Watch {
        let request = StreamRequest {
            operation: "watch".to_owned(),
            params: Some(stream_request::Params::TypedParams(any(&WatchRequest {
                prefix: prefix.to_owned(),
            }))),
            ..Default::default()
        };
        let response = self.call("ExecuteStream", namespace, &request, false).await;
        assert_eq!(response.headers().get("grpc-status"), None, "{response:?}");
        Watch { body: response.into_body(), buffer: BytesMut::new() }
    }
}

pub(crate) struct Watch {
    body: RecvStream,
    buffer: BytesMut,
}

impl Watch {
    /// The key of the next event.
    pub(crate) async fn next(&mut self) -> String {
        let Some(message) = next(&mut self.body, &mut self.buffer).await else {
            panic!("the stream ended: {:?}", self.body.trailers().await);
        };
        let answer = StreamResponse::decode(message).expect("a StreamResponse");
        let Some(stream_response::Result::TypedResult(event)) = answer.result else { panic!("{answer:?}") };
        WatchEvent::decode(event.value).expect("a WatchEvent").key
    }
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec().into() }
}

fn frame(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a small message");
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// The next message of a body.
async fn next(body: &mut RecvStream, buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(length) = buffer.get(1..5) {
            let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
            if buffer.len() >= 5 + length {
                return Some(buffer.split_to(5 + length).split_off(5).freeze());
            }
        }
        let data = body.data().await?.expect("an open stream");
        body.flow_control().release_capacity(data.len()).expect("an open stream");
        buffer.extend_from_slice(&data);
    }
}
