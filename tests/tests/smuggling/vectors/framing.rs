//! Where a body ends: lengths, codings, chunks and what follows them.

use super::{
    Entry, HIDDEN,
    Outcome::{Apart, Body, One, Refused},
    after_chunks, counted, post,
};

pub(super) fn both_framings() -> Vec<Entry> {
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
pub(super) fn codings() -> Vec<Entry> {
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

pub(super) fn lengths() -> Vec<Entry> {
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

pub(super) fn chunks() -> Vec<Entry> {
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

pub(super) fn trailers() -> Vec<Entry> {
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
