//! Forward routes: somewhere to go, and nothing that only operations have.

use std::path::Path;

use super::{Context, path_problem};
use crate::{
    problem::{Position, closest, shorten},
    redact,
    route::TargetAddress,
    tree::{Node, NodeValue},
    validate::{plugins, socket},
};

/// What only a forward route has.
const KEYS: [&str; 4] = ["plugin", "targets", "prefix_rewrite", "access"];

pub(super) fn check(route: &Node, document: &Node, path: &str, context: &mut Context<'_>) {
    let forward = route.get("forward").is_some_and(|node| matches!(node.value, NodeValue::Bool(true)));
    if !forward {
        for entry in KEYS.iter().filter_map(|key| route.entry(key)) {
            let message = format!("`{}` has a meaning only with `forward: true`", entry.key);
            let hint = match entry.key.as_str() {
                "access" => "write it in the namespace",
                _ => "add `forward: true`, or remove it",
            };
            let hint = Some(hint.to_owned());
            context.problems.invalid(entry.at, format!("{path}.{}", entry.key), message, hint);
        }
        return;
    }
    if let Some(entry) = route.entry("namespace") {
        let message = "a forward route has no namespace: its requests are no operations";
        let hint = Some("remove `namespace`, or `forward`".to_owned());
        context.problems.invalid(entry.at, format!("{path}.namespace"), message, hint);
    }
    match (route.entry("plugin"), route.entry("targets")) {
        (Some(_), Some(entry)) => {
            let message = "`plugin` and `targets` exclude each other";
            context.problems.invalid(entry.at, format!("{path}.targets"), message, Some("keep one".into()));
        }
        (None, None) => {
            let hint = Some("add `targets: [{ address: HOST:PORT }]`, or `plugin: NAME`".to_owned());
            context.problems.invalid(route.at, path, "a forward route needs somewhere to go", hint);
        }
        (Some(entry), None) => {
            if let Some(name) = entry.value.as_str() {
                plugin(name, entry.value.at, document, &format!("{path}.plugin"), context);
            }
        }
        (None, Some(entry)) => {
            targets(&entry.value, &format!("{path}.targets"), context);
            speaks_grpc(route, &entry.value, path, context);
        }
    }
    rewrite(route, path, context);
}

/// The plugin has to be there, in a process of its own.
fn plugin(name: &str, at: Position, document: &Node, path: &str, context: &mut Context<'_>) {
    let named = document.list("plugins").iter().filter_map(|plugin| Some((plugin.text("name")?, plugin)));
    let inline = document.list("namespaces").iter().filter_map(|namespace| {
        let plugin = namespace.get("plugin").filter(|node| matches!(node.value, NodeValue::Map(_)))?;
        Some((plugin.text("name").or(namespace.text("name"))?, plugin))
    });
    let known: Vec<(&str, &Node)> = named.chain(inline).collect();
    let Some((_, plugin)) = known.iter().find(|(known, _)| *known == name) else {
        let hint = closest(name, known.iter().map(|(known, _)| *known));
        let message = format!("there is no plugin `{}`", shorten(&redact::key(name)));
        return context.problems.invalid(at, path, message, hint);
    };
    if let Some(kind @ ("builtin" | "in_process")) = plugin.text("type") {
        let message = format!("plugin `{name}` is of type `{kind}`: there is no process to forward to");
        let hint = Some("forward to a `sidecar` or `remote` plugin, or to `targets`".to_owned());
        context.problems.invalid(at, path, message, hint);
    }
}

fn targets(list: &Node, path: &str, context: &mut Context<'_>) {
    let NodeValue::List(targets) = &list.value else { return };
    let weight = |target: &Node| match target.get("weight").map(|node| &node.value) {
        None => Some(1),
        Some(NodeValue::Int(weight)) => u64::try_from(*weight).ok(),
        Some(_) => None,
    };
    let message = match targets.as_slice() {
        [] => Some("`targets` is empty"),
        targets if targets.iter().all(|target| weight(target) == Some(0)) => {
            Some("every target has the weight 0, so no request could go anywhere")
        }
        _ => None,
    };
    if let Some(message) = message {
        let hint = Some("add a target with a weight".to_owned());
        context.problems.invalid(list.at, path, message, hint);
    }
    let mut seen: Vec<TargetAddress> = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let Some(node) = target.get("address") else { continue };
        let Some(Ok(address)) = node.as_str().map(str::parse::<TargetAddress>) else { continue };
        if seen.contains(&address) {
            let message = format!("`{address}` is there twice");
            let hint = Some("give it one weight".to_owned());
            context.problems.invalid(node.at, format!("{path}.address"), message, hint);
        }
        if let TargetAddress::Unix(at) = &address {
            socket(Path::new(at), node.at, &format!("{path}.address"), context);
        }
        let tls = target.entry("tls");
        if let Some(fault) = address.tls_fault(tls.is_some(), "a target") {
            let (at, path) =
                tls.map_or_else(|| (target.at, path.clone()), |entry| (entry.at, format!("{path}.tls")));
            context.problems.invalid(at, path, fault.message, Some(fault.hint));
        } else if tls.is_some() {
            plugins::tls(target, "target", &path, context);
        }
        seen.push(address);
    }
}

/// gRPC is spoken over HTTP/2: of a route for gRPC some target has to.
fn speaks_grpc(route: &Node, targets: &Node, path: &str, context: &mut Context<'_>) {
    let NodeValue::List(targets) = &targets.value else { return };
    let is_grpc = route.get("match").is_some_and(|matcher| matcher.entry("grpc").is_some());
    let first = targets.first().and_then(|target| target.get("protocol"));
    if let Some(node) = first
        && is_grpc
        && targets.iter().all(|target| target.text("protocol") == Some("http1"))
    {
        let message = "gRPC is spoken over HTTP/2, and no target speaks it: every call would be refused";
        let hint = Some("remove `protocol: http1`, or match the path and not `grpc`".to_owned());
        context.problems.invalid(node.at, format!("{path}.targets[0].protocol"), message, hint);
    }
}

fn rewrite(route: &Node, path: &str, context: &mut Context<'_>) {
    let Some(node) = route.get("prefix_rewrite") else { return };
    let Some(text) = node.as_str() else { return };
    let matched = |key| route.get("match").and_then(|matcher| matcher.text(key));
    let mut refuse = |message: &str, hint: Option<String>| {
        context.problems.invalid(node.at, format!("{path}.prefix_rewrite"), message, hint);
    };
    if matched("path").or(matched("path_prefix")).is_none() {
        let message = "`prefix_rewrite` replaces what `path_prefix` or `path` matched, and there is neither";
        return refuse(message, Some("add one of them".into()));
    }
    if let Some(problem) = path_problem(text) {
        let hint = "to drop a prefix, end `path_prefix` with `/` and write `prefix_rewrite: /`";
        return refuse(problem, text.is_empty().then(|| hint.into()));
    }
    if text.starts_with("/prism.plugin.") {
        return refuse("the plugin protocol is not forwarded: only the proxy may speak it", None);
    }
    // `/api` as `/` makes `//v2` of `/api/v2`, which no service is sent, and `/api/` as `/v2` makes `/v2x` of `/api/x`.
    if let Some(prefix) = matched("path_prefix")
        && prefix.ends_with('/') != text.ends_with('/')
    {
        let ended = |text: &str| format!("{}/", text.trim_end_matches('/'));
        let (prefix, text) = (ended(prefix), ended(text));
        let hint = format!("write `path_prefix: {prefix}` and `prefix_rewrite: {text}`");
        refuse("one of `path_prefix` and `prefix_rewrite` ends with `/` and the other does not", Some(hint));
    }
}
