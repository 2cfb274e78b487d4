//! gRPC-Web without a browser, so that every byte is seen: both forms, over both versions of HTTP.

use super::{
    curl::{self, Answer},
    http2,
};
use crate::{Proxy, wire::framed};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use prost::Message;
use std::fs;

/// The origin that these calls come from, and that may.
pub const APP: &str = "https://app.example.com";

/// Both versions of HTTP, as curl's options.
pub const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// A proxy for pages of `origin`: the builtin namespace `demo`, and routes that leave a filter out where a request says so.
#[must_use]
pub fn config(origin: &str) -> String {
    format!(
        "
admin: {{ address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }}
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - trace
      - cors: {{ allow_origins: ['{origin}'] }}
      - grpc_web
      - plugin_dispatch
    routes:
      - match: {{ path_prefix: /prism. }}
      - match: {{ path_prefix: /v1/ }}
      - match: {{ path_prefix: /prism., headers: {{ x-way: native }} }}
        filters: {{ grpc_web: false }}
      - match: {{ path_prefix: /prism., headers: {{ x-way: closed }} }}
        filters: {{ cors: {{}} }}
namespaces:
  - {{ name: demo, backend: memory, limits: {{ max_message_bytes: 1MiB }} }}
"
    )
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Bytes.
    Binary,
    /// Base64.
    Text,
}

impl Form {
    /// Its content type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        }
    }

    fn encode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary => body.to_vec(),
            Self::Text => STANDARD.encode(body).into_bytes(),
        }
    }

    /// A text is one of several, each padded by itself.
    fn decode(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary => body.to_vec(),
            Self::Text => {
                let (mut rest, mut bytes) = (body, Vec::new());
                while !rest.is_empty() {
                    let padded = rest.iter().position(|byte| *byte == b'=');
                    let (text, after) = rest.split_at(padded.map_or(rest.len(), |at| at / 4 * 4 + 4));
                    STANDARD.decode_vec(text, &mut bytes).unwrap();
                    rest = after;
                }
                bytes
            }
        }
    }
}

/// One way to call.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// Who is called.
    pub proxy: &'a Proxy,
    /// One of [`VERSIONS`].
    pub version: &'a str,
    /// How bodies are written.
    pub form: Form,
}

/// A call's answer, read as gRPC-Web.
#[derive(Debug)]
pub struct Outcome {
    /// As it came.
    pub answer: Answer,
    /// What is in it.
    pub messages: Vec<Vec<u8>>,
    /// Of the last frame, or, where there is none, of the headers.
    pub status: Option<u32>,
}

impl Outcome {
    /// Reads an answer in this form.
    ///
    /// # Panics
    /// When it is none, or says its status twice.
    #[must_use]
    pub fn read(form: Form, answer: Answer) -> Self {
        let body = form.decode(&answer.body);
        let mut rest = &body[..];
        let (mut messages, mut trailers) = (Vec::new(), None);
        while !rest.is_empty() {
            assert!(trailers.is_none(), "trailers are the last");
            let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
            let (flag, message) = (rest[0], rest[5..5 + length].to_vec());
            rest = &rest[5 + length..];
            match flag {
                0 => messages.push(message),
                0x80 => trailers = Some(String::from_utf8(message).unwrap()),
                other => panic!("a frame of kind {other}"),
            }
        }
        let in_body = trailers.as_deref().map(|trailers| {
            assert!(trailers.ends_with("\r\n"));
            let mut lines = trailers.lines().filter_map(|line| line.strip_prefix("grpc-status: "));
            lines.next().expect("trailers have a status").to_owned()
        });
        let in_headers = answer.header("grpc-status").map(str::to_owned);
        assert!(in_body.is_none() || in_headers.is_none(), "the status is said once");
        let status = in_body.or(in_headers).map(|status| status.parse().unwrap());
        Self { answer, messages, status }
    }

    /// It was refused with this code and reason, and a page can read both.
    ///
    /// # Panics
    /// When it was not.
    pub fn refused(&self, form: Form, code: u32, reason: &str) {
        assert_eq!(self.answer.status, 200, "{self:?}");
        assert_eq!(self.status, Some(code), "{reason}: {self:?}");
        assert_eq!(self.answer.header("content-type"), Some(form.media_type()));
        let details = self.answer.header("grpc-status-details-bin").expect("details");
        let details = STANDARD.decode(details.to_owned() + &"==="[..(4 - details.len() % 4) % 4]).unwrap();
        assert!(String::from_utf8_lossy(&details).contains(reason), "{reason}: {self:?}");
        readable(&self.answer);
    }
}

/// A page of [`APP`] can read it, with what it has to say.
///
/// # Panics
/// When it cannot.
pub fn readable(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{answer:?}");
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"] {
        assert!(exposed.split(", ").any(|exposed| exposed == name), "{exposed}");
    }
    assert_eq!(answer.header("vary"), Some("origin"));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("access-control-allow-credentials"), None);
}

impl Way<'_> {
    /// A call with a body as it is.
    ///
    /// # Panics
    /// When there is no answer.
    #[must_use]
    pub fn send(self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let content_type = format!("content-type: {}", self.form.media_type());
        let origin = format!("origin: {APP}");
        let own = ["x-grpc-web: 1", &origin, &content_type];
        let headers: Vec<&str> = own.iter().chain(headers).copied().collect();
        if self.version == "--http1.1" {
            self.by_curl(path, &headers, body)
        } else {
            self.by_h2(path, &headers, body)
        }
    }

    fn by_curl(self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        fs::write(&file, body).unwrap();
        let (upload, url) = (format!("@{}", file.display()), self.proxy.url(path));
        let mut call = vec![self.version, "--path-as-is", "--data-binary", &upload, &url, "-H", "expect:"];
        headers.iter().for_each(|header| call.extend(["-H", header]));
        curl::run(&call)
    }

    /// Not by curl: 7.88 waits for ever where an answer of headers alone comes before it has sent a body.
    #[tokio::main(flavor = "current_thread")]
    async fn by_h2(self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut request = Request::post(format!("http://127.0.0.1{path}"));
        for (name, value) in headers.iter().filter_map(|header| header.split_once(": ")) {
            request = request.header(name, value);
        }
        let connection = http2::connect(self.proxy.port()).await;
        let answer = connection.call(request.body(()).unwrap(), Bytes::copy_from_slice(body)).await.unwrap();
        assert!(answer.trailers.is_empty(), "a browser does not see them: {answer:?}");
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let headers = answer.headers.iter().map(header).collect();
        Answer { status: answer.status.as_u16(), headers, body: answer.body }
    }

    /// A call with this body in the way's form.
    ///
    /// # Panics
    /// When the answer is no gRPC-Web.
    #[must_use]
    pub fn call(self, path: &str, headers: &[&str], body: &[u8]) -> Outcome {
        Outcome::read(self.form, self.send(path, headers, &self.form.encode(body)))
    }

    /// A call that goes well; its one message.
    ///
    /// # Panics
    /// When it does not.
    pub fn message<T: Message + Default>(self, path: &str, headers: &[&str], request: &impl Message) -> T {
        let outcome = self.call(path, headers, &framed(&request.encode_to_vec()));
        assert_eq!((outcome.answer.status, outcome.status), (200, Some(0)), "{self:?} {path}: {outcome:?}");
        assert_eq!(outcome.answer.header("content-type"), Some(self.form.media_type()));
        readable(&outcome.answer);
        let [message] = &outcome.messages[..] else { panic!("one message: {outcome:?}") };
        T::decode(&message[..]).unwrap()
    }
}

/// Every way to call this proxy.
pub fn ways(proxy: &Proxy) -> impl Iterator<Item = Way<'_>> {
    VERSIONS
        .iter()
        .flat_map(move |version| [Form::Binary, Form::Text].map(|form| Way { proxy, version, form }))
}
