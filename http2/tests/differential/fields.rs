//! Lists of fields: requests as they should be, and what is done to them.

use crate::chance::Chance;

pub(crate) type Field = (Vec<u8>, Vec<u8>);

const NAMES: [&str; 33] = [
    "",
    "A",
    "a b",
    "a:b",
    "a\"b",
    "a\x7f",
    "\u{e9}",
    "a\0",
    "a\r\n",
    "x-a",
    "x-b",
    "accept",
    "connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "host",
    "cookie",
    "content-length",
    ":path",
    ":authority",
    ":scheme",
    ":method",
    ":status",
    ":protocol",
    ":unknown",
    ":",
    "expect",
    "authorization",
    "grpc-timeout",
    "content-type",
];

const VALUES: [&str; 64] = [
    "",
    "a",
    " a",
    "a ",
    "\ta",
    "a\t",
    " ",
    "a b",
    "a\0b",
    "a\nb",
    "a\rb",
    "a\x7f",
    "a\x01",
    "\u{e9}",
    "trailers",
    "Trailers",
    "gzip, trailers",
    "0",
    "1",
    "5",
    "+1",
    "1,1",
    "01",
    "-1",
    "1.0",
    " 1",
    "99999999999999999999",
    "00000000000000000000005",
    "chunked",
    "close",
    "100-continue",
    "*",
    "**",
    "/",
    "//",
    "//a/b",
    "/a#b",
    "/#",
    "/a?b",
    "/a?b#c",
    "?a",
    "#a",
    "/a b",
    "/\"<>",
    "/{}|\\^`",
    "http://edge/",
    "edge",
    "edge:80",
    "edge:",
    "edge:x",
    "edge:99999",
    "u@edge",
    "u:p@edge:80",
    "a:b:c",
    "[::1]",
    "[::1]:80",
    "[",
    "a[b]",
    "GET",
    "OPTIONS",
    "CONNECT",
    "http",
    "1http",
    "ht~tp",
];

fn any(chance: &mut Chance, most: usize) -> Vec<u8> {
    (0..chance.index(most)).map(|_| chance.index(256) as u8).collect()
}

fn name(chance: &mut Chance) -> Vec<u8> {
    if chance.one_in(20) { any(chance, 6) } else { NAMES[chance.index(NAMES.len())].into() }
}

fn value(chance: &mut Chance) -> Vec<u8> {
    match chance.index(30) {
        0 => any(chance, 20),
        1 => vec![b'v'; chance.index(1_500)],
        _ => VALUES[chance.index(VALUES.len())].into(),
    }
}

/// A request.
pub(crate) fn request(chance: &mut Chance) -> Vec<Field> {
    let method = chance.of(&["GET", "POST", "POST", "OPTIONS", "PUT", "M-SEARCH", "CONNECT"]);
    let mut fields: Vec<(&str, &str)> = vec![(":method", method)];
    let authority = chance.of(&["edge", "edge:80", "[::1]:8080", "EXAMPLE.org:443"]);
    if method == "CONNECT" {
        fields.push((":authority", "edge:443"));
    } else {
        let path = if method == "OPTIONS" { "*" } else { chance.of(&["/", "/a?b=c", "//", "/index.html"]) };
        fields.extend([(":scheme", chance.of(&["http", "https", "coap+tcp"])), (":path", path)]);
        if !chance.one_in(8) {
            fields.push((":authority", authority));
        }
    }
    let more = [
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0"),
        ("cookie", "a=b"),
        ("cookie", "c=d; e=f"),
        ("host", authority),
        ("x-empty", ""),
        ("accept-encoding", "gzip, deflate"),
    ];
    fields.extend((0..chance.index(6)).map(|_| more[chance.index(more.len())]));
    fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

pub(crate) fn trailers(chance: &mut Chance) -> Vec<Field> {
    let all = [("grpc-status", "0"), ("x-sum", "17"), ("x-empty", "")];
    (0..chance.index(4))
        .map(|_| all[chance.index(3)])
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Does something to them that they may not survive.
pub(crate) fn damage(chance: &mut Chance, fields: &mut Vec<Field>) {
    // Too large, as often as not.
    if chance.one_in(10) {
        let at = chance.index(fields.len() + 1);
        fields.insert(at, (b"x-large".into(), vec![b'v'; 1_000 + chance.index(1_500)]));
        return;
    }
    let (at, other) = (chance.index(fields.len() + 1), chance.index(fields.len().max(1)));
    match chance.index(6) {
        0 | 1 => fields.insert(at, (name(chance), value(chance))),
        2 if at < fields.len() => drop(fields.remove(at)),
        3 if at < fields.len() => fields.insert(other, fields[at].clone()),
        4 if at < fields.len() => fields[at].1 = value(chance),
        5 if at < fields.len() => fields.swap(at, other),
        _ => fields.push((name(chance), value(chance))),
    }
}
