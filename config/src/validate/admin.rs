//! The admin interface: where it is, and whether what should protect it does.

use std::{collections::HashMap, net::SocketAddr, path::Path};

use super::{Context, Names, socket};
use crate::{
    access::Pattern,
    admin::{Admin, AdminHost, TokenDigest},
    client_auth::ClientAuth,
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
    clients(admin, context);
    hosts(admin, context);
}

fn tokens(admin: &Node, context: &mut Context<'_>) {
    let Some(entry) = admin.entry("tokens") else {
        let open = |value: &NodeValue| *value == NodeValue::Bool(true);
        if admin.entry("clients").is_none()
            && let Some(entry) = admin.entry("open_metrics").filter(|entry| open(&entry.value.value))
        {
            let message = "`open_metrics` does nothing without `tokens` or `clients`: everybody may read";
            let hint = Some("remove it, or add one of them".into());
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

/// Whom certificates name, and whether they are asked for.
fn clients(admin: &Node, context: &mut Context<'_>) {
    let entry = admin.entry("clients");
    let tls = admin.get("tls");
    let client_ca = tls.and_then(|tls| tls.entry("client_ca"));
    if let Some(entry) = entry.filter(|_| client_ca.is_none()) {
        let message = "nobody is asked for a certificate here, so nobody could be known by one";
        let hint = "add `tls: { cert: …, key: …, client_ca: … }` beside them";
        context.problems.invalid(entry.at, "admin.clients", message, Some(hint.into()));
    }
    if let Some(tls) = tls {
        let said = match tls.text("client_auth") {
            Some("required") => Some(ClientAuth::Required),
            Some("optional") => Some(ClientAuth::Optional),
            Some("none") => Some(ClientAuth::None),
            _ => None,
        };
        match ClientAuth::meant(said, client_ca.is_some(), tls.entry("crls").is_some()) {
            Err(error) => {
                let at = tls.entry(error.key()).map_or(tls.at, |entry| entry.at);
                context.problems.invalid(at, format!("admin.tls.{}", error.key()), error.to_string(), None);
            }
            Ok(ClientAuth::Optional) if entry.is_none() => {
                let at = client_ca.map_or(tls.at, |entry| entry.at);
                let message = "nothing goes by a certificate here, and whoever has none may do the same";
                let hint = "add `clients`, or require certificates with `client_auth: required`";
                context.problems.invalid(at, "admin.tls.client_ca", message, Some(hint.into()));
            }
            Ok(_) => {}
        }
    }
    let mut seen: Vec<(Pattern, Position)> = Vec::new();
    for (index, client) in admin.list("clients").iter().enumerate() {
        let Some(node) = client.get("principal") else { continue };
        let Some(text) = node.as_str() else { continue };
        let path = format!("admin.clients[{index}].principal");
        let pattern = match text.parse::<Pattern>() {
            Ok(pattern) => pattern,
            Err(error) => {
                let hint = error.hint().map(str::to_owned);
                context.problems.invalid(node.at, path, error.to_string(), hint);
                continue;
            }
        };
        if !pattern.is_of_certificates() {
            let message = "no certificate names anybody so, so the entry would be about nobody";
            let hint = match text.starts_with("cn:") {
                true => {
                    "common names are not gone by here: write a `spiffe://…` or a `dns:…` that the certificate has"
                }
                false => "write `spiffe://TRUST-DOMAIN/PATH` or `dns:NAME`; tokens have a list of their own",
            };
            context.problems.invalid(node.at, path, message, Some(hint.into()));
        } else if let Some((_, first)) = seen.iter().find(|(other, _)| *other == pattern) {
            let message = format!("`{text}` is there twice; first on line {}", first.line);
            context.problems.invalid(node.at, path, message, Some("keep one of them".into()));
        }
        seen.push((pattern, node.at));
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
