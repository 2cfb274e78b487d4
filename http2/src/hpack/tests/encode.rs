//! What the encoder writes, read by the plain decoder.

use http::{HeaderName, HeaderValue, StatusCode};

use super::{hex, reference::Reference};
use crate::hpack::Encoder;

/// Both ends of a connection.
struct Pair {
    encoder: Encoder,
    peer: Reference,
}

impl Pair {
    fn new() -> Self {
        Self { encoder: Encoder::new(), peer: Reference::new(4096) }
    }

    /// Writes a block of these fields, and tells how long it is after the peer has read them from it.
    fn send(&mut self, fields: &[(&str, &str)]) -> usize {
        let mut out = Vec::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            self.encoder.encode(&name, &HeaderValue::from_str(value).unwrap(), &mut out);
        }
        let got = self.peer.decode(&out).unwrap();
        let got: Vec<_> = got
            .iter()
            .map(|(name, value, _)| (str::from_utf8(name).unwrap(), str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(got, fields);
        assert_eq!(self.encoder.table_sizes(), self.peer.sizes());
        out.len()
    }
}

#[test]
fn every_status_is_what_it_was() {
    let mut peer = Reference::new(4096);
    for code in 100..1000 {
        let mut out = Vec::new();
        Encoder::new().encode_status(StatusCode::from_u16(code).unwrap(), &mut out);
        let got = peer.decode(&out).unwrap();
        assert_eq!(got, [(b":status".to_vec(), code.to_string().into_bytes(), false)]);
    }
}

#[test]
fn what_repeats_is_an_octet() {
    let mut pair = Pair::new();
    let fields = [("content-type", "application/grpc"), ("server", "prism"), ("grpc-status", "0")];
    let first = pair.send(&fields);
    pair.send(&fields);
    assert!(first > 30);
    for _ in 0..100 {
        assert_eq!(pair.send(&fields), 3);
    }
}

#[test]
fn what_is_always_another_value_stays_out() {
    let mut pair = Pair::new();
    for call in 0..500 {
        let (id, time) = (format!("id-{call}"), format!("{}", call * 7));
        let sent = pair.send(&[
            ("content-type", "application/grpc"),
            ("x-request-id", &id),
            ("x-service-time", &time),
            ("content-length", &time),
        ]);
        if call > 1 {
            // An index; two literals with a name of the table, one of the static table.
            assert!(sent <= 1 + 3 + id.len() + 2 * (3 + time.len()), "{call}: {sent}");
        }
    }
    let (entries, _) = pair.peer.sizes();
    assert_eq!(entries, 3, "content-type, and the two names");
}

#[test]
fn a_value_that_stays_for_a_while_goes_in() {
    let mut pair = Pair::new();
    for second in 0..100 {
        let date = format!("Mon, 21 Oct 2013 20:13:{second:02} GMT");
        for call in 0..20 {
            let sent = pair.send(&[("date", &date), ("content-type", "application/json")]);
            // The dates of a minute fill the table, and push out the other field from time to time.
            assert!(call < 4 || sent == 2, "{second} {call}: {sent}");
        }
    }
}

/// A credential is never indexed, whoever wrote the header; neither is what is marked as sensitive, nor is it found in
/// the table when the same value is there for another reason.
#[test]
fn credentials_stay_out_of_every_table() {
    for name in ["set-cookie", "cookie", "authorization", "proxy-authorization"] {
        let mut encoder = Encoder::new();
        for _ in 0..3 {
            let mut out = Vec::new();
            encoder.encode(&HeaderName::from_static(name), &HeaderValue::from_static("a=b"), &mut out);
            let got = Reference::new(4096).decode(&out).unwrap();
            assert_eq!(got, [(name.as_bytes().to_vec(), b"a=b".to_vec(), true)]);
        }
        assert_eq!(encoder.table_sizes(), (0, 0));
    }
    let mut encoder = Encoder::new();
    let mut peer = Reference::new(4096);
    let name = HeaderName::from_static("x-token");
    let mut value = HeaderValue::from_static("secret");
    for (sensitive, never) in [(true, true), (false, false), (true, true), (false, false)] {
        value.set_sensitive(sensitive);
        let mut out = Vec::new();
        encoder.encode(&name, &value, &mut out);
        assert_eq!(peer.decode(&out).unwrap(), [(b"x-token".to_vec(), b"secret".to_vec(), never)]);
    }
}

#[test]
fn values_that_differ_in_the_middle_are_different_fields() {
    let mut pair = Pair::new();
    for _ in 0..4 {
        for value in
            ["same-start a same-end", "same-start b same-end", "same-start c same-end", "short", "sh0rt", ""]
        {
            pair.send(&[("x-value", value), ("x-valve", value), ("etag", value), ("server", value)]);
        }
    }
}

#[test]
fn long_values_stay_out_and_are_what_they_were() {
    let mut pair = Pair::new();
    for len in [126, 127, 128, 254, 255, 256, 511, 512, 513, 4063, 4064, 5000, 70_000] {
        let value = "v".repeat(len);
        for _ in 0..3 {
            pair.send(&[("x-long", &value), ("server", &value), (&"n".repeat(len.min(4000)), "1")]);
        }
    }
}

#[test]
fn every_static_name_is_found() {
    for (nth, (name, _)) in super::reference::STATIC.iter().enumerate().skip(14) {
        let mut out = Vec::new();
        Encoder::new().encode(&HeaderName::from_static(name), &HeaderValue::from_static("zz"), &mut out);
        let index = (out[0] & 0x0f).min(0x0f);
        let index = if index == 0x0f { 0x0f + out[1] } else { index };
        assert_eq!(usize::from(index), nth + 1, "{name}");
    }
}

/// What the first block after these settings begins with.
fn sizes(settings: &[u32]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    settings.iter().for_each(|size| encoder.set_max_table(*size));
    let mut out = Vec::new();
    encoder.encode_status(StatusCode::OK, &mut out);
    assert_eq!(out.pop(), Some(0x88));
    let mut next = Vec::new();
    encoder.encode_status(StatusCode::OK, &mut next);
    assert_eq!(next, [0x88], "said once");
    out
}

#[test]
fn a_smaller_table_is_said_at_the_start_of_the_next_block() {
    assert_eq!(sizes(&[]), hex(""));
    assert_eq!(sizes(&[4096]), hex(""));
    assert_eq!(sizes(&[65_536]), hex(""));
    assert_eq!(sizes(&[u32::MAX]), hex(""));
    assert_eq!(sizes(&[0]), hex("20"));
    assert_eq!(sizes(&[30]), hex("3e"));
    assert_eq!(sizes(&[256]), hex("3f e1 01"));
    assert_eq!(sizes(&[0, 4096]), hex("20 3f e1 1f"));
    assert_eq!(sizes(&[256, 0, 30]), hex("20 3e"));
    assert_eq!(sizes(&[30, 30]), hex("3e"));
    assert_eq!(sizes(&[30, 0]), hex("20"));
    assert_eq!(sizes(&[65_536, 0, u32::MAX]), hex("20 3f e1 1f"));
}

#[test]
fn a_table_that_grows_again_is_said_to() {
    let mut encoder = Encoder::new();
    let mut sizes = |size: u32| {
        encoder.set_max_table(size);
        let mut out = Vec::new();
        encoder.encode(&HeaderName::from_static("server"), &HeaderValue::from_static("a"), &mut out);
        out
    };
    assert_eq!(sizes(0)[0], 0x20);
    assert_eq!(sizes(0)[0], 0x0f, "nothing new");
    assert_eq!(sizes(100)[..2], hex("3f 45"));
    assert_eq!(sizes(9000)[..3], hex("3f e1 1f"));
}

#[test]
fn tables_of_all_sizes_stay_in_step() {
    let mut pair = Pair::new();
    for size in (0..300).chain([4096, 0, 64, 4096, 100, 33]) {
        pair.encoder.set_max_table(size);
        for _ in 0..3 {
            pair.send(&[
                ("a", "1"),
                ("server", "prism"),
                ("x-a-longer-name", "of-a-longer-value"),
                ("b", "2"),
            ]);
        }
    }
}
