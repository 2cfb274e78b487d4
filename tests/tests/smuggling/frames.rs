//! Requests over HTTP/2 that no library would send: header blocks written by hand (RFC 7541 section 6.2.2, literal fields
//! without indexing and without Huffman codes).

use crate::vectors::Outcome::{self, Body, Most, Refused};
use prism_tests::client::raw;
use std::{io::Read, net::TcpStream};

/// A vector over HTTP/2.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) outcome: Outcome,
}

const BODY: &str = "GET /$$$/smuggled-### HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// Every vector over HTTP/2.
pub(crate) fn vectors() -> Vec<Vector> {
    let with =
        |outcome, name, fields: &[(&str, &str)]| vector(outcome, name, "POST", "/$$$/v###", "a.test", fields);
    let path = |name, path: &str| vector(Refused, name, "POST", path, "a.test", &[]);
    let method = |name, method: &str| vector(Refused, name, method, "/$$$/v###", "a.test", &[]);
    let host = |name, host: &str| vector(Refused, name, "POST", "/$$$/v###", host, &[]);
    let length = BODY.len().to_string();
    let line = "GET /$$$/smuggled-### HTTP/1.1";
    let mut in_trailers = with(Body, "h2: a coding and a length in the trailers", &[]);
    in_trailers.trailers = owned(&[("transfer-encoding", "chunked")]);
    in_trailers.outcome = Refused;
    let mut ours = with(Body, "h2: the proxy's word and a length in the trailers", &[]);
    ours.trailers = owned(&[("x-prism-principal", "root"), ("content-length", "0")]);
    vec![
        with(Body, "h2: a good request", &[]),
        with(Body, "h2: a good length", &[("content-length", &length)]),
        with(Refused, "h2: a length that is too short", &[("content-length", "5")]),
        with(Most, "h2: a length of nothing", &[("content-length", "0")]),
        with(Refused, "h2: a length that is too long", &[("content-length", "5000")]),
        with(Refused, "h2: a length that is none", &[("content-length", "+5")]),
        with(Refused, "h2: a list of lengths", &[("content-length", "5, 5")]),
        with(Refused, "h2: two lengths", &[("content-length", &length), ("content-length", "0")]),
        with(Refused, "h2: chunked", &[("transfer-encoding", "chunked")]),
        with(Refused, "h2: a coding", &[("transfer-encoding", "identity")]),
        with(Refused, "h2: connection", &[("connection", "content-length")]),
        with(Refused, "h2: keep-alive", &[("keep-alive", "timeout=5")]),
        with(Refused, "h2: proxy-connection", &[("proxy-connection", "close")]),
        with(Refused, "h2: upgrade", &[("upgrade", "h2c")]),
        with(Refused, "h2: TE of another kind", &[("te", "chunked")]),
        with(Refused, "h2: a line break in a value", &[("x", "a\r\ntransfer-encoding: chunked")]),
        with(Refused, "h2: a request in a value", &[("x", &format!("a\r\n\r\n{line}\r\nx: y"))]),
        with(Refused, "h2: a line feed in a value", &[("x", "a\nb: c")]),
        with(Refused, "h2: a CR in a value", &[("x", "a\rb: c")]),
        with(Refused, "h2: NUL in a value", &[("x", "a\0b")]),
        with(Refused, "h2: a line break in a name", &[("x: y\r\ntransfer-encoding", "chunked")]),
        with(Refused, "h2: a colon in a name", &[("transfer-encoding: chunked", "x")]),
        with(Refused, "h2: a space in a name", &[("transfer-encoding ", "chunked")]),
        with(Refused, "h2: a name in capitals", &[("Transfer-Encoding", "chunked")]),
        with(Refused, "h2: an empty name", &[("", "x")]),
        with(Refused, "h2: a host of another name", &[("host", "b.test")]),
        with(Refused, "h2: two hosts", &[("host", "a.test"), ("host", "b.test")]),
        with(Body, "h2: a host of the same name", &[("host", "a.test")]),
        with(Body, "h2: an underscore in a coding's name", &[("transfer_encoding", "chunked")]),
        with(
            Body,
            "h2: a claim to be the proxy's",
            &[("x_prism_principal", "root"), ("x-prism-principal", "root")],
        ),
        with(Refused, "h2: a second path", &[(":path", "/$$$/smuggled-###")]),
        with(Refused, "h2: a pseudo-header behind a header", &[("x", "y"), (":method", "GET")]),
        with(Refused, "h2: a pseudo-header of nobody's", &[(":version", "1.0")]),
        path("h2: a space in the path", "/$$$/v### HTTP/1.1"),
        path("h2: a line break in the path", "/$$$/v### HTTP/1.1\r\nx: y"),
        path("h2: a request in the path", &format!("/$$$/v### HTTP/1.1\r\nHost: a\r\n\r\n{line}")),
        path("h2: a tab in the path", "/$$$/v###\tHTTP/1.1"),
        path("h2: an escaped line break in the path", "/$$$/v###%0d%0ax"),
        path("h2: an empty path", ""),
        path("h2: a path without a slash", "v###"),
        method("h2: a space in the method", "GET /$$$/smuggled-### HTTP/1.1"),
        method("h2: a line break in the method", "GET /$$$/smuggled-### HTTP/1.1\r\nx:"),
        method("h2: an empty method", ""),
        host("h2: a line break in the authority", "a.test\r\nx: y"),
        host("h2: a space in the authority", "a.test x"),
        host("h2: a path in the authority", "a.test/x"),
        host("h2: a user in the authority", "user@a.test"),
        in_trailers,
        ours,
    ]
}

fn owned(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn vector(
    outcome: Outcome,
    name: &'static str,
    method: &str,
    path: &str,
    authority: &str,
    more: &[(&str, &str)],
) -> Vector {
    let mut fields =
        owned(&[(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]);
    fields.extend(owned(more));
    Vector { name, fields, body: BODY.as_bytes().to_vec(), trailers: Vec::new(), outcome }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn block(fields: &[(String, String)], fill: &impl Fn(&str) -> String) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [fill(name), fill(value)] {
            // Seven bits hold it: no vector has a longer one.
            let length = u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap();
            out.push(length);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

impl Vector {
    /// Sends it. Whether it was answered with 200.
    pub(crate) fn send(&self, port: u16, fill: &impl Fn(&str) -> String) -> bool {
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let body = fill(std::str::from_utf8(&self.body).unwrap());
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(frame(1, END_HEADERS, 1, &block(&self.fields, fill)));
        let last = if self.trailers.is_empty() { END_STREAM } else { 0 };
        bytes.extend(frame(0, last, 1, body.as_bytes()));
        if !self.trailers.is_empty() {
            bytes.extend(frame(1, END_HEADERS | END_STREAM, 1, &block(&self.trailers, fill)));
        }
        let mut socket = raw::connect(port);
        raw::send(&mut socket, &bytes);
        answered(&mut socket)
    }
}

/// Reads frames until the stream is answered or broken off.
fn answered(socket: &mut TcpStream) -> bool {
    loop {
        let mut head = [0; 9];
        if socket.read_exact(&mut head).is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if socket.read_exact(&mut payload).is_err() {
            return false;
        }
        match (head[3], head[8]) {
            // Behind changes of the table's size: entry 8 of the static table is `:status: 200`.
            (1, 1) => return payload.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88),
            (3 | 7, _) => return false,
            _ => {}
        }
    }
}
