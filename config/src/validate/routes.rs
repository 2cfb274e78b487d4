//! Routes: matchers that can match, filters that are there, namespaces that exist, no ties.

use std::collections::{BTreeMap, HashMap};

use super::{Context, Names};
use crate::{
    problem::{Position, ProblemKind, closest},
    registry::Phase,
    tree::{Node, NodeValue},
};

/// A route's matcher, as far as precedence goes.
struct Matcher<'a> {
    index: usize,
    at: Position,
    headers: BTreeMap<String, &'a str>,
}

/// What two routes must share to be able to tie: an exact path or a prefix, and the number of headers.
type Rank<'a> = (bool, &'a str, usize);

pub(super) fn check(
    listener: &Node,
    chain: &[(&str, Option<Phase>)],
    namespaces: &Names<'_>,
    path: &str,
    context: &mut Context<'_>,
) {
    let mut ranks: HashMap<Rank<'_>, Vec<Matcher<'_>>> = HashMap::new();
    for (index, route) in listener.list("routes").iter().enumerate() {
        let path = format!("{path}.routes[{index}]");
        if let Some(matcher) = route.get("match").filter(|node| matches!(node.value, NodeValue::Map(_))) {
            let headers = headers(matcher, &path, context);
            let rank = paths(matcher, &path, context);
            // Matchers that are not built would tell apart what looks alike here.
            let judged = matcher.entry("host").is_none() && matcher.entry("grpc").is_none();
            if let (Some((exact, text)), Some(headers), true) = (rank, headers, judged) {
                let rank = (exact, text, headers.len());
                ranks.entry(rank).or_default().push(Matcher { index, at: matcher.at, headers });
            }
        }
        if let Some(node) = route.get("namespace")
            && let Some(name) = node.as_str()
        {
            namespaces.require(name, node.at, &format!("{path}.namespace"), context.problems);
        }
        overrides(route, chain, &path, context);
    }
    for matchers in ranks.values() {
        ties(matchers, path, context);
    }
}

/// Checks the path; answers whether it is exact, and its text. No path at all is the prefix `/`, with
/// which every path begins.
fn paths<'a>(matcher: &'a Node, path: &str, context: &mut Context<'_>) -> Option<(bool, &'a str)> {
    let mut valid = true;
    for key in ["path", "path_prefix"] {
        let Some(node) = matcher.get(key) else { continue };
        let Some(text) = node.as_str() else {
            valid = false;
            continue;
        };
        let problem = if !text.starts_with('/') {
            Some("a path begins with `/`")
        } else if text.contains(['?', '#']) {
            Some("a path is compared without the query, so `?` and `#` never match")
        } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("a path is ASCII without blanks; other characters arrive percent-encoded")
        } else {
            None
        };
        if let Some(message) = problem {
            valid = false;
            context.problems.invalid(node.at, format!("{path}.match.{key}"), message, None);
        }
    }
    match (matcher.text("path"), matcher.text("path_prefix")) {
        (Some(_), Some(_)) => {
            let message = "`path` and `path_prefix` exclude each other";
            context.problems.invalid(matcher.at, format!("{path}.match"), message, Some("keep one".into()));
            None
        }
        (Some(exact), None) => valid.then_some((true, exact)),
        (None, prefix) => valid.then_some((false, prefix.unwrap_or("/"))),
    }
}

/// Checks the headers; answers them by lower-case name.
fn headers<'a>(
    matcher: &'a Node,
    path: &str,
    context: &mut Context<'_>,
) -> Option<BTreeMap<String, &'a str>> {
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
            valid = false;
            let message = "matching on the request's authority is not built yet";
            context.problems.push(ProblemKind::NotBuilt, entry.at, place, message, None);
            continue;
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
        if headers.insert(name, value).is_some() {
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
        }
    }
}

/// Reports every matcher that some request could match as well as an earlier one of the same rank.
fn ties(matchers: &[Matcher<'_>], path: &str, context: &mut Context<'_>) {
    // Matchers with the same header names tie only when the values are the same too, which a map finds;
    // pair by pair only those with different names are compared. A thousand routes that differ in one
    // header's value cost nothing.
    let mut alike: HashMap<&BTreeMap<String, &str>, &Matcher<'_>> = HashMap::new();
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
fn compatible(a: &BTreeMap<String, &str>, b: &BTreeMap<String, &str>) -> bool {
    a.iter().all(|(name, value)| b.get(name).is_none_or(|other| other == value))
}
