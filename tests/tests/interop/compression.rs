//! Compression, of which the gRPC project's client has no case: what is compressed is between the two ends.

use crate::{Listener, forward};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use h2::server;
use http::{HeaderMap, Response, request::Parts};
use prism_tests::{
    client::http2::{self, Answer},
    wait,
};
use std::io::Write;
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Receiver},
};

/// A service's answer: headers, messages and trailers, or no messages and a status in the headers alone.
#[derive(Debug, Clone)]
struct Reply {
    headers: &'static [(&'static str, &'static str)],
    body: Option<Bytes>,
}

/// A service that answers every call alike, and tells what came.
async fn service(reply: Reply) -> (u16, Receiver<(Parts, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (came, seen) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (reply, came) = (reply.clone(), came.clone());
            tokio::spawn(async move {
                let mut connection = server::handshake(socket).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(serve(request, respond, reply.clone(), came.clone()));
                }
            });
        }
    });
    (port, seen)
}

async fn serve(
    request: http::Request<h2::RecvStream>,
    mut respond: server::SendResponse<Bytes>,
    reply: Reply,
    came: mpsc::Sender<(Parts, Vec<u8>)>,
) {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = http2::next(&mut stream).await.unwrap() {
        body.extend_from_slice(&piece);
    }
    came.send((head, body)).await.unwrap();
    let mut response = Response::builder().header("content-type", "application/grpc");
    for (name, value) in reply.headers {
        response = response.header(*name, *value);
    }
    let mut stream = respond.send_response(response.body(()).unwrap(), reply.body.is_none()).unwrap();
    if let Some(body) = reply.body {
        http2::send_all(&mut stream, body, false).await.unwrap();
        stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())])).unwrap();
    }
}

/// Messages as gRPC frames them, each with its flag.
fn framed(messages: &[(u8, &[u8])]) -> Bytes {
    let mut body = BytesMut::new();
    for (flag, message) in messages {
        body.put_u8(*flag);
        body.put_u32(message.len().try_into().unwrap());
        body.put_slice(message);
    }
    body.freeze()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that nothing compresses, several windows of them.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(300_000)
    .collect()
}

/// A call through the proxy: what came to the service, and what came back.
async fn call(headers: &[(&str, &str)], body: Bytes, reply: Reply) -> (Parts, Vec<u8>, Answer) {
    let (port, mut seen) = service(reply).await;
    let proxy = tokio::task::spawn_blocking(move || forward(Listener::Clear, &["a.Service"], port));
    let proxy = proxy.await.unwrap();
    let connection = http2::connect(proxy.port()).await;
    let answer = connection.call(http2::head("/a.Service/Call", headers), body).await.unwrap();
    let (head, body) = wait::guard("a call at the service", seen.recv()).await.unwrap();
    (head, body, answer)
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_pass_as_they_are_both_ways() {
    let (asked, answered) = (gzip(b"what is asked"), gzip(&noise()));
    // A message of a compressed call need not be compressed; nothing says how long an empty one is.
    let sent = framed(&[(1, &asked), (0, b"as it is"), (1, &gzip(&noise())), (1, &gzip(b""))]);
    let returned = framed(&[(1, &answered), (0, b""), (1, &gzip(b"the last"))]);
    let reply = Reply {
        headers: &[("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")],
        body: Some(returned.clone()),
    };
    let headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip,deflate,identity")];
    let (head, body, answer) = call(&headers, sent.clone(), reply).await;
    assert_eq!(values(&head.headers, "grpc-encoding"), ["gzip"]);
    assert_eq!(values(&head.headers, "grpc-accept-encoding"), ["gzip,deflate,identity"]);
    assert!(body == sent, "other bytes came: {} of {}", body.len(), sent.len());
    assert_eq!(values(&answer.headers, "grpc-encoding"), ["gzip"]);
    assert_eq!(values(&answer.headers, "grpc-accept-encoding"), ["gzip"]);
    assert!(answer.body == returned, "other bytes came back: {} of {}", answer.body.len(), returned.len());
    assert_eq!(answer.code(), tonic::Code::Ok);
}

/// How a message is compressed is between the two ends; and each way it may be compressed in a way of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_compression_that_the_proxy_has_never_heard_of_passes() {
    let sent = framed(&[(1, b"\xff\x06\x00\x00sNaPpY"), (1, &noise())]);
    let returned = framed(&[(1, b"\0not really brotli")]);
    let reply = Reply { headers: &[("grpc-encoding", "x-br")], body: Some(returned.clone()) };
    let headers = [("grpc-encoding", "snappy"), ("grpc-accept-encoding", "x-br")];
    let (head, body, answer) = call(&headers, sent.clone(), reply).await;
    assert_eq!(values(&head.headers, "grpc-encoding"), ["snappy"]);
    assert_eq!(values(&head.headers, "grpc-accept-encoding"), ["x-br"]);
    assert!(body == sent, "other bytes came: {} of {}", body.len(), sent.len());
    assert_eq!(values(&answer.headers, "grpc-encoding"), ["x-br"]);
    assert!(values(&answer.headers, "grpc-accept-encoding").is_empty(), "{answer:?}");
    assert_eq!((&answer.body[..], answer.code()), (&returned[..], tonic::Code::Ok));
}

/// gRPC's doc/compression.md: "When a message from a client compressed with an unsupported algorithm is processed by a
/// server, it WILL result in an `UNIMPLEMENTED` error status on the server. The server will then include in its response
/// a `grpc-accept-encoding` header specifying the algorithms it does accept."
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_the_compression_is_heard() {
    let sent = framed(&[(1, b"sNaPpY")]);
    let reply = Reply {
        headers: &[("grpc-status", "12"), ("grpc-message", "no"), ("grpc-accept-encoding", "gzip")],
        body: None,
    };
    let (_, body, answer) = call(&[("grpc-encoding", "snappy")], sent.clone(), reply).await;
    assert!(body == sent);
    assert_eq!(values(&answer.headers, "grpc-accept-encoding"), ["gzip"]);
    assert_eq!((answer.code(), answer.grpc().message()), (tonic::Code::Unimplemented, "no"));
}
