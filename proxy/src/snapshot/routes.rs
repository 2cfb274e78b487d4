//! Finding a request's route: exact path, then longest prefix, then more matchers.
//!
//! Looking up costs one hash of the path, and one for each distinct *length* of prefix that is configured,
//! however many routes there are.

use super::Forward;
use crate::head::authority;
use bytestring::ByteString;
use foldhash::{HashMap, HashMapExt};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::CONTENT_TYPE};
use prism_filters::{Filter, strip_media_type};
use std::{cmp::Reverse, sync::Arc};

/// What a route decides.
pub struct Route {
    place: Arc<Place>,
    namespace: Option<ByteString>,
    chain: Arc<[Arc<dyn Filter>]>,
    forward: Option<Box<Forward>>,
    number: Option<usize>,
}

/// Which requests a route takes. Of one listener's routes no two have the same.
#[derive(Default, PartialEq)]
pub(crate) struct Place {
    path: Box<str>,
    /// Every path that begins so.
    is_prefix: bool,
    conditions: Conditions,
}

/// What a request must have besides its path.
#[derive(Default, PartialEq)]
pub struct Conditions {
    /// A host in lower case, with a port or for every port.
    pub host: Option<Box<str>>,
    /// It is a gRPC call.
    pub grpc: bool,
    /// Headers, each with this value.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Route {
    /// A route to `namespace` (or to the one that the request names) through `chain`, for requests that meet the
    /// conditions.
    #[must_use]
    pub fn new(namespace: Option<ByteString>, chain: Arc<[Arc<dyn Filter>]>, conditions: Conditions) -> Self {
        let place = Arc::new(Place { conditions, ..Place::default() });
        Self { place, namespace, chain, forward: None, number: None }
    }

    fn at(mut self, path: &str, is_prefix: bool) -> Self {
        let place = Arc::try_unwrap(self.place).unwrap_or_default();
        self.place = Arc::new(Place { path: path.into(), is_prefix, ..place });
        self
    }

    /// Which requests it takes.
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// The same, which knows its place among the listener's routes.
    pub(crate) fn numbered(mut self, number: usize) -> Self {
        self.number = Some(number);
        self
    }

    /// Its place among the listener's routes; `None` for the one that is there when none is configured.
    pub(crate) fn number(&self) -> Option<usize> {
        self.number
    }

    /// The same for requests that are forwarded.
    pub(crate) fn forwarding(mut self, forward: Option<Forward>) -> Self {
        self.forward = forward.map(Box::new);
        self
    }

    /// The namespace that it sets.
    #[must_use]
    pub fn namespace(&self) -> Option<&ByteString> {
        self.namespace.as_ref()
    }

    /// Its filters.
    #[must_use]
    pub fn chain(&self) -> &[Arc<dyn Filter>] {
        &self.chain
    }

    /// Where its requests go, if they are no operations.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        self.forward.as_deref()
    }
}

impl Conditions {
    /// Those that ask for more come first.
    fn rank(&self) -> Reverse<(u8, bool, usize)> {
        let host = self.host.as_ref().map_or(0, |host| 1 + u8::from(has_port(host)));
        Reverse((host, self.grpc, self.headers.len()))
    }

    fn met(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|(name, wanted)| headers.get_all(name).iter().any(|value| value == wanted))
            && (!self.grpc || is_any_grpc(headers))
            && self
                .host
                .as_ref()
                .is_none_or(|host| authority(uri, headers).is_some_and(|it| is_host(it, host)))
    }
}

/// gRPC, or gRPC-Web, which becomes gRPC where the route's chain has the filter for it.
fn is_any_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| strip_media_type(value.as_bytes(), "application/grpc").is_some())
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

/// Whether a request's authority is this host, written in lower case. A dot at its end changes nothing for whoever looks
/// the name up (RFC 1034 section 3.1), so it must change nothing here.
fn is_host(authority: &str, host: &str) -> bool {
    if has_port(host) {
        return authority.eq_ignore_ascii_case(host);
    }
    let name = match has_port(authority) {
        true => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
        false => authority,
    };
    name.strip_suffix('.').unwrap_or(name).eq_ignore_ascii_case(host.strip_suffix('.').unwrap_or(host))
}

/// Routes by path, or by prefix of one length.
type ByPath = HashMap<Box<str>, Vec<Route>>;

/// A listener's routes.
#[derive(Default)]
pub struct RouteTable {
    exact: ByPath,
    /// By length, longest first.
    prefixes: Vec<(usize, ByPath)>,
}

impl RouteTable {
    /// Adds a route for exactly this path.
    pub fn add_exact(&mut self, path: &str, route: Route) {
        insert(self.exact.entry(path.into()).or_default(), route.at(path, false));
    }

    /// Adds a route for every path that begins with `prefix`.
    pub fn add_prefix(&mut self, prefix: &str, route: Route) {
        let length = prefix.len();
        let at = match self.prefixes.binary_search_by(|(other, _)| length.cmp(other)) {
            Ok(at) => at,
            Err(at) => {
                self.prefixes.insert(at, (length, HashMap::new()));
                at
            }
        };
        insert(self.prefixes[at].1.entry(prefix.into()).or_default(), route.at(prefix, true));
    }

    /// The route that takes the same requests.
    pub(crate) fn same(&self, place: &Place) -> Option<&Route> {
        let routes = match place.is_prefix {
            true => self.prefixes.iter().find(|(length, _)| *length == place.path.len())?.1.get(&place.path),
            false => self.exact.get(&place.path),
        };
        routes?.iter().find(|route| *route.place == *place)
    }

    /// The route of a request.
    #[must_use]
    pub fn find(&self, uri: &Uri, headers: &HeaderMap) -> Option<&Route> {
        let path = uri.path();
        let matching = |routes: Option<&'_ Vec<Route>>| -> Option<usize> {
            routes?.iter().position(|route| route.place.conditions.met(uri, headers))
        };
        if !self.exact.is_empty() {
            let routes = self.exact.get(path);
            if let Some(at) = matching(routes) {
                return routes.and_then(|routes| routes.get(at));
            }
        }
        for (length, routes) in &self.prefixes {
            // A prefix that would end inside a character of the path cannot match it.
            let Some(head) = path.get(..*length) else { continue };
            let routes = routes.get(head);
            if let Some(at) = matching(routes) {
                return routes.and_then(|routes| routes.get(at));
            }
        }
        None
    }
}

/// Routes of one path, those with more matchers first. Equal ones are a configuration error, found earlier.
fn insert(routes: &mut Vec<Route>, route: Route) {
    let rank = route.place.conditions.rank();
    let at = routes.partition_point(|other| other.place.conditions.rank() <= rank);
    routes.insert(at, route);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(name: &str, headers: &[(&'static str, &'static str)]) -> Route {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Route::new(Some(name.into()), Arc::new([]), Conditions { headers, ..Conditions::default() })
    }

    fn found<'a>(
        table: &'a RouteTable,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Option<&'a str> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        table.find(&path.parse().unwrap(), &headers).and_then(|route| route.namespace()).map(|name| &**name)
    }

    #[test]
    fn exact_beats_prefix_and_longer_beats_shorter_and_more_beats_fewer() {
        let mut table = RouteTable::default();
        table.add_prefix("/", route("root", &[]));
        table.add_prefix("/a/", route("a", &[]));
        table.add_prefix("/a/", route("a-with", &[("x-team", "blue")]));
        table.add_prefix("/a/b", route("ab", &[]));
        table.add_exact("/a/b", route("exact", &[("x-team", "red")]));
        for (path, headers, expected) in [
            ("/", &[][..], "root"),
            ("/b", &[], "root"),
            ("/a", &[], "root"),
            ("/a/", &[], "a"),
            ("/a/x", &[("x-team", "blue")], "a-with"),
            ("/a/x", &[("x-team", "green")], "a"),
            ("/a/bc", &[], "ab"),
            ("/a/b", &[], "ab"),
            ("/a/b", &[("x-team", "red")], "exact"),
        ] {
            assert_eq!(found(&table, path, headers), Some(expected), "{path} {headers:?}");
        }
        assert_eq!(found(&RouteTable::default(), "/", &[]), None);
        assert_eq!(found(&table, "*", &[]), None);
    }

    proptest! {
        #[test]
        fn the_longest_prefix_is_found(prefixes in prop::collection::btree_set("/[ab/é]{0,5}", 0..12), path in "/[ab/é]{0,8}") {
            let mut table = RouteTable::default();
            for prefix in &prefixes {
                table.add_prefix(prefix, route(prefix, &[]));
            }
            let expected = prefixes.iter().filter(|prefix| path.starts_with(*prefix)).max_by_key(|prefix| prefix.len());
            prop_assert_eq!(found(&table, &path, &[]), expected.map(String::as_str));
        }
    }
}
