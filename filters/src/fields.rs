//! Which header fields may pass. `_` counts as `-` throughout, as software behind us may not tell them apart: to some of it
//! `transfer_encoding` frames a body, and `x_prism_principal` is a principal (CGI's names, RFC 3875 section 4.1.18).

use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;

/// The name is this one; `other` is in lower case, with `-`.
#[must_use]
pub fn is(name: &str, other: &str) -> bool {
    name.len() == other.len() && begins(name, other)
}

/// The name begins like this; `prefix` is in lower case, with `-`.
#[must_use]
pub fn begins(name: &str, prefix: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
    name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(same)
}

/// Both are the same name, however they are spelt. Both are in lower case.
#[must_use]
pub fn same(one: &str, other: &str) -> bool {
    let spelt = |byte| if byte == b'_' { b'-' } else { byte };
    one.len() == other.len() && one.bytes().map(spelt).eq(other.bytes().map(spelt))
}

/// Only the proxy may say it.
#[must_use]
pub fn is_claim(name: &str) -> bool {
    begins(name, "x-prism-")
}

/// Drops fields.
pub fn drop_where(fields: &mut HeaderMap, is_dropped: impl Fn(&HeaderName) -> bool) {
    let names: SmallVec<[HeaderName; 4]> = fields.keys().filter(|name| is_dropped(name)).cloned().collect();
    for name in names {
        fields.remove(name);
    }
}

/// It belongs to one hop (RFC 9110 section 7.6.1: "intermediaries ... MUST remove or replace any fields that are known to
/// require removal before forwarding"), besides those that `Connection` names.
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    const FIELDS: [HeaderName; 9] = [
        header::CONNECTION,
        HeaderName::from_static("http2-settings"),
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    FIELDS.iter().any(|field| is(name.as_str(), field.as_str()))
}

/// What `Connection` names.
#[derive(Debug)]
pub struct Named<'a>(SmallVec<[&'a [u8]; 4]>);

impl<'a> Named<'a> {
    /// Of these fields.
    #[must_use]
    pub fn of(fields: &'a HeaderMap) -> Self {
        // As bytes: a value with something in it that is no text names fields all the same.
        let values = fields.get_all(header::CONNECTION).iter();
        let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        Self(names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()).collect())
    }

    /// It names this one.
    #[must_use]
    pub fn has(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn an_underscore_counts_as_a_dash() {
        for name in ["x-prism-", "x-prism-principal", "x_prism_principal", "x-prism_a"] {
            assert!(is_claim(name), "{name}");
        }
        for name in ["x-prism", "x-prisma-a", "prism-x", ""] {
            assert!(!is_claim(name), "{name}");
        }
        for name in ["te", "transfer-encoding", "transfer_encoding", "keep_alive", "http2-settings"] {
            assert!(is_hop_by_hop(&HeaderName::from_static(name)), "{name}");
        }
        for name in ["t", "tea", "trailers", "x-keep-alive"] {
            assert!(!is_hop_by_hop(&HeaderName::from_static(name)), "{name}");
        }
        for (one, other) in [("x-a", "x-a"), ("x-a", "x_a"), ("x_a", "x-a"), ("x_a-b", "x-a_b")] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [("x-a", "x-b"), ("x-a", "x-ab"), ("x_a", "x.a"), ("", "-")] {
            assert!(!same(one, other), "{one} {other}");
        }
    }

    #[test]
    fn connection_names_fields_whatever_else_stands_in_it() {
        let mut fields = HeaderMap::new();
        fields.append("connection", HeaderValue::from_bytes(b"close, X-Own\t,\xff,").unwrap());
        fields.append("connection", HeaderValue::from_static("x-other"));
        let named = Named::of(&fields);
        for (name, is_named) in [("x-own", true), ("x-other", true), ("close", true), ("x-ow", false)] {
            assert_eq!(named.has(&HeaderName::from_static(name)), is_named, "{name}");
        }
    }
}
