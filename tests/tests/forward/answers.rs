//! What comes back of a service's answer.

use super::{CLIENTS, SPEAKS, all_to, get, reason, routes};
use bytes::Bytes;
use prism_tests::{
    Proxy,
    backend::{Backend, Speaks},
    client::http2,
    wire,
};
use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};
use tonic::Code;

#[test]
fn answers_of_every_shape_come_back() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for version in CLIENTS {
            let at = |path: &str, more: &[&str]| get(&proxy, version, path, more);
            for status in [204, 304, 404, 418, 503] {
                let _ = at(&format!("/status/{status}"), &[]).expect(status);
            }
            assert_eq!(at("/large", &[]).expect(200).body.len(), 8 << 20, "{speaks:?} {version}");
            let head = at("/large", &["--head"]).expect(200);
            if speaks == Speaks::Http1 {
                assert_eq!(head.header("content-length"), Some("8388608"), "{version}");
            }
            assert_eq!(at("/trailers", &[]).expect(200).text(), "body");
            let chunked =
                at("/", &["--data-binary", "hello", "-H", "transfer-encoding: chunked"]).expect(200).json();
            assert_eq!(chunked["length"], 5);
        }
        let before = backend.connections();
        for _ in 0..20 {
            let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
        }
        let workers = thread::available_parallelism().unwrap().get();
        assert!(backend.connections() <= before + workers, "connections are kept: {}", backend.connections());
    }
}

#[tokio::test]
async fn trailers_come_back() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        let connection = http2::connect(proxy.port()).await;
        let request =
            http::Request::get("http://a.example/trailers").header("te", "trailers").body(()).unwrap();
        let answer = connection.call(request, Bytes::new()).await.unwrap();
        assert_eq!(answer.body, b"body");
        if speaks == Speaks::Http2 {
            assert_eq!(answer.trailers["x-sum"], "7");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    for (speaks, protocol) in SPEAKS {
        let backend = Backend::start(speaks);
        let proxy = Proxy::start(&routes(&[all_to(&backend, protocol)]));
        for version in CLIENTS {
            let output = Command::new("curl")
                .args(["-sSf", "--max-time", "20", version, &proxy.url("/break")])
                .output()
                .unwrap();
            assert!(!output.status.success(), "{speaks:?} {version}: {output:?}");
        }
        let _ = get(&proxy, "--http1.1", "/", &[]).expect(200);
    }
}

/// A service that answers every path with the bytes that belong to it, and closes.
struct Scripted {
    address: String,
    ends: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Scripted {
    fn start(answers: Vec<(&'static str, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (ends, answers) = (Arc::<AtomicBool>::default(), Arc::new(answers));
        let told = Arc::clone(&ends);
        let accepting = thread::spawn(move || {
            for socket in listener.incoming() {
                if told.load(Ordering::SeqCst) {
                    break;
                }
                let (socket, answers) = (socket.unwrap(), Arc::clone(&answers));
                // Whoever does not wait for the end of an answer gets no more of it.
                thread::spawn(move || drop(Self::answer(socket, &answers)));
            }
        });
        Self { address, ends, accepting: Some(accepting) }
    }

    fn answer(mut socket: TcpStream, answers: &[(&str, Vec<u8>)]) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().to_owned();
        let (_, answer) = answers.iter().find(|(name, _)| *name == path).unwrap();
        socket.write_all(answer)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.address));
        self.accepting.take().map(JoinHandle::join);
    }
}

#[test]
fn what_an_answer_says_of_its_length_is_true_or_it_is_none() {
    let ok = |fields: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}").into_bytes();
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    let bad = [
        ("/both", ok("transfer-encoding: chunked\r\ncontent-length: 3\r\n", chunked)),
        ("/coded", ok("transfer-encoding: gzip, chunked\r\n", chunked)),
        ("/gzip", ok("transfer-encoding: gzip\r\n", "hello")),
        ("/two", ok("content-length: 5\r\ncontent-length: 6\r\n", "hello!")),
        ("/list", ok("content-length: 5, 6\r\n", "hello!")),
        ("/sign", ok("content-length: +5\r\n", "hello")),
        ("/old", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()),
        ("/interim", {
            let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(16 << 10);
            [&interim[..], b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"].concat()
        }),
    ];
    let good = [
        ("/plain", ok("content-length: 5\r\n", "hello")),
        ("/same", ok("content-length: 5\r\ncontent-length: 5\r\n", "hello")),
        ("/same-list", ok("content-length: 5, 5\r\n", "hello")),
        ("/chunked", ok("transfer-encoding: Chunked\r\n", chunked)),
        ("/to-the-end", ok("", "hello")),
        (
            "/hints",
            [b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3), ok("content-length: 5\r\n", "hello")].concat(),
        ),
    ];
    let none = [
        ("/204", b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello".to_vec(), 204),
        ("/304", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n".to_vec(), 304),
    ];
    let bodiless = none.iter().map(|(path, answer, _)| (*path, answer.clone()));
    let service = Scripted::start(bad.iter().cloned().chain(good.clone()).chain(bodiless).collect());
    let target = format!("targets: [{{ address: '{}', protocol: http1 }}]", service.address);
    let proxy = Proxy::start(&routes(&[format!("match: {{}}, forward: true, {target}")]));
    for version in CLIENTS {
        for (path, _) in &bad {
            let answer = get(&proxy, version, path, &[]);
            assert_eq!(
                (answer.status, reason(&answer).as_str()),
                (502, "UPSTREAM_PROTOCOL"),
                "{version} {path}"
            );
        }
        for (path, _) in &good {
            let answer = get(&proxy, version, path, &[]).expect(200);
            assert_eq!(answer.text(), "hello", "{version} {path}");
            let lengths = answer.headers.iter().filter(|(name, _)| name == "content-length").count();
            assert!(lengths <= 1, "{version} {path}: {:?}", answer.headers);
        }
        for (path, _, status) in &none {
            assert!(get(&proxy, version, path, &[]).expect(*status).body.is_empty(), "{version} {path}");
        }
    }
}

#[tokio::test]
async fn a_refused_head_has_no_content() {
    let nobody = "match: {}, forward: true, targets: [{ address: '127.0.0.1:1' }]".to_owned();
    let proxy = Proxy::start(&routes(&[nobody]));
    for version in CLIENTS {
        let whole = get(&proxy, version, "/", &[]).expect(503);
        let head = get(&proxy, version, "/", &["--head"]).expect(503);
        assert_eq!(head.header("content-type"), Some("application/json"), "{version}");
        let length = whole.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()), "{version}");
    }
    let connection = http2::connect(proxy.port()).await;
    let request = http::Request::head("http://a.example/").body(()).unwrap();
    let answer = connection.call(request, Bytes::new()).await.unwrap();
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn trailers_say_nothing_that_only_the_proxy_or_a_hop_may_say() {
    let backend = Backend::start(Speaks::Http2);
    let proxy = Proxy::start(&routes(&[all_to(&backend, "http2")]));
    let connection = http2::connect(proxy.port()).await;
    for path in ["/trailers", "/late-trailers"] {
        let request = http::Request::get(format!("http://a.example{path}")).body(()).unwrap();
        let answer = connection.call(request, Bytes::new()).await.unwrap();
        assert_eq!(answer.trailers["x-sum"], "7", "{path}");
        for name in ["x-prism-principal", "x_prism_principal", "content-length", "keep-alive"] {
            assert!(!answer.trailers.contains_key(name), "{path}: {name}");
        }
    }
    let request = http::Request::post("http://a.example/empty-then-trailers")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let answer = connection.call(request, wire::framed(b"")).await.unwrap();
    assert_eq!(answer.code(), Code::NotFound, "its trailers follow a content-length of 0");
}
