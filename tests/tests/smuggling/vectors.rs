//! The vectors: what is sent, and what has to become of it.
//!
//! `###` stands for the vector's number, and `$$$` for the route that it goes through: as many characters each, so that
//! lengths are right before they are filled in.

use Outcome::{Apart, Body, Next, One, Refused};

/// What has to become of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An error or a closed connection, and no whole request at the service.
    Refused,
    /// An error; what follows is for the proxy a request of its own, and so it is at the service.
    Next,
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
    pub(crate) bytes: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// The request that nobody may take for one.
const HIDDEN: &str = "GET /$$$/smuggled-### HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Every vector over HTTP/1.1.
pub(crate) fn http1() -> Vec<Vector> {
    let mut all = Vec::new();
    for (outcome, name, text) in
        [both_framings(), codings(), lengths(), chunks(), trailers(), versions(), fields(), lines(), hops()]
            .into_iter()
            .flatten()
    {
        all.push(Vector { name, bytes: text.into_bytes(), outcome });
    }
    all
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

fn both_framings() -> Vec<Entry> {
    let hidden_in_length = format!("0\r\n\r\n{HIDDEN}");
    let length = hidden_in_length.len();
    vec![
        (One, "length, then chunked", after_chunks("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (
            One,
            "length that covers the hidden request, then chunked",
            post(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &hidden_in_length),
        ),
        (
            One,
            "chunked, then length that covers the hidden request",
            post(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), &hidden_in_length),
        ),
        (
            Body,
            "chunked that covers the hidden request, then length",
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
            ),
        ),
        (
            One,
            "length, chunked, length",
            post(
                &format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
                &hidden_in_length,
            ),
        ),
        (
            One,
            "chunked and a length that is none",
            after_chunks("Transfer-Encoding: chunked\r\nContent-Length: x\r\n"),
        ),
        (
            Refused,
            "a length that is none, and chunked",
            after_chunks("Content-Length: x\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            Refused,
            "length and a coding that is not chunked",
            counted("Transfer-Encoding: gzip\r\n", &hidden_in_length),
        ),
    ]
}

/// Codings that are not quite chunked. The length says the hidden request is body; who believes the coding disagrees.
fn codings() -> Vec<Entry> {
    let both = |line: &str| counted(line, &format!("0\r\n\r\n{HIDDEN}"));
    let alone = |line: &str| after_chunks(line);
    vec![
        (Refused, "xchunked", both("Transfer-Encoding: xchunked\r\n")),
        (Refused, "chunkedx", both("Transfer-Encoding: chunkedx\r\n")),
        (Refused, "chunked, identity", both("Transfer-Encoding: chunked, identity\r\n")),
        (Refused, "identity, chunked", both("Transfer-Encoding: identity, chunked\r\n")),
        (Refused, "identity", both("Transfer-Encoding: identity\r\n")),
        (Refused, "gzip, chunked", both("Transfer-Encoding: gzip, chunked\r\n")),
        (Refused, "chunked, chunked", both("Transfer-Encoding: chunked, chunked\r\n")),
        (Refused, "chunked with a comma", both("Transfer-Encoding: chunked,\r\n")),
        (Refused, "a comma and chunked", both("Transfer-Encoding: ,chunked\r\n")),
        (Refused, "chunked with a parameter", both("Transfer-Encoding: chunked;q=1\r\n")),
        (Refused, "an empty coding", both("Transfer-Encoding:\r\n")),
        (Refused, "a quoted coding", both("Transfer-Encoding: \"chunked\"\r\n")),
        (Refused, "a coding in single quotes", both("Transfer-Encoding: 'chunked'\r\n")),
        (Refused, "vertical tab before chunked", both("Transfer-Encoding: \x0bchunked\r\n")),
        (Refused, "form feed after chunked", both("Transfer-Encoding: chunked\x0c\r\n")),
        (Refused, "NUL after chunked", both("Transfer-Encoding: chunked\0\r\n")),
        (Refused, "a CR before chunked", both("Transfer-Encoding: \rchunked\r\n")),
        (Refused, "space before the colon", both("Transfer-Encoding : chunked\r\n")),
        (Refused, "tab before the colon", both("Transfer-Encoding\t: chunked\r\n")),
        (Refused, "vertical tab before the colon", both("Transfer-Encoding\x0b: chunked\r\n")),
        (Refused, "a folded coding", both("Transfer-Encoding:\r\n chunked\r\n")),
        (Refused, "a coding folded with a tab", both("Transfer-Encoding:\r\n\tchunked\r\n")),
        (Refused, "a coding hidden in a folded line", both("X: y\r\n Transfer-Encoding: chunked\r\n")),
        (
            Refused,
            "chunked twice over",
            both("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        ),
        (
            Refused,
            "identity, then chunked",
            both("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            Refused,
            "chunked, then a coding of nobody's",
            both("Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n"),
        ),
        (One, "trailing space", both("Transfer-Encoding: chunked \t\r\n")),
        (One, "tab before chunked", both("Transfer-Encoding:\tchunked\r\n")),
        (One, "no space before chunked", both("Transfer-Encoding:chunked\r\n")),
        (One, "a coding in capitals", both("Transfer-Encoding: CHUNKED\r\n")),
        (One, "a name in odd case", both("tRANSFER-eNCODING: ChUnKeD\r\n")),
        (Body, "an underscore in the name", both("Transfer_Encoding: chunked\r\n")),
        (Apart, "chunked alone, and another request", alone("Transfer-Encoding: chunked\r\n")),
    ]
}

fn lengths() -> Vec<Entry> {
    let with = |value: &str| post(&format!("Content-Length: {value}\r\n"), &format!("hello{HIDDEN}"));
    let two = |a: &str, b: &str| {
        post(&format!("Content-Length: {a}\r\nContent-Length: {b}\r\n"), &format!("hello{HIDDEN}"))
    };
    vec![
        (Refused, "two lengths", two("5", "50")),
        (Refused, "two lengths, the longer first", two("50", "5")),
        (Refused, "no length and a length", two("0", "5")),
        (Refused, "a length and one that is none", two("5", "x")),
        (Apart, "the same length twice, and another request", two("5", "5")),
        (Refused, "a length with a plus", with("+5")),
        (Refused, "a negative length", with("-1")),
        (Refused, "a list of lengths", with("5, 5")),
        (Refused, "a list of different lengths", with("5, 50")),
        (Refused, "two numbers", with("5 6")),
        (Refused, "a hexadecimal length", with("0x5")),
        (Refused, "a length with a fraction", with("5.0")),
        (Refused, "a length with an exponent", with("5e0")),
        (Refused, "a length with a separator", with("0_5")),
        (Refused, "a quoted length", with("\"5\"")),
        (Refused, "an empty length", with("")),
        (Refused, "a length that overflows", with("18446744073709551621")),
        (Refused, "a length of all there is", with("18446744073709551615")),
        (Refused, "a length that overflows 32 bits", with("4294967301")),
        (Refused, "a length with NUL", with("5\0")),
        (Refused, "a length with a vertical tab", with("\x0b5")),
        (Refused, "a length with a CR", with("5\r6")),
        (Refused, "a folded length", with("\r\n 5")),
        (
            Refused,
            "a length behind a space before the colon",
            post("Content-Length : 5\r\n", &format!("hello{HIDDEN}")),
        ),
        (Apart, "leading zeros, and another request", with("0005")),
        (Apart, "less body announced than there is", with("5")),
        (Body, "the hidden request is the body", counted("", HIDDEN)),
        (Refused, "less body than announced", post("Content-Length: 5000\r\n", HIDDEN)),
        (One, "what follows the body is none", post("Content-Length: 5\r\n", &format!("hello\0{HIDDEN}"))),
        (
            Apart,
            "an empty line before the next request",
            post("Content-Length: 5\r\n", &format!("hello\r\n{HIDDEN}")),
        ),
        (
            Body,
            "an underscore in the length's name",
            counted("Content_Length: 5\r\n", &format!("hello{HIDDEN}")),
        ),
    ]
}

fn chunks() -> Vec<Entry> {
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let sized = |size: &str| chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n{HIDDEN}"));
    let ending = |end: &str| chunked(&format!("5\r\nhello{end}0\r\n\r\n{HIDDEN}"));
    vec![
        (Refused, "a negative chunk", sized("-5")),
        (Refused, "a chunk with a plus", sized("+5")),
        (Refused, "a chunk with 0x", sized("0x5")),
        (Refused, "a chunk of 2^64 + 5", sized("10000000000000005")),
        (Refused, "a chunk of 2^64 - 1", sized("ffffffffffffffff")),
        (Refused, "a chunk of 2^32 + 5", sized("100000005")),
        (Refused, "a chunk of no size", sized("")),
        (Refused, "a chunk size that is no number", sized("g")),
        (Refused, "space before a chunk size", sized(" 5")),
        (Refused, "two chunk sizes", sized("5 5")),
        (Refused, "a vertical tab after a chunk size", sized("5\x0b")),
        (Refused, "NUL after a chunk size", sized("5\0")),
        (Refused, "a comma after a chunk size", sized("5,5")),
        (Refused, "an underscore in a chunk size", sized("0_5")),
        (Refused, "a bare LF in an extension", sized("5;x\ny")),
        (Refused, "a bare CR in an extension", sized("5;x\ry")),
        (Refused, "a chunk hidden in an extension", sized(&format!("5;\n{HIDDEN}"))),
        (Refused, "a bare LF after a chunk size", chunked(&format!("5\nhello\r\n0\r\n\r\n{HIDDEN}"))),
        (Refused, "a bare CR after a chunk size", chunked(&format!("5\rhello\r\n0\r\n\r\n{HIDDEN}"))),
        (Refused, "nothing after a chunk", ending("")),
        (Refused, "a bare LF after a chunk", ending("\n")),
        (Refused, "a bare CR after a chunk", ending("\r")),
        (Refused, "LF CR after a chunk", ending("\n\r")),
        (
            Refused,
            "a chunk that is longer than its size",
            chunked(&format!("4\r\nhello\r\n0\r\n\r\n{HIDDEN}")),
        ),
        (
            Refused,
            "a chunk that is shorter than its size",
            chunked(&format!("6\r\nhello\r\n0\r\n\r\n{HIDDEN}")),
        ),
        (Refused, "a bare LF after the last chunk", chunked(&format!("0\n\n{HIDDEN}"))),
        (Refused, "a bare CR after the last chunk", chunked(&format!("0\r\n\rX{HIDDEN}"))),
        (Refused, "no last chunk", chunked("5\r\nhello\r\n")),
        (
            Body,
            "zeros before a chunk size, the hidden request inside",
            chunked(&format!("000{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len())),
        ),
        (
            Body,
            "extensions, the hidden request inside",
            chunked(&format!("{:X};a=b;c=\"d\"\r\n{HIDDEN}\r\n0;e\r\n\r\n", HIDDEN.len())),
        ),
        (Apart, "space after a chunk size, and another request", sized("5 ")),
        (
            Apart,
            "a last chunk of many zeros, and another request",
            chunked(&format!("0000000000\r\n\r\n{HIDDEN}")),
        ),
        (
            Apart,
            "a last chunk before what looks like one",
            chunked(&format!("0\r\n\r\n{HIDDEN}5\r\nhello\r\n0\r\n\r\n")),
        ),
    ]
}

fn trailers() -> Vec<Entry> {
    let with = |trailer: &str| {
        post("Trailer: x\r\nTransfer-Encoding: chunked\r\n", &format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"))
    };
    vec![
        (One, "a length in the trailers", with("Content-Length: 500")),
        (One, "a coding in the trailers", with("Transfer-Encoding: chunked")),
        (One, "a host in the trailers", with("Host: evil.test")),
        (One, "the proxy's word in the trailers", with("x-prism-principal: root")),
        (One, "a trailer that was announced", with("x: y")),
        (Refused, "a bare CR in the trailers", with("a: b\rc: d")),
        (Refused, "a request in the trailers", with("GET /$$$/smuggled-### HTTP/1.1\r\nHost: a.test")),
        (Refused, "a trailer without a name", with(": x")),
    ]
}

fn versions() -> Vec<Entry> {
    let line = |version: &str| format!("GET /$$$/v### {version}\r\nHost: a.test\r\n\r\n{HIDDEN}");
    vec![
        (
            Refused,
            "HTTP/1.0 with chunked",
            after_chunks("Transfer-Encoding: chunked\r\n").replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        (
            Refused,
            "HTTP/1.0 with chunked and a length",
            counted("Transfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{HIDDEN}"))
                .replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        (One, "HTTP/1.0, and something behind it", line("HTTP/1.0")),
        (
            Apart,
            "HTTP/1.0 that keeps alive, and another request",
            line("HTTP/1.0").replacen("Host", "Connection: keep-alive\r\nHost", 1),
        ),
        (Refused, "HTTP/1.2", line("HTTP/1.2")),
        (Refused, "HTTP/2.0", line("HTTP/2.0")),
        (Refused, "HTTP/0.9", format!("GET /$$$/v###\r\n{HIDDEN}")),
        (Refused, "HTTP/1.", line("HTTP/1.")),
        (Refused, "HTTP/01.1", line("HTTP/01.1")),
        (Refused, "HTTP/1.10", line("HTTP/1.10")),
        (Refused, "a version in lower case", line("http/1.1")),
        (Refused, "a version of nobody's", line("ICAP/1.1")),
    ]
}

fn fields() -> Vec<Entry> {
    let with = |line: &str| counted(line, HIDDEN);
    vec![
        (Refused, "a name with a space", with("X Y: z\r\n")),
        (Refused, "an empty name", with(": z\r\n")),
        (Refused, "a name with NUL", with("X\0: z\r\n")),
        (Refused, "a name with a CR", with("X\r: z\r\n")),
        (Refused, "a value with NUL", with("X: a\0b\r\n")),
        (Refused, "a bare CR in a value", with("X: a\rTransfer-Encoding: chunked\r\n")),
        (Refused, "a line without a colon", with("X\r\n")),
        (Refused, "a folded line", with("X: a\r\n b\r\n")),
        (
            Refused,
            "a first line that is folded",
            format!("POST /$$$/v### HTTP/1.1\r\n Host: a.test\r\n\r\n{HIDDEN}"),
        ),
        (
            Refused,
            "space before the first header",
            format!("POST /$$$/v### HTTP/1.1\r\n X: y\r\nHost: a.test\r\n\r\n{HIDDEN}"),
        ),
        (Next, "no host", format!("GET /$$$/v### HTTP/1.1\r\n\r\n{HIDDEN}")),
        (Refused, "two hosts", with("Host: b.test\r\n")),
        (Refused, "the same host twice", with("Host: a.test\r\n")),
        (Refused, "a host with a comma", with("").replacen("a.test", "a.test, b.test", 1)),
        (Refused, "a host with a space", with("").replacen("a.test", "a.test b.test", 1)),
        (Refused, "a host with a path", with("").replacen("a.test", "a.test/x", 1)),
        (Refused, "a host with a user", with("").replacen("a.test", "user@a.test", 1)),
        (Refused, "an empty host", with("").replacen("a.test", "", 1)),
        (
            Body,
            "a header that claims to be the proxy's",
            with("x_prism_principal: root\r\nX-Prism-Principal: root\r\n"),
        ),
        (
            Body,
            "a request id and an address of the client's own",
            with("x-request-id: mine\r\nx_forwarded_for: 9.9.9.9\r\n"),
        ),
        (Body, "a length of another name", with("X-Content-Length: 0\r\n")),
    ]
}

fn lines() -> Vec<Entry> {
    let get = |line: &str| format!("{line}\r\nHost: a.test\r\n\r\n{HIDDEN}");
    vec![
        (Refused, "two spaces after the method", get("GET  /$$$/v### HTTP/1.1")),
        (Refused, "two spaces before the version", get("GET /$$$/v###  HTTP/1.1")),
        (Refused, "a tab after the method", get("GET\t/$$$/v### HTTP/1.1")),
        (Refused, "a tab before the version", get("GET /$$$/v###\tHTTP/1.1")),
        (Refused, "space before the method", get(" GET /$$$/v### HTTP/1.1")),
        (Refused, "space after the version", get("GET /$$$/v### HTTP/1.1 ")),
        (Refused, "a space in the path", get("GET /$$$/v### /x HTTP/1.1")),
        (Refused, "NUL in the path", get("GET /$$$/v###\0 HTTP/1.1")),
        (Refused, "a bare CR in the path", get("GET /$$$/v###\r HTTP/1.1")),
        (Refused, "a bare CR after the version", get("GET /$$$/v### HTTP/1.1\rX")),
        (Next, "a line break in an escape", get("GET /$$$/v###%0d%0aX:%20y HTTP/1.1")),
        (
            Next,
            "a request in an escape",
            get("GET /$$$/v###%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/$$$/smuggled-### HTTP/1.1"),
        ),
        (Next, "a line feed in an escape", get("GET /$$$/v###%0a HTTP/1.1")),
        (Refused, "a fragment with a space", get("GET /$$$/v#### HTTP/1.1 HTTP/1.1")),
        (Next, "a user in the target", get("GET http://user@a.test/$$$/v### HTTP/1.1")),
        (Next, "CONNECT", get("CONNECT a.test:80 HTTP/1.1")),
        (
            Next,
            "CONNECT with a body that is a request",
            format!("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello{HIDDEN}"),
        ),
        (Refused, "TRACE", get("TRACE /$$$/v### HTTP/1.1").replacen(HIDDEN, "", 1)),
        (Refused, "a target that is an asterisk", get("OPTIONS * HTTP/1.1").replacen(HIDDEN, "", 1)),
        // RFC 9112 section 2.2: "a recipient MAY recognize a single LF as a line terminator"; what is sent on has CRLF.
        (
            Apart,
            "line feeds only, in the first line",
            format!("GET /$$$/v### HTTP/1.1\nHost: a.test\r\n\r\n{HIDDEN}"),
        ),
        (
            Apart,
            "line feeds only, in the head",
            format!("GET /$$$/v### HTTP/1.1\r\nHost: a.test\n\n{HIDDEN}"),
        ),
        (
            Apart,
            "line feeds only, at the head's end",
            format!("GET /$$$/v### HTTP/1.1\r\nHost: a.test\r\n\n{HIDDEN}"),
        ),
        (
            Apart,
            "a length behind a line feed",
            post("X: y\nContent-Length: 5\r\n", &format!("hello{HIDDEN}")),
        ),
        (Apart, "another host in the target", get("GET http://b.test/$$$/v### HTTP/1.1")),
        (Apart, "a method in lower case, which is another method", get("get /$$$/v### HTTP/1.1")),
        (Apart, "two good requests", get("GET /$$$/v### HTTP/1.1")),
        (Apart, "a query with an escaped line break", get("GET /$$$/v###?x=%0d%0a HTTP/1.1")),
    ]
}

fn hops() -> Vec<Entry> {
    let with = |line: &str| counted(line, HIDDEN);
    vec![
        (Body, "Connection names the length", with("Connection: content-length\r\n")),
        (Body, "Connection names the host", with("Connection: close, host\r\n")),
        (
            One,
            "Connection names the coding",
            counted("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ),
        (Body, "Connection names what the proxy says", with("Connection: x-forwarded-for, x-request-id\r\n")),
        (Body, "a GET with a length", with("").replacen("POST", "GET", 1)),
        (
            Body,
            "a GET with chunks",
            post("Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()))
                .replacen("POST", "GET", 1),
        ),
        (
            Body,
            "a HEAD with chunks",
            post("Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()))
                .replacen("POST", "HEAD", 1),
        ),
        (Body, "a HEAD with a length", with("").replacen("POST", "HEAD", 1)),
        (Body, "Expect, with the body already there", with("Expect: 100-continue\r\n")),
        (
            Apart,
            "Expect, and another request behind the body",
            post("Expect: 100-continue\r\nContent-Length: 5\r\n", &format!("hello{HIDDEN}")),
        ),
        (
            Body,
            "an upgrade to h2c, with a body",
            with(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            ),
        ),
        (
            Apart,
            "an upgrade to h2c, and another request behind the body",
            post(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: 5\r\n",
                &format!("hello{HIDDEN}"),
            ),
        ),
        (
            Apart,
            "an upgrade to websocket, and another request",
            format!(
                "GET /$$$/v### HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{HIDDEN}"
            ),
        ),
        (Refused, "HTTP/2 begins behind a request", format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{HIDDEN}")),
    ]
}
