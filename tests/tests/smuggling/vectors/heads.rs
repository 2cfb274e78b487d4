//! Request lines, header fields, and what belongs to one connection.

use super::{
    Entry, HIDDEN,
    Outcome::{Apart, Body, Next, One, Refused},
    after_chunks, counted, post,
};

pub(super) fn versions() -> Vec<Entry> {
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

pub(super) fn fields() -> Vec<Entry> {
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

pub(super) fn lines() -> Vec<Entry> {
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

pub(super) fn hops() -> Vec<Entry> {
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
