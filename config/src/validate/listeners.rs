//! Listeners: names, addresses, the order of filters, windows that contradict each other.

use std::net::SocketAddr;

use super::{Context, Names, access::Guarded, certificates, routes, settings};
use crate::{
    admin::Admin,
    listener::{DEFAULT_CHAIN, Listener},
    problem::Position,
    registry::{FilterSchema, Phase},
    tree::{Node, NodeValue},
    units::ByteSize,
};

/// One filter of a chain, as far as it is known.
pub(super) struct Filter<'a> {
    pub(super) name: &'a str,
    pub(super) at: Position,
    phase: Option<Phase>,
    /// Nothing but its name is written.
    bare: bool,
}

pub(super) fn check(document: &Node, namespaces: &Names<'_>, context: &mut Context<'_>) {
    let mut names = Names::new("listener");
    let mut addresses = vec![admin_address(document)];
    let guarded = Guarded::of(document);
    if document.entry("listeners").is_none() {
        guarded.without_listeners(context);
        let at = document.at;
        address(Listener::default().address, "listener `edge`", at, "listeners", &mut addresses, context);
    }
    for (index, listener) in document.list("listeners").iter().enumerate() {
        let path = format!("listeners[{index}]");
        let name = listener.text("name").unwrap_or("?");
        if let Some(entry) = listener.entry("name").filter(|entry| entry.value.as_str().is_some()) {
            names.declare(name, entry.value.at, format!("{path}.name"), context.problems);
        }
        if let Some(node) = listener.get("address")
            && let Some(Ok(bound)) = node.as_str().map(str::parse)
        {
            let (owner, place) = (format!("listener `{name}`"), format!("{path}.address"));
            address(bound, &owner, node.at, &place, &mut addresses, context);
        }
        let chain = chain(listener, context);
        if listener.entry("filters").is_some_and(|entry| matches!(entry.value.value, NodeValue::List(_))) {
            order(listener, &chain, &format!("{path}.filters"), context);
            before(&chain, &format!("{path}.filters"), context);
            certificates::check(listener, &path, context);
        }
        for (index, node) in listener.list("filters").iter().enumerate() {
            if let [entry] = node.entries() {
                let place = format!("{path}.filters[{index}].{}", entry.key);
                settings::check(&entry.key, &entry.value, &place, context);
            }
        }
        windows(listener, &path, context);
        guarded.check(listener, &chain, &path, context);
        let chain: Vec<(&str, Option<Phase>)> = chain.iter().map(|it| (it.name, it.phase)).collect();
        routes::check(listener, &chain, document, namespaces, &path, context);
    }
}

/// An address that is taken: by whom, and where that is written.
type Taken = (SocketAddr, String, Position);

fn admin_address(document: &Node) -> Taken {
    let written = document.get("admin").and_then(|admin| admin.get("address"));
    let parsed = written.and_then(|node| node.as_str()?.parse().ok());
    let at = written.map_or(document.at, |node| node.at);
    (parsed.unwrap_or(Admin::default().address), "the admin interface".into(), at)
}

fn address(
    bound: SocketAddr,
    owner: &str,
    at: Position,
    path: &str,
    taken: &mut Vec<Taken>,
    context: &mut Context<'_>,
) {
    // Port 0 is a free one each time. An unspecified address holds the port on every other of its family.
    let clashes = |other: &SocketAddr| {
        let same = bound.ip() == other.ip();
        let covers = bound.ip().is_unspecified() || other.ip().is_unspecified();
        bound.port() == other.port() && (same || covers && bound.is_ipv4() == other.is_ipv4())
    };
    if bound.port() != 0
        && let Some((_, other, line)) = taken.iter().find(|(other, ..)| clashes(other))
    {
        let message = format!("{owner} and {other} (line {}) have the same address {bound}", line.line);
        context.problems.invalid(at, path, message, None);
    }
    taken.push((bound, owner.to_owned(), at));
}

fn chain<'a>(listener: &'a Node, context: &Context<'_>) -> Vec<Filter<'a>> {
    let Some(filters) = listener.get("filters") else {
        let known = |name: &&'static str| Filter {
            name,
            at: listener.at,
            phase: context.registry.phase(name),
            bare: true,
        };
        return DEFAULT_CHAIN.iter().map(known).collect();
    };
    let read = |node: &'a Node| {
        let (name, at) = match (&node.value, node.entries()) {
            (NodeValue::String(name), _) => (name.as_str(), node.at),
            (_, [entry]) => (entry.key.as_str(), entry.at),
            _ => ("", node.at),
        };
        let bare = matches!(node.value, NodeValue::String(_));
        Filter { name, at, phase: context.registry.phase(name), bare }
    };
    filters.items().iter().map(read).collect()
}

fn order(listener: &Node, chain: &[Filter<'_>], path: &str, context: &mut Context<'_>) {
    let at = listener.entry("filters").map_or(listener.at, |entry| entry.at);
    let mut names = Names::new("filter");
    let mut request: Option<&str> = None;
    for (index, filter) in chain.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if filter.phase.is_some() {
            names.declare(filter.name, filter.at, path.clone(), context.problems);
        }
        let schema = context.registry.filters().get(filter.name).filter(|_| filter.bare);
        let required: Vec<&str> = schema.into_iter().flat_map(FilterSchema::required).collect();
        if !required.is_empty() {
            let message = format!("`{}` has no defaults for `{}`", filter.name, required.join("` and `"));
            let hint = format!("write `- {}: {{ {} }}`", filter.name, required.join(": …, ") + ": …");
            context.problems.invalid(filter.at, path.clone(), message, Some(hint));
        }
        match filter.phase {
            Some(Phase::Request) => request = request.or(Some(filter.name)),
            Some(Phase::Connection) => {
                if let Some(earlier) = request {
                    let message = format!(
                        "`{}` runs on the connection, so it must come before `{earlier}`, which runs on requests",
                        filter.name
                    );
                    context.problems.invalid(filter.at, path, message, Some("move it up".into()));
                }
            }
            Some(Phase::Terminal) if index + 1 < chain.len() => {
                let message = format!("`{}` answers, so it must come last", filter.name);
                context.problems.invalid(filter.at, path, message, Some("move it to the end".into()));
            }
            Some(Phase::Terminal) | None => {}
        }
    }
    // An unknown filter at the end may be a misspelt terminal one, and one in the middle was told above.
    let judged = chain.last().is_none_or(|last| last.phase.is_some());
    if judged && !chain.iter().any(|filter| filter.phase == Some(Phase::Terminal)) {
        let message = "the chain has no terminal filter, so nothing would answer";
        let hint = Some("end it with `- plugin_dispatch`".into());
        context.problems.invalid(at, path, message, hint);
    }
}

/// Why `audit` is nothing without `trace`.
pub(super) const NO_REQUEST_ID: &str =
    "a record of the audit log has the request's id, which `trace` gives it";

/// Filters that do nothing behind others: which, behind which, and why.
const BEFORE: [(&str, &[&str], &str); 3] = [
    (
        "cors",
        &["auth", "authz"],
        "a browser asks for leave without credentials, so it would be refused there",
    ),
    ("audit", &["auth", "authz"], "what is refused there would not be in the audit log"),
    ("trace", &["audit"], NO_REQUEST_ID),
];

fn before(chain: &[Filter<'_>], path: &str, context: &mut Context<'_>) {
    for (name, others, why) in BEFORE {
        let Some(at) = chain.iter().position(|filter| filter.name == name) else { continue };
        let earlier = chain[..at].iter().find(|filter| others.contains(&filter.name));
        if let Some(earlier) = earlier {
            let message = format!("`{name}` must come before `{}`: {why}", earlier.name);
            let hint = Some("move it up".into());
            context.problems.invalid(chain[at].at, format!("{path}[{at}]"), message, hint);
        }
    }
    let position = |name| chain.iter().position(|filter| filter.name == name);
    if let (Some(at), None) = (position("audit"), position("trace")) {
        let message = format!("{NO_REQUEST_ID}, and there is no `trace`");
        let hint = Some("add `- trace` before it".into());
        context.problems.invalid(chain[at].at, format!("{path}[{at}]"), message, hint);
    }
}

/// A connection's window below a stream's would be the smaller of the two for every stream.
fn windows(listener: &Node, path: &str, context: &mut Context<'_>) {
    let Some(http2) = listener.get("http2") else { return };
    let size = |key: &str, default: ByteSize| match http2.get(key).map(|node| &node.value) {
        None => Some(default.get()),
        Some(NodeValue::Int(bytes)) => u64::try_from(*bytes).ok(),
        Some(NodeValue::String(text)) => text.parse::<ByteSize>().ok().map(ByteSize::get),
        Some(_) => None,
    };
    let defaults = crate::limits::Http2::default();
    let stream = size("initial_stream_window_bytes", defaults.initial_stream_window_bytes);
    let connection = size("initial_connection_window_bytes", defaults.initial_connection_window_bytes);
    if let (Some(stream), Some(connection)) = (stream, connection)
        && stream > connection
    {
        let message = format!(
            "the stream window ({}) is larger than the connection window ({})",
            ByteSize::bytes(stream),
            ByteSize::bytes(connection)
        );
        let hint = "raise `initial_connection_window_bytes`, best well above it: one stalled stream can hold a \
                    whole stream window";
        context.problems.invalid(http2.at, format!("{path}.http2"), message, Some(hint.into()));
    }
}
