//! What a request is that nothing is wrong with, as the test reads it.

use crate::{
    reference::Raw,
    servers::{End, Seen},
};
use std::collections::BTreeMap;

/// Fields by their names, the crumbs of cookies joined (RFC 9113 section 8.2.3) where they are a request's.
pub(crate) fn headers(fields: &[Raw], is_request: bool) -> Vec<(String, Vec<Vec<u8>>)> {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut all: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value, _) in fields.iter().filter(|(name, ..)| name[0] != b':') {
        all.entry(text(name)).or_default().push(value.clone());
    }
    if let Some(crumbs) = all.get_mut("cookie").filter(|_| is_request) {
        *crumbs = vec![crumbs.join(&b"; "[..])];
    }
    all.into_iter().collect()
}

pub(crate) fn request(fields: &[Raw]) -> Seen {
    let one = |wanted: &str| {
        let found = fields.iter().find(|(name, ..)| name == wanted.as_bytes());
        found.map(|(_, value, _)| String::from_utf8_lossy(value).into_owned())
    };
    let path = one(":path").unwrap_or_default();
    let uri = match (one(":scheme"), one(":authority")) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}{path}"),
        (None, Some(authority)) => authority,
        (_, None) => path,
    };
    let method = one(":method").unwrap_or_default();
    Seen { method, uri, headers: headers(fields, true), body: Vec::new(), end: End::Not }
}
