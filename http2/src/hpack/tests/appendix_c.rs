//! The examples of RFC 7541 appendix C.

use http::{HeaderName, HeaderValue, StatusCode};

use super::{decode, decoder, fields, hex};
use crate::hpack::{Decoder, Encoder, Field};

/// A block, its fields, and the table's size after it.
type Example<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

/// Decodes the blocks of one connection.
fn check(mut decoder: Decoder, blocks: &[Example<'_>]) {
    for (block, want, size) in blocks {
        let got = fields(&mut decoder, &hex(block));
        let got: Vec<_> = got.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(got, *want, "{block}");
        assert_eq!(decoder.table_sizes().1, *size, "{block}");
    }
}

#[test]
fn c_2_single_fields() {
    let literal = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    check(decoder(), &[(literal, &[("custom-key", "custom-header")], 55)]);
    check(decoder(), &[("040c 2f73 616d 706c 652f 7061 7468", &[(":path", "/sample/path")], 0)]);
    check(decoder(), &[("1008 7061 7373 776f 7264 0673 6563 7265 74", &[("password", "secret")], 0)]);
    check(decoder(), &[("82", &[(":method", "GET")], 0)]);
}

#[test]
fn c_2_3_is_sensitive() {
    let mut sensitive = Vec::new();
    let sink = |field: Result<Field, _>, _| match field {
        Ok(Field::Header(_, value)) => sensitive.push(value.is_sensitive()),
        other => panic!("{other:?}"),
    };
    decoder().decode(&hex("1008 7061 7373 776f 7264 0673 6563 7265 74 0001 6101 62"), sink).unwrap();
    assert_eq!(sensitive, [true, false]);
}

const FIRST: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
const SECOND: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
    ("cache-control", "no-cache"),
];
const THIRD: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
];

#[test]
fn c_3_requests() {
    check(
        decoder(),
        &[
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", FIRST, 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", SECOND, 110),
            ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", THIRD, 164),
        ],
    );
}

#[test]
fn c_4_requests_in_huffman_code() {
    check(
        decoder(),
        &[
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", FIRST, 57),
            ("8286 84be 5886 a8eb 1064 9cbf", SECOND, 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", THIRD, 164),
        ],
    );
}

const DATE_21: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:21 GMT");
const DATE_22: (&str, &str) = ("date", "Mon, 21 Oct 2013 20:13:22 GMT");
const PRIVATE: (&str, &str) = ("cache-control", "private");
const LOCATION: (&str, &str) = ("location", "https://www.example.com");
const COOKIE: (&str, &str) = ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1");
const STATUS: (&str, &str) = (":status", "");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

/// A decoder whose table has 256 octets, as the examples of answers have it.
fn of_256() -> Decoder {
    let mut decoder = decoder();
    assert_eq!(decode(&mut decoder, &hex("3f e1 01")), Ok(Vec::new()));
    decoder
}

#[test]
fn c_5_answers() {
    check(
        of_256(),
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
                 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                &[STATUS, PRIVATE, DATE_21, LOCATION],
                222,
            ),
            ("4803 3330 37c1 c0bf", &[STATUS, PRIVATE, DATE_21, LOCATION], 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738
                 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33
                 3630 303b 2076 6572 7369 6f6e 3d31",
                &[STATUS, PRIVATE, DATE_22, LOCATION, GZIP, COOKIE],
                215,
            ),
        ],
    );
}

#[test]
fn c_6_answers_in_huffman_code() {
    check(
        of_256(),
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
                 63c7 8f0b 97c8 e9ae 82ae 43d3",
                &[STATUS, PRIVATE, DATE_21, LOCATION],
                222,
            ),
            ("4883 640e ffc1 c0bf", &[STATUS, PRIVATE, DATE_21, LOCATION], 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7
                 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                &[STATUS, PRIVATE, DATE_22, LOCATION, GZIP, COOKIE],
                215,
            ),
        ],
    );
}

#[test]
fn the_encoder_writes_the_forms_that_it_shares() {
    let encode = |name: &'static str, value: HeaderValue| {
        let mut out = Vec::new();
        Encoder::new().encode(&HeaderName::from_static(name), &value, &mut out);
        out
    };
    let c_2_1 = hex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    assert_eq!(encode("custom-key", HeaderValue::from_static("custom-header")), c_2_1);
    let mut secret = HeaderValue::from_static("secret");
    secret.set_sensitive(true);
    assert_eq!(encode("password", secret), hex("1008 7061 7373 776f 7264 0673 6563 7265 74"));
    let mut out = Vec::new();
    Encoder::new().encode_status(StatusCode::OK, &mut out);
    assert_eq!(out, hex("88"));
}
