//! Limits of a listener: slow clients are cut, too many are refused, and running out of descriptors passes.

use prism_tests::{
    DEMO, Proxy, Start,
    client::{curl, grpc::Client, http2, raw},
    wait, wire,
};
use std::{io::Read, net::TcpStream};

/// [`DEMO`] with more settings for its listener.
fn with(settings: &str) -> String {
    DEMO.replace("    filters:", &format!("    {settings}\n    filters:"))
}

#[test]
fn headers_that_do_not_come_are_not_waited_for() {
    let proxy = Proxy::start(&with("http1: { header_timeout: 1s }"));
    for start in ["GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: y"] {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, start.as_bytes());
        let answer = raw::until_closed(&mut socket);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

#[test]
fn silence_is_not_waited_for() {
    let proxy = Proxy::start(&with("limits: { handshake_timeout: 1s }"));
    for start in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut socket = raw::connect(proxy.port());
        raw::send(&mut socket, start.as_bytes());
        raw::until_closed(&mut socket);
    }
}

#[test]
fn a_peer_that_no_longer_answers_is_not_waited_for() {
    let proxy = Proxy::start(&with("http2: { keepalive_interval: 1s, keepalive_timeout: 1s }"));
    let mut socket = raw::connect(proxy.port());
    raw::send(&mut socket, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    // It reads what comes, and answers no PING.
    raw::until_closed(&mut socket);
}

#[test]
fn an_idle_connection_is_closed() {
    let proxy = Proxy::start(&with("limits: { idle_timeout: 1s }"));
    let mut socket = raw::connect(proxy.port());
    raw::send(&mut socket, b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n");
    let answer = raw::until_closed(&mut socket);
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_told_and_closed() {
    let proxy = Proxy::start(&with("limits: { idle_timeout: 1s }"));
    let connection = http2::connect(proxy.port()).await;
    wait::guard("the connection's end", connection.driver).await.unwrap().expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_is_not_idle() {
    let proxy = Proxy::start(&with("limits: { idle_timeout: 1s }"));
    let client = Client::new(proxy.port(), "demo");
    let mut watch = client.watch("").await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    Client::new(proxy.port(), "demo").set("key", "value").await.unwrap();
    assert_eq!(wait::guard("an event", watch.event()).await.unwrap().unwrap().key, "key");
}

#[test]
fn a_body_that_stops_is_not_waited_for() {
    let proxy = Proxy::start(&with("limits: { stall_timeout: 1s }"));
    let mut socket = raw::connect(proxy.port());
    let head = "POST /v1/demo/set?key=k HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n\
                content-length: 10\r\n\r\nabc";
    raw::send(&mut socket, head.as_bytes());
    let answer = raw::until_closed(&mut socket);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    if !answer.is_empty() {
        assert!(answer.contains("CLIENT_STALLED"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_not_waited_for() {
    let proxy = Proxy::start(&with("limits: { stall_timeout: 1s }"));
    Client::new(proxy.port(), "demo").set("large", vec![b'x'; 3 << 20]).await.unwrap();
    let open = || proxy.admin().metric("prism_connections_open", "edge");
    wait::until("the setter's connection should end", || (open() == 0.0).then_some(()));
    let mut socket = raw::connect(proxy.port());
    let get = "POST /v1/demo/get HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n\
               content-length: 5\r\n\r\nlarge";
    raw::send(&mut socket, get.repeat(20).as_bytes());
    wait::until("its connection should be open", || (open() == 1.0).then_some(()));
    wait::until("its connection should be cut", || (open() == 0.0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    const LENGTH: usize = 3 << 20;
    let proxy = Proxy::start(&with("limits: { stall_timeout: 1s }"));
    Client::new(proxy.port(), "demo").set("large", vec![b'x'; LENGTH]).await.unwrap();
    let mut socket = raw::connect(proxy.port());
    let get = "POST /v1/demo/get HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n\
               content-length: 5\r\n\r\nlarge";
    raw::send(&mut socket, get.as_bytes());
    // Some 800 kB/s, for four times as long as a stall may take.
    let (mut read, mut piece) = (0, vec![0; 80_000]);
    while read < LENGTH {
        match socket.read(&mut piece).unwrap() {
            0 => break,
            length => read += length,
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(read >= LENGTH, "cut after {read} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_the_others_served() {
    let proxy = Proxy::start(&with("limits: { max_connections: 2 }"));
    let call = async |connection: &http2::Connection| {
        connection.call(http2::head("/nowhere/Call", &[]), bytes::Bytes::new()).await
    };
    let first = http2::connect(proxy.port()).await;
    let second = http2::connect(proxy.port()).await;
    call(&first).await.unwrap();
    call(&second).await.unwrap();
    for _ in 0..3 {
        assert_eq!(raw::until_closed(&mut raw::connect(proxy.port())), "");
        call(&first).await.unwrap();
        call(&second).await.unwrap();
    }
    drop(second.send);
    second.driver.await.unwrap().ok();
    // The proxy learns of the end a moment later than the client.
    wait::until_async("a place should be free again", || async {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", proxy.port())).await.ok()?;
        let (send, connection) = h2::client::handshake(socket).await.ok()?;
        let third = http2::Connection { send, driver: tokio::spawn(connection) };
        call(&third).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_descriptors_passes() {
    const LIMIT: u32 = 80;
    let mut proxy = Start::new(DEMO).open_files(LIMIT).run();
    let client = Client::new(proxy.port(), "demo");
    client.set("key", "value").await.unwrap();
    let mut crowd: Vec<TcpStream> = Vec::new();
    for _ in 0..2 * LIMIT {
        crowd.push(TcpStream::connect(("127.0.0.1", proxy.port())).unwrap());
    }
    // Whoever is connected is served as before.
    for _ in 0..20 {
        assert_eq!(client.get("key").await.unwrap().unwrap(), "value");
    }
    drop(crowd);
    wait::until_async("new connections should be served", || async {
        Client::new(proxy.port(), "demo").get("key").await.ok()
    })
    .await;
    assert!(proxy.process.ended().is_none());
    assert_eq!(proxy.admin().get("/healthz").status, 200);
}

#[test]
fn too_many_headers_are_refused() {
    let proxy = Proxy::start(DEMO);
    let many: Vec<String> = (0..150).map(|number| format!("x-{number}: y")).collect();
    let large = [format!("x-large: {}", "y".repeat(60_000))];
    let url = proxy.url("/v1/demo/get");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for headers in [&many[..], &large[..]] {
            let mut call = vec![version, "-d", "key", "-H", "content-type: application/octet-stream", &url];
            headers.iter().for_each(|header| call.extend(["-H", header]));
            assert_eq!(curl::run(&call).status, 431, "{version}, {} headers", headers.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listeners_own_services_hold_little() {
    let proxy = Proxy::start(&with("limits: { stall_timeout: 1s }"));
    let connection = http2::connect(proxy.port()).await;
    let check = || http2::head("/grpc.health.v1.Health/Check", &[]);
    // A request with a field that the service does not know, longer than anything it needs.
    let large = wire::framed(&wire::field(9, &[0; 20_000]));
    let answer = connection.call(check(), large).await.unwrap();
    assert_eq!(answer.code(), tonic::Code::OutOfRange);
    let answer = connection.call(check(), wire::framed(&[])).await.unwrap();
    assert_eq!(answer.code(), tonic::Code::Ok);

    // A message that never ends is not waited for.
    let mut send = connection.send.clone().ready().await.unwrap();
    let (response, mut body) = send.send_request(check(), false).unwrap();
    body.send_data(wire::claimed(0, 100, &[0; 10]), false).unwrap();
    let answer = wait::guard("an answer to half a message", http2::collect(response)).await;
    assert!(answer.is_err() || answer.unwrap().code() != tonic::Code::Ok);
}

#[test]
fn ambiguous_lengths_are_refused() {
    let proxy = Proxy::start(DEMO);
    let lengths = [
        "content-length: 3\r\ncontent-length: 4",
        "content-length: 3\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: gzip",
        "content-length: +3",
        "content-length: -1",
    ];
    for length in lengths {
        let mut socket = raw::connect(proxy.port());
        // A second request in what one reading takes for the body: it must not be answered.
        let request = format!(
            "POST /v1/demo/get HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\n{length}\r\n\r\n\
             0\r\n\r\nPOST /v1/demo/set?key=smuggled HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\
             content-type: application/octet-stream\r\n\r\nx"
        );
        raw::send(&mut socket, request.as_bytes());
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        assert!(!answer.contains("200 OK"), "{length}: {answer}");
        let smuggled = curl::run(&[
            "-d",
            "smuggled",
            "-H",
            "content-type: application/octet-stream",
            &proxy.url("/v1/demo/get"),
        ]);
        assert_eq!(smuggled.status, 404, "{length}");
    }
}
