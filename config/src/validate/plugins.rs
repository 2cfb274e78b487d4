//! Plugins: names, and keys that have no meaning for a type.

use std::path::Path;

use super::{Context, Names, socket};
use crate::{
    plugin::tls_faults,
    problem::closest,
    tree::{Node, NodeValue},
};

/// Checks `plugins:` and answers the names in it.
pub(super) fn check<'a>(document: &'a Node, context: &mut Context<'_>) -> Names<'a> {
    let mut names = Names::new("plugin");
    for (index, plugin) in document.list("plugins").iter().enumerate() {
        let path = format!("plugins[{index}]");
        let name = plugin.text("name");
        if let (Some(name), Some(entry)) = (name, plugin.entry("name")) {
            names.declare(name, entry.value.at, format!("{path}.name"), context.problems);
        }
        definition(plugin, name, &path, context);
    }
    names
}

/// Checks one definition, which will be called `name`.
pub(super) fn definition(plugin: &Node, name: Option<&str>, path: &str, context: &mut Context<'_>) {
    match plugin.text("type") {
        Some("builtin") => {
            foreign(
                plugin,
                &["socket", "library", "offload", "endpoint", "endpoints", "tls"],
                "builtin",
                path,
                context,
            );
            let (builtin, at, place) = match plugin.entry("builtin") {
                Some(entry) => (entry.value.as_str(), entry.value.at, format!("{path}.builtin")),
                None => (name, plugin.at, path.to_owned()),
            };
            if let Some(builtin) = builtin {
                known_builtin(builtin, at, &place, context);
            }
        }
        Some("sidecar") => {
            foreign(
                plugin,
                &["builtin", "library", "offload", "endpoint", "endpoints", "tls"],
                "sidecar",
                path,
                context,
            );
            match plugin.get("socket") {
                Some(node) => {
                    if let Some(text) = node.as_str() {
                        socket(Path::new(text), node.at, &format!("{path}.socket"), context);
                    }
                }
                None if plugin.entry("command").is_none() => {
                    let hint = "add `socket:` with the unix socket it listens on".to_owned();
                    context.problems.invalid(plugin.at, path, "a `sidecar` needs a `socket`", Some(hint));
                }
                None => {}
            }
        }
        Some("in_process") => {
            foreign(
                plugin,
                &["builtin", "socket", "endpoint", "endpoints", "tls"],
                "in_process",
                path,
                context,
            );
            if plugin.entry("library").is_none() {
                let hint = "add `library:` with the shared library's path".to_owned();
                context.problems.invalid(
                    plugin.at,
                    path,
                    "an `in_process` plugin needs a `library`",
                    Some(hint),
                );
            }
        }
        Some(kind @ ("remote" | "grpc")) => {
            foreign(plugin, &["builtin", "socket", "library", "offload"], kind, path, context);
            endpoints(plugin, path, context);
            tls(plugin, "`remote` plugin", path, context);
        }
        // The others are refused as not built, and an unknown type by the schema.
        _ => {}
    }
}

fn endpoints(plugin: &Node, path: &str, context: &mut Context<'_>) {
    let list = plugin.list("endpoints");
    let (one, several) = (plugin.entry("endpoint"), plugin.entry("endpoints"));
    let (message, hint) = match (one, several) {
        (Some(_), Some(_)) => {
            ("`endpoint` and `endpoints` are both there", "put all of them into `endpoints`")
        }
        (None, None) => ("a `remote` plugin needs `endpoints`", "add `endpoints: [HOST:PORT]`"),
        (None, Some(entry)) if matches!(entry.value.value, NodeValue::List(_)) && list.is_empty() => {
            ("`endpoints` is empty", "add at least one HOST:PORT")
        }
        _ => ("", ""),
    };
    if !message.is_empty() {
        context.problems.invalid(plugin.at, path, message, Some(hint.to_owned()));
    }
    for (index, endpoint) in list.iter().enumerate() {
        let text = endpoint.as_str().map(str::to_ascii_lowercase);
        let before = &list[..index];
        if text.is_some() && before.iter().any(|it| it.as_str().map(str::to_ascii_lowercase) == text) {
            let message = format!("`{}` is there twice", endpoint.as_str().unwrap_or_default());
            let hint = Some("each endpoint is a process of its own; remove it".to_owned());
            context.problems.invalid(endpoint.at, format!("{path}.endpoints[{index}]"), message, hint);
        }
    }
}

/// Checks how the connections of a `remote` plugin, or another thing with `tls`, are secured.
pub(super) fn tls(owner: &Node, noun: &str, path: &str, context: &mut Context<'_>) {
    let Some(tls) = owner.get("tls") else {
        let message = format!("a {noun} needs `tls`");
        let hint =
            "add `tls:` with a `ca_cert`, or `tls: { enabled: false }` for a network that nobody else is on";
        context.problems.invalid(owner.at, path, message, Some(hint.to_owned()));
        return;
    };
    let path = format!("{path}.tls");
    let is_off = is_off(owner);
    if !is_off && !matches!(tls.value, NodeValue::Map(_)) {
        return;
    }
    for fault in tls_faults(!is_off, |key| tls.entry(key).is_some()) {
        let entry = fault.key.and_then(|key| tls.entry(key));
        let path = entry.map_or_else(|| path.clone(), |entry| format!("{path}.{}", entry.key));
        context.problems.invalid(
            entry.map_or(tls.at, |entry| entry.at),
            path,
            fault.message,
            Some(fault.hint),
        );
    }
}

/// Somebody wrote `tls: { enabled: false }`.
fn is_off(owner: &Node) -> bool {
    let enabled = owner.get("tls").and_then(|tls| tls.get("enabled"));
    enabled.is_some_and(|enabled| matches!(enabled.value, NodeValue::Bool(false)))
}

/// What is sent to it anybody on the way can read.
pub(super) fn is_plaintext(plugin: &Node) -> bool {
    matches!(plugin.text("type"), Some("remote" | "grpc")) && is_off(plugin)
}

fn foreign(plugin: &Node, keys: &[&str], kind: &str, path: &str, context: &mut Context<'_>) {
    for key in keys {
        if let Some(entry) = plugin.entry(key) {
            let message = format!("`{key}` has no meaning for a plugin of type `{kind}`");
            context.problems.invalid(entry.at, format!("{path}.{key}"), message, Some("remove it".into()));
        }
    }
}

fn known_builtin(name: &str, at: crate::problem::Position, path: &str, context: &mut Context<'_>) {
    let builtins = context.registry.builtins();
    if builtins.iter().any(|known| known == name) {
        return;
    }
    let hint = closest(name, builtins.iter().map(String::as_str)).unwrap_or_else(|| built_in(builtins));
    context.problems.invalid(at, path, format!("there is no builtin plugin `{name}`"), Some(hint));
}

/// Which builtins there are, in words.
pub(super) fn built_in(builtins: &[String]) -> String {
    let list = builtins.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if list.is_empty() { "no plugin is built in".into() } else { format!("built in: {list}") }
}
