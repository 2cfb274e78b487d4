//! The admin interface: where it is, and whether what should protect it does.

use std::{collections::HashMap, net::SocketAddr, path::Path};

use super::{Context, Names, socket};
use crate::{
    admin::{Admin, AdminHost, TokenDigest},
    problem::Position,
    tree::{Node, NodeValue},
};

/// The SHA-256 of nothing: what `sha256sum` says of an empty file, when a variable was not set.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) fn check(document: &Node, namespaces: &Names<'_>, context: &mut Context<'_>) {
    let Some(admin) = document.get("admin") else {
        return socket(Path::new("./run/admin.sock"), document.at, "admin.socket", context);
    };
    match admin.get("socket") {
        Some(node) => {
            if let Some(path) = node.as_str() {
                socket(Path::new(path), node.at, "admin.socket", context);
            }
        }
        None => socket(Path::new("./run/admin.sock"), admin.at, "admin.socket", context),
    }
    for (index, name) in admin.list("ready").iter().enumerate() {
        if let Some(written) = name.as_str() {
            namespaces.require(written, name.at, &format!("admin.ready[{index}]"), context.problems);
        }
    }
    tokens(admin, context);
    hosts(admin, context);
}

fn tokens(admin: &Node, context: &mut Context<'_>) {
    let Some(entry) = admin.entry("tokens") else {
        let open = |value: &NodeValue| *value == NodeValue::Bool(true);
        if let Some(entry) = admin.entry("open_metrics").filter(|entry| open(&entry.value.value)) {
            let message = "`open_metrics` does nothing without `tokens`: everybody may read";
            let hint = Some("remove it, or add `tokens`".into());
            context.problems.invalid(entry.at, "admin.open_metrics", message, hint);
        }
        return;
    };
    let address = match admin.get("address") {
        None => Some(Admin::default().address),
        Some(node) => node.as_str().and_then(|text| text.parse::<SocketAddr>().ok()),
    };
    if let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback())
        && admin.entry("tls").is_none()
    {
        let message = format!("tokens would come to {address} in clear, for everybody on the way to read");
        let hint = "add `tls: { cert: …, key: … }` beside them, or use an `address` on loopback";
        context.problems.invalid(entry.at, "admin.tokens", message, Some(hint.into()));
    }
    let mut names = Names::new("token");
    let mut digests: HashMap<TokenDigest, Position> = HashMap::new();
    for (index, token) in entry.value.items().iter().enumerate() {
        let path = format!("admin.tokens[{index}]");
        if let (Some(name), Some(node)) = (token.text("name"), token.get("name")) {
            names.declare(name, node.at, format!("{path}.name"), context.problems);
        }
        let Some(node) = token.get("sha256") else { continue };
        let Some(Ok(digest)) = node.as_str().map(str::parse::<TokenDigest>) else { continue };
        let path = format!("{path}.sha256");
        if OF_NOTHING.parse() == Ok(digest) {
            let message = "this is the SHA-256 of an empty text";
            let hint = Some("`printf %s \"$TOKEN\" | sha256sum`, with a token in it".into());
            context.problems.invalid(node.at, path, message, hint);
        } else if let Some(first) = digests.insert(digest, node.at) {
            let message = format!("two tokens have the same `sha256`; the first on line {}", first.line);
            let hint = Some("a token is one person's or one program's: remove one".into());
            context.problems.invalid(node.at, path, message, hint);
        }
    }
}

fn hosts(admin: &Node, context: &mut Context<'_>) {
    let mut seen: Vec<(AdminHost, Position)> = Vec::new();
    for (index, node) in admin.list("hosts").iter().enumerate() {
        let Some(Ok(host)) = node.as_str().map(str::parse::<AdminHost>) else { continue };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == host) {
            let message = format!("the host `{host}` is there twice; first on line {}", first.line);
            context.problems.invalid(node.at, format!("admin.hosts[{index}]"), message, None);
        }
        seen.push((host, node.at));
    }
}
