//! A field that can be used again: an entry of a table.

use bytes::Bytes;
use http::{
    HeaderValue, Method,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::{Field, Malformed, OVERHEAD, name::Name};

/// A field as the table keeps it: checked once, and then only cloned. Malformed ones have their place too, because the peer
/// counts them.
pub(super) struct Entry {
    pub(super) field: Result<Field, Unusable>,
    /// As RFC 7541 section 4.1 counts it.
    pub(super) size: usize,
}

/// A malformed field. The name may be right, and another field may refer to it.
pub(super) struct Unusable {
    pub(super) name: Name,
    pub(super) why: Malformed,
}

impl Entry {
    /// Checks `value` as one of `name`.
    pub(super) fn new(name: Name, value: Bytes) -> Self {
        let size = name.len() + value.len() + OVERHEAD;
        Self { field: check(name, value), size }
    }

    /// The name alone, for a literal that refers to it.
    pub(super) fn name(&self) -> Name {
        match &self.field {
            Ok(Field::Header(name, _)) => Name::Header(name.clone()),
            Ok(Field::Path(_)) => Name::Path,
            Ok(Field::Authority(_)) => Name::Authority,
            Ok(Field::Method(_)) => Name::Method,
            Ok(Field::Scheme(_)) => Name::Scheme,
            Ok(Field::Protocol(_)) => Name::Protocol,
            Ok(Field::Status) => Name::Status,
            Err(unusable) => unusable.name.clone(),
        }
    }

    /// What the sink is given.
    ///
    /// This is `clone`, but inlined: each kind is made where it is used, instead of being moved as a whole of 72 octets
    /// that the processor has not yet written.
    #[inline(always)]
    pub(super) fn given(&self) -> Result<Field, Malformed> {
        match &self.field {
            Ok(Field::Header(name, value)) => Ok(Field::Header(name.clone(), value.clone())),
            Ok(Field::Path(path)) => Ok(Field::Path(path.clone())),
            Ok(Field::Authority(authority)) => Ok(Field::Authority(authority.clone())),
            Ok(Field::Method(method)) => Ok(Field::Method(method.clone())),
            Ok(Field::Scheme(scheme)) => Ok(Field::Scheme(scheme.clone())),
            Ok(Field::Protocol(protocol)) => Ok(Field::Protocol(protocol.clone())),
            Ok(Field::Status) => Ok(Field::Status),
            Err(unusable) => Err(unusable.why),
        }
    }
}

fn check(name: Name, value: Bytes) -> Result<Field, Unusable> {
    match name {
        Name::Header(name) => match header_value(value) {
            Some(value) => Ok(Field::Header(name, value)),
            None => Err(Unusable { name: Name::Header(name), why: Malformed::Value }),
        },
        Name::Bad(why, len) => Err(Unusable { name: Name::Bad(why, len), why }),
        pseudo => pseudo_header(&pseudo, value).ok_or(Unusable { name: pseudo, why: Malformed::PseudoValue }),
    }
}

fn pseudo_header(name: &Name, value: Bytes) -> Option<Field> {
    match name {
        Name::Path => path(value).map(Field::Path),
        Name::Authority => authority(value).map(Field::Authority),
        Name::Method => Method::from_bytes(&value).ok().map(Field::Method),
        // `http` does not mind what a scheme starts with, and takes a tilde. RFC 3986 section 3.1: "Scheme names consist of a
        // sequence of characters beginning with a letter and followed by any combination of letters, digits, plus ("+"),
        // period ("."), or hyphen ("-")."
        Name::Scheme if value.first().is_some_and(u8::is_ascii_alphabetic) && !value.contains(&b'~') => {
            Scheme::try_from(&value[..]).ok().map(Field::Scheme)
        }
        Name::Protocol => header_value(value).filter(|value| !value.is_empty()).map(Field::Protocol),
        Name::Status => Some(Field::Status),
        Name::Scheme | Name::Header(_) | Name::Bad(..) => None,
    }
}

/// RFC 9113 section 8.2.1, as [`Malformed::Value`] quotes it; `http` refuses the other control characters as well.
fn header_value(value: Bytes) -> Option<HeaderValue> {
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return None;
    }
    HeaderValue::from_maybe_shared(value).ok()
}

/// RFC 9113 section 8.3.1: `:authority` "MUST NOT include the deprecated userinfo subcomponent"; the rest is a host and perhaps a
/// port (RFC 3986 section 3.2), and of `http` and `https` no empty host (RFC 9110 section 4.2.1). `http` would take any of it, a
/// port that is no number, and brackets wherever they are.
fn authority(value: Bytes) -> Option<Authority> {
    let host_end = match value.first()? {
        b'[' => value.iter().position(|octet| *octet == b']')? + 1,
        _ => value.iter().position(|octet| *octet == b':').unwrap_or(value.len()),
    };
    let (host, port) = value.split_at(host_end);
    let is_host = match host {
        [b'[', literal @ .., b']'] => !literal.is_empty() && !literal.contains(&b'@'),
        _ => !host.is_empty() && !host.iter().any(|octet| matches!(octet, b'[' | b']' | b'@')),
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_host && is_port { Authority::from_maybe_shared(value).ok() } else { None }
}

/// RFC 9113 section 8.3.1: `:path` "includes the path and query parts of the target URI", which start with a slash; or it is `*`.
/// `http` would take a query without the slash, and cut a fragment off without a word.
fn path(value: Bytes) -> Option<PathAndQuery> {
    let len = value.len();
    if !matches!(value.first(), Some(b'/' | b'*')) {
        return None;
    }
    PathAndQuery::from_maybe_shared(value).ok().filter(|path| path.as_str().len() == len)
}
