//! What is sent once more and what is not, with services that end their connections at the wrong moment.

use super::*;
use crate::{
    RemoteEndpoint, WireBody,
    testing::{Feed, Server, answer, local, read, worker},
};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::Method;
use prism_platform::{Address, BindOptions, Listener, Platform};
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A request for `/`, without fields of its own.
struct Plain(Method);

impl Outgoing for Plain {
    fn head(&self, service: &Service) -> Result<Request<()>, ForwardError> {
        let authority = service.authority();
        let head = match service.version() {
            Version::Http1 => Request::builder().uri("/").header("host", authority),
            Version::Http2 => Request::builder().uri(format!("http://{authority}/")),
        };
        Ok(head.method(self.0.clone()).body(()).unwrap())
    }

    fn is_idempotent(&self) -> bool {
        self.0.is_idempotent()
    }

    fn content_length(&self) -> Option<u64> {
        None
    }
}

fn cluster(addresses: &[Address], version: Version) -> Arc<Cluster> {
    let service = |address: &Address| {
        let place = ServicePlace::Here(address.clone());
        (Arc::new(Service::new(ServiceSpec { place, version }).unwrap()), 1)
    };
    Arc::new(Cluster::new(addresses.iter().map(service)))
}

/// Over HTTP/2: answers with the request's body.
async fn echoes(request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    if let Ok(body) = read(&mut request.into_body()).await {
        answer(respond, body);
    }
}

fn no_body() -> WireBody {
    WireBody::Whole(Bytes::new().into())
}

fn hello() -> WireBody {
    WireBody::Whole(Bytes::from_static(b"hello").into())
}

async fn listener() -> (Box<dyn Listener>, Address) {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let listener = Platform::system().bind(&anywhere, BindOptions::default()).await.unwrap();
    let address = listener.local_address().unwrap();
    (listener, address)
}

/// A head, and the five bytes that it may announce.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.split_once("\r\n\r\n")
        .is_some_and(|(head, body)| !head.contains("content-length: 5") || body.len() == 5)
}

/// Over HTTP/1.1: answers the first request of each connection and ends it when the second one is there.
async fn ends_at_the_second(listener: Box<dyn Listener>, heads: Rc<Cell<usize>>) {
    loop {
        let mut io = listener.accept().await.unwrap().io;
        let heads = Rc::clone(&heads);
        tokio::task::spawn_local(async move {
            for number in 0..2 {
                let mut head = Vec::new();
                while !is_whole(&head) && io.read_buf(&mut head).await.unwrap() > 0 {}
                if head.is_empty() {
                    return;
                }
                heads.set(heads.get() + 1);
                if number == 0 {
                    io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                }
            }
        });
    }
}

#[test]
fn a_kept_connection_that_ends_costs_no_request_that_may_be_repeated() {
    local(async {
        let (listener, address) = listener().await;
        let heads = Rc::<Cell<usize>>::default();
        let server = tokio::task::spawn_local(ends_at_the_second(listener, Rc::clone(&heads)));
        let (cluster, worker) = (cluster(&[address], Version::Http1), worker());
        for (method, body, heads_more, repeated) in [
            (Method::GET, no_body as fn() -> WireBody, 1, true),
            (Method::GET, no_body, 2, true),
            (Method::PUT, hello, 2, true),
            (Method::POST, no_body, 1, false),
            (Method::POST, hello, 1, true),
        ] {
            // The kept connection is ready again a moment after its answer.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let before = heads.get();
            let sent = cluster.send(&worker, &Plain(method.clone()), body()).await;
            assert_eq!(sent.is_ok(), repeated, "{method}: {sent:?}");
            assert_eq!(heads.get() - before, heads_more, "{method}");
        }
        server.abort();
    });
}

#[test]
fn a_body_that_is_arriving_is_sent_once() {
    local(async {
        let (listener, address) = listener().await;
        let server = tokio::task::spawn_local(async move {
            // Takes the connection and something of the request, and is gone.
            let mut io = listener.accept().await.unwrap().io;
            let mut some = [0; 16];
            io.read_exact(&mut some).await.unwrap();
            drop(io);
            listener.accept().await.map(drop)
        });
        let cluster = cluster(&[address], Version::Http1);
        let (_feed, body) = Feed::new();
        let sent = cluster.send(&worker(), &Plain(Method::PUT), body).await;
        assert!(matches!(sent, Err(ForwardError::Unavailable(_))), "{sent:?}");
        assert!(!server.is_finished(), "there was no second connection");
        server.abort();
    });
}

#[test]
fn what_a_service_has_not_begun_with_goes_to_another() {
    local(async {
        let folder = tempfile::tempdir().unwrap();
        let addresses = ["a", "b"].map(|name| Address::Unix(folder.path().join(name)));
        let refused = Rc::<Cell<usize>>::default();
        let seen = Rc::clone(&refused);
        let refuses = move |_: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
            seen.set(seen.get() + 1);
            respond.send_reset(Reason::REFUSED_STREAM);
            std::future::ready(())
        };
        let _first = Server::start(&addresses[0], h2::server::Builder::new(), refuses).await;
        let _second = Server::start(&addresses[1], h2::server::Builder::new(), echoes).await;
        let (cluster, worker) = (cluster(&addresses, Version::Http2), worker());
        for _ in 0..10 {
            let reply = cluster.send(&worker, &Plain(Method::POST), hello()).await.unwrap();
            assert_eq!(reply.head.status, 200);
        }
        assert_eq!(refused.get(), 5, "each had its turn");
    });
}

#[test]
fn nobody_there_is_told_at_once_and_names_the_place() {
    local(async {
        let there = RemoteEndpoint { host: "127.0.0.1".into(), port: 1 };
        for version in [Version::Http1, Version::Http2] {
            let place = ServicePlace::There(there.clone(), None);
            let service = Arc::new(Service::new(ServiceSpec { place, version }).unwrap());
            let cluster = Arc::new(Cluster::new([(service, 1)]));
            for _ in 0..3 {
                let sent = cluster.send(&worker(), &Plain(Method::GET), no_body()).await;
                let Err(ForwardError::Unavailable(why)) = sent else { panic!("{sent:?}") };
                assert!(why.starts_with("127.0.0.1:1: "), "{why}");
            }
        }
        let nobody = Arc::new(Cluster::new([]));
        let sent = nobody.send(&worker(), &Plain(Method::GET), no_body()).await;
        assert!(matches!(sent, Err(ForwardError::Unavailable(_))), "{sent:?}");
    });
}

#[test]
fn a_small_body_that_was_still_arriving_goes_to_another_too() {
    local(async {
        let folder = tempfile::tempdir().unwrap();
        let addresses = ["a", "b"].map(|name| Address::Unix(folder.path().join(name)));
        let refused = Rc::<Cell<usize>>::default();
        let seen = Rc::clone(&refused);
        let refuses = move |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
            seen.set(seen.get() + 1);
            async move {
                // Something of it is on the way already, or all of it.
                let mut body = request.into_body();
                drop(body.data().await);
                respond.send_reset(Reason::REFUSED_STREAM);
            }
        };
        let _first = Server::start(&addresses[0], h2::server::Builder::new(), refuses).await;
        let _second = Server::start(&addresses[1], h2::server::Builder::new(), echoes).await;
        let (cluster, worker) = (cluster(&addresses, Version::Http2), worker());
        let sent = async |first: Bytes, rest: &'static [u8], ends: bool| {
            let (feed, body) = Feed::new();
            feed.send(first);
            let ending = async {
                if !ends {
                    // The rest comes when the first service has refused it.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                feed.send(Bytes::from_static(rest));
                drop(feed);
            };
            let plain = Plain(Method::POST);
            let (reply, ()) = tokio::join!(cluster.send(&worker, &plain, body), ending);
            match reply?.body {
                ReplyBody::Whole { pieces, .. } => Ok(pieces.into_bytes()),
                ReplyBody::Stream(mut source) => {
                    let mut all = Vec::new();
                    while let Some(frame) = std::future::poll_fn(|cx| source.poll_frame(cx)).await {
                        all.extend_from_slice(&frame?.into_data().unwrap_or_default());
                    }
                    Ok(Bytes::from(all))
                }
            }
        };
        for ends in [true, false] {
            for _ in 0..4 {
                let reply: Result<_, ForwardError> =
                    sent(Bytes::from_static(b"hello, "), b"world", ends).await;
                assert_eq!(reply.unwrap(), "hello, world", "ends: {ends}");
            }
        }
        assert_eq!(refused.get(), 4, "each had its turn");
        // What is more than a window is not kept, so it is sent once.
        let large = Bytes::from(vec![b'x'; 70 << 10]);
        let replies = [sent(large.clone(), b"y", true).await, sent(large, b"y", true).await];
        assert_eq!(replies.iter().filter(|reply| reply.is_ok()).count(), 1, "{replies:?}");
    });
}

/// Over HTTP/1.1: answers the first request of each connection well, and says `then` to the second.
async fn says(listener: Box<dyn Listener>, then: &'static [u8], heads: Rc<Cell<usize>>) {
    loop {
        let mut io = listener.accept().await.unwrap().io;
        let heads = Rc::clone(&heads);
        tokio::task::spawn_local(async move {
            for answer in [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", then] {
                let mut head = Vec::new();
                while !is_whole(&head) && io.read_buf(&mut head).await.unwrap() > 0 {}
                if head.is_empty() {
                    return;
                }
                heads.set(heads.get() + 1);
                io.write_all(answer).await.unwrap();
            }
        });
    }
}

#[test]
fn what_was_answered_with_something_is_not_sent_once_more() {
    for garbage in [&b"HTTP/1.1 20"[..], b"\x15\x03\x01", b"HTTP/1.1 200 OK\r\nx: \x00\r\n\r\n"] {
        local(async {
            let (listener, address) = listener().await;
            let heads = Rc::<Cell<usize>>::default();
            let server = tokio::task::spawn_local(says(listener, garbage, Rc::clone(&heads)));
            let (cluster, worker) = (cluster(&[address], Version::Http1), worker());
            assert!(cluster.send(&worker, &Plain(Method::GET), no_body()).await.is_ok());
            tokio::time::sleep(Duration::from_millis(20)).await;
            let sent = cluster.send(&worker, &Plain(Method::GET), no_body()).await;
            assert!(sent.is_err(), "{sent:?}");
            assert_eq!(heads.get(), 2, "it went there once");
            server.abort();
        });
    }
}

#[test]
fn a_service_that_ended_all_its_connections_costs_no_request() {
    local(async {
        let (listener, address) = listener().await;
        let heads = Rc::<Cell<usize>>::default();
        let server = tokio::task::spawn_local(ends_at_the_second(listener, Rc::clone(&heads)));
        let (cluster, worker) = (cluster(&[address], Version::Http1), worker());
        // Three connections that are all over when they get their next request.
        let plain = Plain(Method::GET);
        let at_once = [(); 3].map(|()| cluster.send(&worker, &plain, no_body()));
        for sent in futures_util::future::join_all(at_once).await {
            assert!(sent.is_ok(), "{sent:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sent = cluster.send(&worker, &plain, no_body()).await;
        assert!(sent.is_ok(), "{sent:?}");
        server.abort();
    });
}

#[test]
fn a_service_that_takes_no_requests_is_away() {
    local(async {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("none"));
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(0);
        let serves = |_: Request<RecvStream>, _: SendResponse<Bytes>| std::future::ready(());
        let _server = Server::start(&address, builder, serves).await;
        let sent = cluster(&[address], Version::Http2).send(&worker(), &Plain(Method::GET), no_body()).await;
        let Err(ForwardError::Unavailable(why)) = sent else { panic!("{sent:?}") };
        assert!(why.contains("MAX_CONCURRENT_STREAMS"), "{why}");
    });
}
