//! Plugins: names, and keys that have no meaning for a type.

use std::path::Path;

use super::{Context, Names, socket};
use crate::{problem::closest, tree::Node};

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
            foreign(plugin, &["socket", "library", "offload"], "builtin", path, context);
            let (builtin, at, place) = match plugin.entry("builtin") {
                Some(entry) => (entry.value.as_str(), entry.value.at, format!("{path}.builtin")),
                None => (name, plugin.at, path.to_owned()),
            };
            if let Some(builtin) = builtin {
                known_builtin(builtin, at, &place, context);
            }
        }
        Some("sidecar") => {
            foreign(plugin, &["builtin", "library", "offload"], "sidecar", path, context);
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
            foreign(plugin, &["builtin", "socket"], "in_process", path, context);
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
        // The others are refused as not built, and an unknown type by the schema.
        _ => {}
    }
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
