//! The vectors: what is sent, and what has to become of it.
//!
//! `###` stands for the vector's number, and `$$$` for the route that it goes through: as many characters each, so that
//! lengths are right before they are filled in.

mod framing;
mod heads;

/// What has to become of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An error or a closed connection, and no whole request at the service.
    Refused,
    /// An error; what follows is for the proxy a request of its own, and so it is at the service.
    Next,
    /// Whole as far as its head says, and broken off by what follows: at most one request, and nothing else.
    Most,
    /// One request at the service, and nothing else.
    One,
    /// One request at the service, and what is hidden is its body there too.
    Body,
    /// Two requests for the proxy, so two at the service, each with what the proxy says about it.
    Apart,
}

/// A vector over HTTP/1.1.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    pub(crate) outcome: Outcome,
}

/// The request that nobody may take for one.
const HIDDEN: &str = "GET /$$$/smuggled-### HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Every vector over HTTP/1.1.
pub(crate) fn http1() -> Vec<Vector> {
    let entries = [
        framing::both_framings(),
        framing::codings(),
        framing::lengths(),
        framing::chunks(),
        framing::trailers(),
        heads::versions(),
        heads::fields(),
        heads::lines(),
        heads::hops(),
    ];
    let vector = |(outcome, name, text): Entry| Vector { name, text, outcome };
    entries.into_iter().flatten().map(vector).collect()
}

type Entry = (Outcome, &'static str, String);

/// A POST with these header lines (each with its end) and this behind its head.
fn post(fields: &str, rest: &str) -> String {
    format!("POST /$$$/v### HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{rest}")
}

/// A whole chunked body, and the hidden request behind it.
fn after_chunks(fields: &str) -> String {
    post(fields, &format!("0\r\n\r\n{HIDDEN}"))
}

/// A body whose announced length has the hidden request in it: it is harmless to who believes the length.
fn counted(fields: &str, rest: &str) -> String {
    post(&format!("{fields}Content-Length: {}\r\n", rest.len()), rest)
}
