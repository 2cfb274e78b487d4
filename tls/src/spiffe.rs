//! SPIFFE ids: which URIs are one (SPIFFE-ID, sections 2.1 to 2.3).

const SCHEME: &str = "spiffe://";

/// SPIFFE-ID section 2.3: "SPIFFE implementations MUST support SPIFFE URIs up to 2048 bytes in length and MUST NOT generate
/// URIs of length greater than 2048 bytes."
const MOST_BYTES: usize = 2048;

/// The host of a URI (RFC 3986 section 3.2.2).
const MOST_TRUST_DOMAIN_BYTES: usize = 255;

/// Whether a URI claims to be a SPIFFE id, a right one or not.
pub(crate) fn claims_to_be_one(uri: &str) -> bool {
    // Schemes are case-insensitive (RFC 3986 section 3.1).
    uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(&SCHEME[..7]))
}

/// Whether a URI is the id of a workload, written as the standard has it: nothing is made lower-case or decoded here, so
/// that one workload has one id.
///
/// One without a path names a whole trust domain: it is that of an authority, and no client's.
pub(crate) fn is_workload_id(uri: &str) -> bool {
    let Some((trust_domain, path)) = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    // Each leaves no room for a port, user information, a query, a fragment or percent-encoding.
    let in_domain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    let in_path = |byte: u8| in_domain(byte) || byte.is_ascii_uppercase();
    uri.len() <= MOST_BYTES
        && (1..=MOST_TRUST_DOMAIN_BYTES).contains(&trust_domain.len())
        && trust_domain.bytes().all(in_domain)
        && path.split('/').all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(in_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_what_looks_like_one() {
        let long = |path: usize| format!("spiffe://a.test/{}", "x".repeat(path));
        for id in
            ["spiffe://a.test/x", "spiffe://a_b-1.test/ns/Prod/sa/x.y_z-1", "spiffe://a/...", &long(2032)]
        {
            assert!(is_workload_id(id) && claims_to_be_one(id), "{id}");
        }
        for no in [
            "",
            "spiffe",
            "spiffe:",
            "spiffe://",
            "spiffe:///x",
            "spiffe://a.test",
            "spiffe://a.test/",
            "spiffe:/a.test/x",
            "spiffe:a.test/x",
            "SPIFFE://a.test/x",
            "Spiffe://a.test/x",
            "http://a.test/x",
            "spiffe://A.test/x",
            "spiffe://a.test:443/x",
            "spiffe://a@a.test/x",
            "spiffe://a:b@a.test/x",
            "spiffe://[::1]/x",
            "spiffe://a.test?x/y",
            "spiffe://a.test/x?y=z",
            "spiffe://a.test/x?",
            "spiffe://a.test/x#y",
            "spiffe://a.test/x#",
            "spiffe://a.test//x",
            "spiffe://a.test/x//y",
            "spiffe://a.test/x/",
            "spiffe://a.test/.",
            "spiffe://a.test/..",
            "spiffe://a.test/x/../y",
            "spiffe://a.test/./x",
            "spiffe://a.test/%2e%2e/x",
            "spiffe://a.test/x%2fy",
            "spiffe://a%2etest/x",
            "spiffe://a.test/x y",
            "spiffe://a.test/x\0",
            "spiffe://a.test/\r\nx",
            "spiffe://a\0.test/x",
            "spiffe://a.test/é",
            "spiffe://é.test/x",
            "spiffe://a.test/*",
            "spiffe://*/x",
            "spiffe://a.test/a\\b",
            " spiffe://a.test/x",
            "spiffe://a.test/x ",
            "spiffe://a,b/x",
            "é",
        ] {
            assert!(!is_workload_id(no), "{no:?}");
        }
        assert!(!is_workload_id(&long(2033)));
        assert!(!is_workload_id(&format!("spiffe://{}/x", "a".repeat(256))));
        assert!(claims_to_be_one("SPIFFE:x") && !claims_to_be_one("https://a.test/spiffe:"));
    }
}
