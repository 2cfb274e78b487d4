//! The static table (RFC 7541 appendix A), its fields ready to be cloned without an allocation.

use http::{
    HeaderName, HeaderValue, Method,
    uri::{PathAndQuery, Scheme},
};

use super::{
    Field, Malformed, OVERHEAD,
    entry::{Entry, Unusable},
    name::Name,
};

/// The first index whose name is no pseudo-header's.
pub(super) const FIRST_HEADER: usize = 15;

macro_rules! table {
    ([$($pseudo:expr,)*] $($name:literal $value:literal,)*) => {
        /// The entries in their order; the first has index 1.
        pub(super) static ENTRIES: [Entry; 61] = [$($pseudo,)* $(header($name, $value),)*];

        /// The names from [`FIRST_HEADER`] on.
        pub(super) const NAMES: [&str; 47] = [$($name,)*];
    };
}

table! {
    [
        NO_AUTHORITY,
        entry(Field::Method(Method::GET), 10),
        entry(Field::Method(Method::POST), 11),
        entry(Field::Path(PathAndQuery::from_static("/")), 6),
        entry(Field::Path(PathAndQuery::from_static("/index.html")), 16),
        entry(Field::Scheme(Scheme::HTTP), 11),
        entry(Field::Scheme(Scheme::HTTPS), 12),
        entry(Field::Status, 10),
        entry(Field::Status, 10),
        entry(Field::Status, 10),
        entry(Field::Status, 10),
        entry(Field::Status, 10),
        entry(Field::Status, 10),
        entry(Field::Status, 10),
    ]
    "accept-charset" "",
    "accept-encoding" "gzip, deflate",
    "accept-language" "",
    "accept-ranges" "",
    "accept" "",
    "access-control-allow-origin" "",
    "age" "",
    "allow" "",
    "authorization" "",
    "cache-control" "",
    "content-disposition" "",
    "content-encoding" "",
    "content-language" "",
    "content-length" "",
    "content-location" "",
    "content-range" "",
    "content-type" "",
    "cookie" "",
    "date" "",
    "etag" "",
    "expect" "",
    "expires" "",
    "from" "",
    "host" "",
    "if-match" "",
    "if-modified-since" "",
    "if-none-match" "",
    "if-range" "",
    "if-unmodified-since" "",
    "last-modified" "",
    "link" "",
    "location" "",
    "max-forwards" "",
    "proxy-authenticate" "",
    "proxy-authorization" "",
    "range" "",
    "referer" "",
    "refresh" "",
    "retry-after" "",
    "server" "",
    "set-cookie" "",
    "strict-transport-security" "",
    "transfer-encoding" "",
    "user-agent" "",
    "vary" "",
    "via" "",
    "www-authenticate" "",
}

/// Index 1 is a name to refer to: as a field, `:authority` would be empty, and no host is.
const NO_AUTHORITY: Entry = Entry {
    field: Err(Unusable { name: Name::Authority, why: Malformed::PseudoValue }),
    size: b":authority".len() + OVERHEAD,
};

const fn header(name: &'static str, value: &'static str) -> Entry {
    entry(
        Field::Header(HeaderName::from_static(name), HeaderValue::from_static(value)),
        name.len() + value.len(),
    )
}

/// `len` is that of name and value.
const fn entry(field: Field, len: usize) -> Entry {
    Entry { field: Ok(field), size: len + OVERHEAD }
}
