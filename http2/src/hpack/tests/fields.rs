//! Fields that HPACK can read and HTTP/2 does not allow: told as malformed, in their place in the table.

use super::{
    blocks::{Block, INDEXED, NEVER, PLAIN},
    decode, decoder,
    reference::allowed,
};
use crate::hpack::Malformed;

/// What a literal says, when nothing else is in its block; the same in all its forms.
fn field(name: &[u8], value: &[u8]) -> Result<(String, Vec<u8>), Malformed> {
    let mut decoder = decoder();
    let block = Block::default()
        .literal(PLAIN, name, value)
        .literal(NEVER, name, value)
        .literal(INDEXED, name, value);
    let given = decode(&mut decoder, &block.index(62).0).unwrap();
    let (first, size) = &given[0];
    assert_eq!(*size, name.len() + value.len() + 32);
    assert!(given.iter().all(|other| *other == given[0]), "{given:?}");
    assert_eq!(decoder.table_sizes(), (1, *size));
    first.clone()
}

#[test]
fn names_that_are_no_tokens_in_lower_case() {
    for name in [
        "",
        "A",
        "content-Type",
        "X-request-id",
        " a",
        "a ",
        "a b",
        "a\tb",
        "a:",
        "a:b",
        "a\0",
        "\x7f",
        "a\r\nb",
        "a,b",
        "a\"b",
        "a(b",
        "a)b",
        "a/b",
        "a;b",
        "a<b",
        "a=b",
        "a>b",
        "a?b",
        "a@b",
        "a[b",
        "a\\b",
        "a]b",
        "a{b",
        "a}b",
        "\u{e9}",
        "host\0",
    ] {
        assert_eq!(field(name.as_bytes(), b"x"), Err(Malformed::Name), "{name:?}");
    }
    assert_eq!(field(&[0xff], b""), Err(Malformed::Name));
    assert_eq!(field(&[b'A'; 100], b""), Err(Malformed::Name));
    assert_eq!(field(&[b'"'; 100], b""), Err(Malformed::Name));
}

/// RFC 9110 section 5.6.2 and RFC 9113 section 8.2.1, octet by octet, wherever it is.
#[test]
fn every_octet_of_a_name() {
    for octet in 0..=255 {
        for name in
            [vec![octet], vec![octet, b'a'], vec![b'a', octet], [&[b'a'; 70][..], &[octet], b"a"].concat()]
        {
            let is_pseudo = name[0] == b':';
            let why = if is_pseudo { Malformed::PseudoName } else { Malformed::Name };
            assert_eq!(field(&name, b"x").err(), (!allowed(&name, b"x")).then_some(why), "{name:?}");
        }
    }
}

#[test]
fn names_that_are() {
    for name in [
        "a",
        "te",
        "content-type",
        "grpc-timeout",
        "x-request-id",
        "!#$%&'*+-.^_`|~0",
        "no-header-that-anybody-knows",
    ] {
        assert_eq!(field(name.as_bytes(), b"x"), Ok((name.to_owned(), b"x".to_vec())));
    }
    let long = "l".repeat(1000);
    assert_eq!(field(long.as_bytes(), b"x"), Ok((long, b"x".to_vec())));
}

/// A name that `http` cannot hold.
#[test]
fn a_name_of_64_kib() {
    let given = decode(&mut decoder(), &Block::default().literal(PLAIN, &[b'a'; 1 << 16], b"").0).unwrap();
    assert_eq!(given, [(Err(Malformed::Name), (1 << 16) + 32)]);
}

#[test]
fn pseudo_headers_that_are_none() {
    for name in [":", "::", ":a", ":Method", ":method ", ":path:", ":host", ":version", ":authority\0"] {
        assert_eq!(field(name.as_bytes(), b"x"), Err(Malformed::PseudoName), "{name:?}");
    }
}

#[test]
fn values_with_control_characters_or_blanks_at_an_end() {
    for octet in (0..=255).filter(|octet| (*octet < 0x20 && *octet != b'\t') || *octet == 0x7f) {
        for value in
            [vec![octet], vec![b'a', octet], vec![octet, b'a'], [&[b'a'; 99], &[octet][..], b"a"].concat()]
        {
            assert_eq!(field(b"a", &value), Err(Malformed::Value), "{value:?}");
        }
    }
    for value in [" ", "\t", " a", "\ta", "a ", "a\t", "  ", " a "] {
        assert_eq!(field(b"a", value.as_bytes()), Err(Malformed::Value), "{value:?}");
    }
}

#[test]
fn values_without() {
    for value in [&b""[..], b"a", b"a b", b"a\tb", b"!", b"\x80\xff", "\u{e9}".as_bytes(), b"a, b; c=\"d\""] {
        assert_eq!(field(b"a", value), Ok(("a".to_owned(), value.to_vec())));
    }
}

#[test]
fn pseudo_headers_whose_value_is_none_of_their_kind() {
    let long = format!("/{}", "a".repeat(1 << 16));
    let cases: [(&str, &[&str]); 5] = [
        (":method", &["", " ", "GET ", "G T", "GET\r\n", "GET\0", "(", "\u{e9}"]),
        (":scheme", &["", " ", "ht~tp", "http:", "http s", "1http", "ht\0tp", "\u{e9}", "http://"]),
        (
            ":path",
            &[
                "",
                " ",
                "a",
                "a/b",
                "?a",
                "#a",
                "/a#b",
                "/#",
                "/?#",
                "*a",
                "**",
                "*?a",
                "/a b",
                "/\0",
                "/\r\n",
                "/\x7f",
                "/a\tb",
                "http://a/b",
                "//a\n",
            ],
        ),
        (
            ":authority",
            &[
                "", " ", "a b", "a/b", "a?b", "a#b", "[::1", "::1]", "a\0", "a\r\n", "a@", "a:1:2", "u@a",
                "u:p@a:1", "@a", ":1", ":", "a:b", "a:1b", "a:-1", "[::1]a", "[::1]:b", "a[::1]", "[]",
                "[]:1", "[u@a]",
            ],
        ),
        (":protocol", &["", " ", "a\n", " a"]),
    ];
    for (name, values) in cases {
        for value in values {
            assert_eq!(
                field(name.as_bytes(), value.as_bytes()),
                Err(Malformed::PseudoValue),
                "{name} {value:?}"
            );
        }
    }
    let given =
        decode(&mut decoder(), &Block::default().literal(PLAIN, b":path", long.as_bytes()).0).unwrap();
    assert_eq!(given[0].0, Err(Malformed::PseudoValue));
    assert_eq!(
        decode(&mut decoder(), &Block::default().literal(PLAIN, b":path", b"/\xff").0).unwrap()[0].0,
        Err(Malformed::PseudoValue)
    );
}

#[test]
fn pseudo_headers_that_are_right() {
    let cases: [(&str, &[&str]); 5] = [
        (":method", &["GET", "POST", "PATCH", "QUERY", "M-SEARCH", "A-METHOD-OF-MANY-LETTERS", "get"]),
        (":scheme", &["http", "https", "ws", "coap+tcp"]),
        (":path", &["/", "*", "/a", "/a/b?c=d&e", "/?", "//a", "/a%20b", "/a?b?c", "/\u{e9}"]),
        (":authority", &["a", "a:1", "a:", "[::1]", "[::1]:80", "EXAMPLE.org", "127.0.0.1:8443"]),
        (":protocol", &["websocket", "connect-udp"]),
    ];
    for (name, values) in cases {
        for value in values {
            assert_eq!(
                field(name.as_bytes(), value.as_bytes()),
                Ok((name.to_owned(), value.as_bytes().to_vec()))
            );
        }
    }
}

#[test]
fn the_block_goes_on_after_a_malformed_field() {
    let mut decoder = decoder();
    let block = Block::default()
        .literal(INDEXED, b"Bad", b"1")
        .literal(INDEXED, b"good", b"bad\0")
        .named(INDEXED, 4, b"none");
    let given = decode(&mut decoder, &block.literal(INDEXED, b"last", b"4").0).unwrap();
    let fields: Vec<_> = given.into_iter().map(|(field, _)| field).collect();
    let ok = |name: &str, value: &str| Ok((name.to_owned(), value.as_bytes().to_vec()));
    assert_eq!(
        fields,
        [Err(Malformed::Name), Err(Malformed::Value), Err(Malformed::PseudoValue), ok("last", "4")]
    );
    // Each has kept its place: a bad name stays bad, a good one can have a good value, and so can a pseudo-header's.
    let block = Block::default()
        .index(65)
        .named(PLAIN, 65, b"2")
        .named(PLAIN, 64, b"3")
        .named(PLAIN, 63, b"/")
        .index(62);
    let given = decode(&mut decoder, &block.0).unwrap();
    let fields: Vec<_> = given.iter().map(|(field, _)| field.clone()).collect();
    assert_eq!(
        fields,
        [Err(Malformed::Name), Err(Malformed::Name), ok("good", "3"), ok(":path", "/"), ok("last", "4")]
    );
    assert_eq!(given[1].1, 3 + 1 + 32);
}
