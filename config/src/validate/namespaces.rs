//! Namespaces: names, and whether each has a plugin.

use std::collections::HashMap;

use super::{Context, Names, access, plugins, references};
use crate::{
    problem::{Position, closest, shorten},
    redact,
    tree::{Node, NodeValue},
};

/// Checks `namespaces:` and answers the names in it.
pub(super) fn check<'a>(document: &'a Node, declared: &Names<'_>, context: &mut Context<'_>) -> Names<'a> {
    let mut names = Names::new("namespace");
    // Plugins that namespaces bring along. Their names must not meet each other or those in `plugins:`.
    let mut own: HashMap<&str, Position> = HashMap::new();
    let namespaces = document.list("namespaces");
    for (index, namespace) in namespaces.iter().enumerate() {
        let path = format!("namespaces[{index}]");
        let name = namespace.text("name");
        if let (Some(name), Some(entry)) = (name, namespace.entry("name")) {
            names.declare(name, entry.value.at, format!("{path}.name"), context.problems);
        }
        secrets(document, namespace, &path, context);
        access::rules(namespace, access::Of::Namespace, &path, context);
        match namespace.get("plugin") {
            None => backend(namespace, declared, &path, context),
            Some(plugin) => match &plugin.value {
                NodeValue::String(reference) => reference_to(reference, plugin.at, declared, &path, context),
                NodeValue::Map(_) => {
                    let path = format!("{path}.plugin");
                    let called = plugin.text("name").or(name);
                    plugins::definition(plugin, called, &path, context);
                    if let Some(called) = called {
                        let taken = declared.first.get(called).or_else(|| own.get(called)).copied();
                        if let Some(first) = taken {
                            let message =
                                format!("plugin `{called}` is there twice; first on line {}", first.line);
                            let hint = Some("give the inline plugin another `name`".into());
                            context.problems.invalid(plugin.at, path, message, hint);
                        }
                        own.entry(called).or_insert(plugin.at);
                    }
                }
                _ => {}
            },
        }
    }
    // A builtin that a namespace takes by its backend's name must be that builtin.
    for (index, namespace) in namespaces.iter().enumerate() {
        let backend = namespace.text("backend").filter(|name| !declared.contains(name));
        let taken = backend.and_then(|name| own.get(name)).filter(|_| namespace.get("plugin").is_none());
        if let (Some(backend), Some(at)) = (backend, taken) {
            let message = format!(
                "the builtin plugin `{backend}` and the inline plugin on line {} have the same name",
                at.line
            );
            let hint = Some("give the inline plugin another `name`".into());
            context.problems.invalid(namespace.at, format!("namespaces[{index}].backend"), message, hint);
        }
    }
    names
}

/// Credentials and secrets travel in `Initialize`, so not to a plugin that is reached in clear.
fn secrets(document: &Node, namespace: &Node, path: &str, context: &mut Context<'_>) {
    let credentials = namespace.entry("credentials").filter(|entry| !entry.value.entries().is_empty());
    let config = namespace.entry("config").filter(|entry| references::has(&entry.value));
    let called =
        |name: &str| document.list("plugins").iter().find(|plugin| plugin.text("name") == Some(name));
    let plugin = match namespace.get("plugin") {
        None => namespace.text("backend").and_then(called),
        Some(plugin) => plugin.as_str().map_or(Some(plugin), called),
    };
    if plugin.is_some_and(plugins::is_plaintext) {
        for entry in [credentials, config].into_iter().flatten() {
            let message =
                "these would be sent in clear: the namespace's plugin has `tls: { enabled: false }`";
            let hint = Some("give the plugin `tls` with a `ca_cert`".to_owned());
            context.problems.invalid(entry.at, format!("{path}.{}", entry.key), message, hint);
        }
    }
}

/// A namespace without `plugin`: its backend names one in `plugins:`, or a builtin.
fn backend(namespace: &Node, declared: &Names<'_>, path: &str, context: &mut Context<'_>) {
    let Some((backend, entry)) = namespace.text("backend").zip(namespace.entry("backend")) else { return };
    let builtins = context.registry.builtins();
    // An empty one is the schema's to refuse.
    if backend.is_empty() || declared.contains(backend) || builtins.iter().any(|known| known == backend) {
        return;
    }
    let shown = shorten(&redact::key(backend));
    let message = format!("no `plugin` is given, and `{shown}` is neither in `plugins:` nor built in");
    let mut known: Vec<&str> = declared.first.keys().copied().collect();
    known.sort_unstable();
    known.extend(builtins.iter().map(String::as_str));
    let hint = closest(backend, known).unwrap_or_else(|| plugins::built_in(builtins));
    context.problems.invalid(entry.value.at, format!("{path}.backend"), message, Some(hint));
}

/// A `plugin` that is a name: it must be one in `plugins:`.
fn reference_to(name: &str, at: Position, declared: &Names<'_>, path: &str, context: &mut Context<'_>) {
    if declared.contains(name) {
        return;
    }
    let builtin = context.registry.builtins().iter().any(|known| known == name);
    let hint = declared.closest(name).or_else(|| {
        builtin.then(|| format!("for the builtin, leave `plugin` out and write `backend: {name}`"))
    });
    let message = format!("there is no plugin `{}` in `plugins:`", shorten(&redact::key(name)));
    context.problems.invalid(at, format!("{path}.plugin"), message, hint);
}
