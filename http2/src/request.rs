//! A request put together of its header fields (RFC 9113 section 8.3), and its trailers (section 8.1).
//!
//! What is malformed is found here and not passed on: "Intermediaries that process HTTP requests or responses ... MUST NOT forward a
//! malformed request or response" (section 8.1.1).

use crate::hpack::{Field, Malformed};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{self, Entry},
    uri::{Authority, PathAndQuery, Scheme},
};

/// Fields on their way into a request.
#[derive(Default)]
pub(crate) struct Collected {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    fields: Fields,
}

/// Fields that are no pseudo-headers, and what is wrong with any.
#[derive(Default)]
struct Fields {
    headers: HeaderMap,
    most: usize,
    size: usize,
    malformed: bool,
    /// There are several `cookie`s.
    has_crumbs: bool,
}

impl Fields {
    fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Counts a field. False: nothing more is kept.
    fn count(&mut self, size: usize) -> bool {
        self.size = self.size.saturating_add(size);
        !self.malformed && self.size <= self.most
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        if is_of_a_connection(&name) || (name == header::TE && value != "trailers") {
            self.malformed = true;
            return;
        }
        self.has_crumbs |= name == header::COOKIE && self.headers.contains_key(header::COOKIE);
        // A map of `http` holds no more than 24,576 names: beyond that the fields are too large, whatever their bytes are.
        if self.headers.try_append(name, value).is_err() {
            self.size = usize::MAX;
        }
    }

    /// Section 8.2.3: "If there are multiple Cookie header fields after decompression, these MUST be concatenated into a single
    /// octet string using the two-octet delimiter of 0x3b, 0x20 (the ASCII string "; ") before being passed into a non-HTTP/2
    /// context".
    fn join_crumbs(&mut self) {
        if !self.has_crumbs {
            return;
        }
        let Entry::Occupied(mut cookie) = self.headers.entry(header::COOKIE) else { return };
        let crumbs: Vec<&[u8]> = cookie.iter().map(HeaderValue::as_bytes).collect();
        let is_sensitive = cookie.iter().any(HeaderValue::is_sensitive);
        let Ok(mut joined) = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(&b"; "[..]))) else {
            return;
        };
        joined.set_sensitive(is_sensitive);
        cookie.insert(joined);
    }
}

/// Section 8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header fields", and one that has
/// any is malformed.
fn is_of_a_connection(name: &HeaderName) -> bool {
    match name.as_str().as_bytes().first() {
        Some(b'c') => name == header::CONNECTION,
        Some(b'k') => name == "keep-alive",
        Some(b'p') => name == "proxy-connection",
        Some(b't') => name == header::TRANSFER_ENCODING,
        Some(b'u') => name == header::UPGRADE,
        _ => false,
    }
}

impl Collected {
    /// With at most so many bytes, as section 6.5.2 counts them, and probably so many fields.
    pub(crate) fn new(most: usize, likely: usize) -> Self {
        let mut fields = Fields::new(most);
        fields.headers.reserve(likely);
        Self { fields, ..Self::default() }
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.fields.size > self.fields.most
    }

    pub(crate) fn add(&mut self, field: Result<Field, Malformed>, size: usize) {
        if !self.fields.count(size) {
            return;
        }
        let is_pseudo = !matches!(field, Ok(Field::Header(..)));
        // Section 8.3: "All pseudo-header fields MUST appear in a field block before all regular field lines", and none twice.
        let is_misplaced = is_pseudo && !self.fields.headers.is_empty();
        let is_twice = match field {
            Ok(Field::Header(name, value)) => {
                self.fields.add(name, value);
                false
            }
            Ok(Field::Method(method)) => self.method.replace(method).is_some(),
            Ok(Field::Scheme(scheme)) => self.scheme.replace(scheme).is_some(),
            Ok(Field::Authority(authority)) => self.authority.replace(authority).is_some(),
            Ok(Field::Path(path)) => self.path.replace(path).is_some(),
            Ok(Field::Status | Field::Protocol(_)) | Err(_) => true,
        };
        self.fields.malformed |= is_misplaced || is_twice;
    }

    /// The request, and how long its body is to be where it says so; `None` if it is malformed.
    pub(crate) fn request(self) -> Option<(Request<()>, Option<u64>)> {
        let Self { method, scheme, authority, path, mut fields } = self;
        if fields.malformed || fields.size > fields.most {
            return None;
        }
        let promised = promised(&fields.headers)?;
        let method = method?;
        let mut uri = http::uri::Parts::default();
        // Section 8.5: CONNECT has an authority, which "contains the host and port to connect to", and neither a scheme nor a
        // path. All others have both.
        let is_connect = method == Method::CONNECT;
        let has_port = authority.as_ref().is_some_and(|authority| authority.port_u16().is_some());
        if is_connect && (!has_port || scheme.is_some() || path.is_some()) {
            return None;
        }
        if !is_connect && (scheme.is_none() || path.is_none()) {
            return None;
        }
        // Section 8.3.1: "A request in asterisk form (for OPTIONS) includes the value '*'", and no other does.
        if method != Method::OPTIONS && path.as_ref().is_some_and(|path| path == "*") {
            return None;
        }
        fields.join_crumbs();
        // A target without an authority is written without its scheme, too.
        uri.scheme = scheme.filter(|_| authority.is_some());
        uri.authority = authority;
        uri.path_and_query = path;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = fields.headers;
        Some((request, promised))
    }
}

/// What `content-length` says; `None` if it says nothing that can be believed.
fn promised(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Some(None) };
    // RFC 9110 section 8.6: digits, and nothing else; several values that are the same are not accepted here.
    let text = first.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    if values.next().is_some() {
        return None;
    }
    Some(Some(text.parse().ok()?))
}

/// Fields on their way into trailers.
pub(crate) struct Trailers(Fields);

impl Trailers {
    pub(crate) fn new(most: usize) -> Self {
        Self(Fields::new(most))
    }

    pub(crate) fn add(&mut self, field: Result<Field, Malformed>, size: usize) {
        if !self.0.count(size) {
            return;
        }
        match field {
            Ok(Field::Header(name, value)) => self.0.add(name, value),
            // Section 8.1: "Pseudo-header fields MUST NOT appear in trailers".
            _ => self.0.malformed = true,
        }
    }

    /// `None` if they are malformed, or too large.
    pub(crate) fn finish(self) -> Option<HeaderMap> {
        (!self.0.malformed && self.0.size <= self.0.most).then_some(self.0.headers)
    }
}
