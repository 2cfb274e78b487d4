//! One field of a header block, checked as RFC 9113 section 8.2.1 asks for it.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method,
    uri::{Authority, PathAndQuery, Scheme},
};

/// A field that may be in a request, or a pseudo-header that may not.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Method(Method),
    Scheme(Scheme),
    Authority(Authority),
    Path(PathAndQuery),
    Protocol,
    Status,
    Header(HeaderName, HeaderValue),
}

/// A field that makes its message malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What a field is called.
#[derive(Clone, Debug)]
pub(super) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
    Status,
    Header(HeaderName),
    Malformed,
}

impl Name {
    pub(super) fn parse(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":status" => Self::Status,
            // Section 8.2.1: no upper-case letters, and nothing that is no token (section 5.6.2 of RFC 9110).
            _ => HeaderName::from_lowercase(name).map_or(Self::Malformed, Self::Header),
        }
    }
}

/// Section 8.2.1: "A field value MUST NOT start or end with an ASCII whitespace character".
fn has_space_around(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.first()) || is_space(value.last())
}

/// A header's value.
pub(super) fn value(value: Bytes) -> Result<HeaderValue, Malformed> {
    if has_space_around(&value) {
        return Err(Malformed);
    }
    HeaderValue::from_maybe_shared(value).map_err(|_| Malformed)
}

impl Field {
    pub(super) fn new(name: &Name, text: Bytes) -> Result<Self, Malformed> {
        Ok(match name {
            Name::Method => Self::Method(Method::from_bytes(&text).map_err(|_| Malformed)?),
            Name::Scheme => Self::Scheme(match &text[..] {
                b"http" => Scheme::HTTP,
                b"https" => Scheme::HTTPS,
                other => Scheme::try_from(other).map_err(|_| Malformed)?,
            }),
            Name::Authority => Self::Authority(Authority::from_maybe_shared(text).map_err(|_| Malformed)?),
            // RFC 9113 section 8.3.1: it starts with a slash, or is the `*` of OPTIONS.
            Name::Path if text.first() != Some(&b'/') && text != "*" => return Err(Malformed),
            Name::Path => Self::Path(PathAndQuery::from_maybe_shared(text).map_err(|_| Malformed)?),
            Name::Protocol => Self::Protocol,
            Name::Status => Self::Status,
            Name::Header(name) => Self::Header(name.clone(), value(text)?),
            Name::Malformed => return Err(Malformed),
        })
    }
}
