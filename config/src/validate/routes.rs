//! Routes: matchers that can match, filters that are there, namespaces that exist, no ties.

mod forward;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use super::{Context, Names, access, listeners::NO_REQUEST_ID, settings};
use crate::{
    host_port::HostPort,
    problem::{Position, closest},
    registry::Phase,
    tree::{Node, NodeValue},
};

/// A route's matcher, as far as precedence goes.
struct Matcher<'a> {
    index: usize,
    at: Position,
    /// A host and a gRPC service are like headers that no request has by these names.
    headers: Headers<'a>,
}

/// Values by lower-case name.
type Headers<'a> = BTreeMap<String, Cow<'a, str>>;

/// Names that no header has, for what ties as a header does.
const HOST: &str = ":host";
const GRPC: &str = ":grpc";

/// What two routes must share to be able to tie: an exact path or a prefix, how much of the host and whether a gRPC
/// service decides, and the number of headers.
type Rank = (bool, String, HostRank, bool, usize);

/// Whether there is a host, and whether it has a port.
type HostRank = Option<bool>;

pub(super) fn check(
    listener: &Node,
    chain: &[(&str, Option<Phase>)],
    document: &Node,
    namespaces: &Names<'_>,
    path: &str,
    context: &mut Context<'_>,
) {
    let mut ranks: HashMap<Rank, Vec<Matcher<'_>>> = HashMap::new();
    for (index, route) in listener.list("routes").iter().enumerate() {
        let path = format!("{path}.routes[{index}]");
        if let Some(matcher) = route.get("match").filter(|node| matches!(node.value, NodeValue::Map(_))) {
            let headers = headers(matcher, &path, context);
            let rank = paths(matcher, &path, context);
            let host = host(matcher, &path, context);
            if let (Some((exact, text)), Some(mut headers), Some(host)) = (rank, headers, host) {
                let (count, grpc) = (headers.len(), matcher.entry("grpc").is_some());
                let with_port = host.map(|host| host.parse::<HostPort>().is_ok());
                let rank = (exact, text, with_port, grpc, count);
                headers.extend(host.map(|host| (HOST.to_owned(), host.to_ascii_lowercase().into())));
                if grpc {
                    headers.insert(GRPC.to_owned(), "".into());
                }
                ranks.entry(rank).or_default().push(Matcher { index, at: matcher.at, headers });
            }
        }
        if let Some(node) = route.get("namespace")
            && let Some(name) = node.as_str()
        {
            namespaces.require(name, node.at, &format!("{path}.namespace"), context.problems);
        }
        forward::check(route, document, &path, context);
        access::rules(route, access::Of::Route, &path, context);
        overrides(route, chain, &path, context);
    }
    for matchers in ranks.values() {
        ties(matchers, path, context);
    }
}

/// Why this cannot be (the beginning of) a request's path.
fn path_problem(text: &str) -> Option<&'static str> {
    if !text.starts_with('/') {
        Some("a path begins with `/`")
    } else if text.contains(['?', '#']) {
        Some("a path is compared without the query, so `?` and `#` never match")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("a path is ASCII without blanks; other characters arrive percent-encoded")
    } else {
        None
    }
}

/// Checks the path; answers whether it is exact, and its text. No path at all is the prefix `/`, with
/// which every path begins.
fn paths(matcher: &Node, path: &str, context: &mut Context<'_>) -> Option<(bool, String)> {
    let mut valid = true;
    for key in ["path", "path_prefix"] {
        let Some(node) = matcher.get(key) else { continue };
        let Some(text) = node.as_str() else {
            valid = false;
            continue;
        };
        if let Some(message) = path_problem(text) {
            valid = false;
            context.problems.invalid(node.at, format!("{path}.match.{key}"), message, None);
        }
    }
    let grpc = matcher.get("grpc");
    for key in ["service", "method"] {
        let Some(node) = grpc.and_then(|grpc| grpc.get(key)) else { continue };
        let Some(text) = node.as_str() else {
            valid = false;
            continue;
        };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
        {
            valid = false;
            let message = "expected a name of letters, digits, `_` and `.`";
            let hint = Some("such as `service: grpc.testing.TestService` and `method: UnaryCall`".into());
            context.problems.invalid(node.at, format!("{path}.match.grpc.{key}"), message, hint);
        }
    }
    let given: Vec<&str> =
        ["path", "path_prefix", "grpc"].into_iter().filter(|key| matcher.entry(key).is_some()).collect();
    if let [one, other, ..] = given[..] {
        let message = format!("`{one}` and `{other}` exclude each other");
        context.problems.invalid(matcher.at, format!("{path}.match"), message, Some("keep one".into()));
        return None;
    }
    if !valid {
        return None;
    }
    if let Some(grpc) = grpc {
        let service = grpc.text("service")?;
        return Some(match grpc.text("method") {
            Some(method) => (true, format!("/{service}/{method}")),
            None => (false, format!("/{service}/")),
        });
    }
    match (matcher.text("path"), matcher.text("path_prefix")) {
        (Some(exact), _) => Some((true, exact.to_owned())),
        (None, prefix) => Some((false, prefix.unwrap_or("/").to_owned())),
    }
}

/// Checks the host; answers it, if there is one.
fn host<'a>(matcher: &'a Node, path: &str, context: &mut Context<'_>) -> Option<Option<&'a str>> {
    let Some(node) = matcher.get("host") else { return Some(None) };
    let text = node.as_str()?;
    if text.parse::<HostPort>().is_err() && format!("{text}:1").parse::<HostPort>().is_err() {
        let message = "expected a host such as `api.example.com`, with a port or without";
        let hint =
            text.contains('*').then(|| "wildcards are not known here: write a route for each host".into());
        context.problems.invalid(node.at, format!("{path}.match.host"), message, hint);
        return None;
    }
    Some(Some(text))
}

/// Checks the headers; answers them by lower-case name.
fn headers<'a>(matcher: &'a Node, path: &str, context: &mut Context<'_>) -> Option<Headers<'a>> {
    let mut headers = BTreeMap::new();
    let mut valid = true;
    for entry in matcher.get("headers").map(Node::entries).unwrap_or_default() {
        let place = crate::tree::join(&format!("{path}.match.headers"), &entry.key);
        let name = entry.key.to_ascii_lowercase();
        // RFC 9110, section 5.6.2: the characters of a token.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let mut refuse = |message: &str, hint: Option<&str>| {
            valid = false;
            context.problems.invalid(entry.at, place.clone(), message, hint.map(Into::into));
        };
        if name == "host" || name == ":authority" {
            refuse("the request's authority is not matched as a header", Some("use `match.host`"));
        } else if name.is_empty() || !name.bytes().all(token) {
            refuse("this is not a header's name", None);
        } else if name.starts_with("x-prism-") && name != "x-prism-namespace" {
            refuse("a client's `x-prism-*` headers are dropped before routes are chosen", None);
        }
        let Some(value) = entry.value.as_str() else {
            valid = false;
            continue;
        };
        // RFC 9110, section 5.5: no controls, and blanks around a value are not part of it.
        if value.trim() != value || value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            valid = false;
            let message = "no header has such a value";
            let hint = Some("remove blanks around it, and control characters".into());
            context.problems.invalid(entry.value.at, place.clone(), message, hint);
        }
        if headers.insert(name, value.into()).is_some() {
            valid = false;
            let message = "the header is there twice; upper and lower case are the same";
            context.problems.invalid(entry.at, place, message, None);
        }
    }
    valid.then_some(headers)
}

fn overrides(route: &Node, chain: &[(&str, Option<Phase>)], path: &str, context: &mut Context<'_>) {
    for entry in route.get("filters").map(Node::entries).unwrap_or_default() {
        let place = format!("{path}.filters.{}", entry.key);
        // Unknown names, and connection filters, are the schema's to refuse.
        let Some(phase) = context.registry.phase(&entry.key) else { continue };
        if phase == Phase::Connection {
            continue;
        }
        if !chain.iter().any(|(name, _)| *name == entry.key) {
            let message = format!("`{}` is not in this listener's chain", entry.key);
            let hint = closest(&entry.key, chain.iter().map(|(name, _)| *name))
                .unwrap_or_else(|| "add it to the listener's `filters`".into());
            context.problems.invalid(entry.at, place, message, Some(hint));
        } else if phase == Phase::Terminal && entry.value.value == NodeValue::Bool(false) {
            let message = format!("`{}` answers, so it cannot be left out", entry.key);
            context.problems.invalid(entry.at, place, message, None);
        } else {
            settings::check(&entry.key, &entry.value, &place, context);
        }
    }
    let without = |name| {
        let entry = route.get("filters")?.entry(name)?;
        (entry.value.value == NodeValue::Bool(false)).then_some(entry)
    };
    let audited = chain.iter().any(|(name, _)| *name == "audit") && without("audit").is_none();
    if let Some(entry) = without("trace").filter(|_| audited) {
        let message = format!("{NO_REQUEST_ID}, and this route leaves it out");
        let hint = Some("leave `trace` in, or `audit` out too".into());
        context.problems.invalid(entry.at, format!("{path}.filters.trace"), message, hint);
    }
}

/// Reports every matcher that some request could match as well as an earlier one of the same rank.
fn ties(matchers: &[Matcher<'_>], path: &str, context: &mut Context<'_>) {
    // Matchers with the same header names tie only when the values are the same too, which a map finds;
    // pair by pair only those with different names are compared. A thousand routes that differ in one
    // header's value cost nothing.
    let mut alike: HashMap<&Headers<'_>, &Matcher<'_>> = HashMap::new();
    let mut by_names: HashMap<Vec<&str>, Vec<&Matcher<'_>>> = HashMap::new();
    for matcher in matchers {
        let names: Vec<&str> = matcher.headers.keys().map(String::as_str).collect();
        let others = by_names.iter().filter(|(other, _)| **other != names).flat_map(|(_, others)| others);
        let overlapping = || {
            let ties = others.filter(|other| compatible(&other.headers, &matcher.headers));
            ties.min_by_key(|other| other.index).copied()
        };
        if let Some(other) = alike.get(&matcher.headers).copied().or_else(overlapping) {
            let message = format!(
                "route {} could match the same requests as route {} (line {}), and neither is more specific",
                matcher.index, other.index, other.at.line
            );
            let hint = Some("give one of them a longer path or another header".into());
            let place = format!("{path}.routes[{}].match", matcher.index);
            context.problems.invalid(matcher.at, place, message, hint);
        }
        alike.entry(&matcher.headers).or_insert(matcher);
        by_names.entry(names).or_default().push(matcher);
    }
}

/// Whether one request can have all headers of both.
fn compatible(a: &Headers<'_>, b: &Headers<'_>) -> bool {
    a.iter().all(|(name, value)| b.get(name).is_none_or(|other| other == value))
}
