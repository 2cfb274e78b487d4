//! Request ids and the W3C trace context (<https://www.w3.org/TR/trace-context/>).

use bytes::Bytes;
use bytestring::ByteString;
use http::{HeaderMap, header::HeaderName};
use prism_platform::Platform;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// An id that is drawn has 64 bits, in hexadecimal.
const ID: usize = 16;

/// Of version 00 (section 3.2).
const TRACEPARENT_LENGTH: usize = 55;

/// The two digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let (digits, mut pairs, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// A request's id, and the `traceparent` to hand on. Both are used several times over, so they share one buffer: each
/// for itself would be two allocations more.
pub(super) fn ids(platform: &Platform, headers: &HeaderMap, accept: bool) -> (ByteString, ByteString) {
    let given = accept.then(|| given_id(headers)).flatten();
    let mut both = [0; ID + TRACEPARENT_LENGTH];
    let (id, traceparent) = both.split_at_mut(ID);
    // In any case, so that there is one layout.
    let [drawn, random @ ..] = platform.random_u64s::<4>();
    hex(drawn, id);
    traceparent.copy_from_slice(&next_traceparent(random, headers));
    let mut traceparent = Bytes::from_owner(both);
    let drawn = traceparent.split_to(ID);
    // Made of hexadecimal digits and dashes alone.
    let text = |digits| ByteString::try_from(digits).unwrap_or_default();
    (given.map_or_else(|| text(drawn), ByteString::from), text(traceparent))
}

/// The client's id, where it is one that may stand in a log and a header.
fn given_id(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(REQUEST_ID)?.to_str().ok()?;
    ((1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic())).then_some(value)
}

/// The caller's trace with a new parent, or a new trace. A header that is absent, repeated or malformed starts a new
/// one (section 4.3, "A vendor receiving the request").
fn next_traceparent([high, low, parent]: [u64; 3], headers: &HeaderMap) -> [u8; TRACEPARENT_LENGTH] {
    let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
    let mut values = headers.get_all(TRACEPARENT).iter();
    let given = values.next().filter(|_| values.next().is_none());
    if let Some(given) = given.map(|value| value.as_bytes()).filter(|value| is_traceparent(value)) {
        out[3..35].copy_from_slice(&given[3..35]);
        out[53..55].copy_from_slice(&given[53..55]);
    } else {
        hex(high | 1, &mut out[3..19]);
        hex(low, &mut out[19..35]);
    }
    // "All bytes as zero is considered an invalid value" (section 3.2.2.4).
    hex(parent | 1, &mut out[36..52]);
    out
}

/// Section 3.2.2: `version "-" trace-id "-" parent-id "-" trace-flags`, in lower-case hexadecimal. Later
/// versions may append; version ff is forbidden.
fn is_traceparent(value: &[u8]) -> bool {
    let lower_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let (Some(head), rest) = (value.get(..55), value.get(55..).unwrap_or_default()) else { return false };
    let well_formed = head[2] == b'-'
        && head[35] == b'-'
        && head[52] == b'-'
        && [&head[..2], &head[3..35], &head[36..52], &head[53..55]].into_iter().all(lower_hex);
    let length_fits =
        if &head[..2] == b"00" { rest.is_empty() } else { rest.first().is_none_or(|b| *b == b'-') };
    well_formed && length_fits && &head[..2] != b"ff" && !zero(&head[3..35]) && !zero(&head[36..52])
}

fn hex(number: u64, out: &mut [u8]) {
    for (byte, digits) in number.to_be_bytes().into_iter().zip(out.chunks_exact_mut(2)) {
        digits.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::sync::Arc;

    fn platform() -> Platform {
        Platform::simulated(Arc::new(prism_platform::SystemNet), 1)
    }

    fn with(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (TRACEPARENT, HeaderValue::from_static(value))).collect()
    }

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traceparent(headers: &HeaderMap) -> ByteString {
        ids(&platform(), headers, false).1
    }

    fn request_id(headers: &HeaderMap, accept: bool) -> ByteString {
        ids(&platform(), headers, accept).0
    }

    #[test]
    fn a_valid_trace_is_continued_under_a_new_parent() {
        let next = traceparent(&with(&[GIVEN]));
        assert_eq!((&next[..36], &next[52..]), (&GIVEN[..36], "-01"));
        assert_ne!(next[36..52], GIVEN[36..52]);
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-a-later-version-adds";
        assert_eq!(&traceparent(&with(&[later]))[..36], &GIVEN[..36]);
    }

    #[test]
    fn anything_else_starts_a_new_trace() {
        for values in [
            vec![],
            vec![GIVEN, GIVEN],
            vec![""],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"],
            vec!["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
            vec!["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
            vec!["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"],
            vec!["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        ] {
            let new = traceparent(&with(&values));
            assert!(is_traceparent(new.as_bytes()), "{new}");
            assert!(!new.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{values:?} gave {new}");
        }
    }

    #[test]
    fn a_request_id_is_ours_unless_asked_for() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("mine"));
        assert_eq!(request_id(&headers, true), "mine");
        assert_eq!(request_id(&headers, false).len(), 16);
        for bad in ["", "with space", &"x".repeat(129)] {
            headers.insert(REQUEST_ID, HeaderValue::from_str(bad).unwrap());
            assert_eq!(request_id(&headers, true).len(), 16, "{bad}");
        }
    }
}
