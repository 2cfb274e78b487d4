//! Access rules: each is about somebody and says something, and whoever comes by is asked.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::{Context, listeners::Filter};
use crate::{
    access::Pattern,
    problem::{Collector, Position},
    tree::{Entry, Node, NodeValue, join},
};

/// The filter that asks who calls, and the one that asks whether they may.
const AUTH: &str = "auth";
const AUTHZ: &str = "authz";

/// Whose rules they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Namespace,
    Route,
}

/// What makes two rules one.
type Identity = (String, String, Vec<String>, Vec<String>, Vec<String>);

/// Checks the `access` of a namespace or a route.
pub(super) fn rules(owner: &Node, of: Of, path: &str, context: &mut Context<'_>) {
    let mut seen: HashMap<Identity, usize> = HashMap::new();
    for (index, node) in owner.list("access").iter().enumerate() {
        if !matches!(node.value, NodeValue::Map(_)) {
            continue;
        }
        let path = format!("{path}.access[{index}]");
        let mut rule = Rule { node, path: &path, problems: context.problems };
        rule.principal();
        rule.claims();
        match of {
            Of::Namespace => rule.says_something(),
            Of::Route => rule.has_no_operations(),
        }
        if let Some(line) = seen.insert(rule.identity(), node.at.line) {
            let message = format!("the rule is there twice; first on line {line}");
            context.problems.invalid(node.at, path, message, Some("remove one".into()));
        }
    }
}

struct Rule<'a> {
    node: &'a Node,
    path: &'a str,
    problems: &'a mut Collector,
}

impl Rule<'_> {
    fn refuse(&mut self, at: Position, key: &str, message: impl Into<String>, hint: &str) {
        self.problems.invalid(at, format!("{}.{key}", self.path), message, Some(hint.to_owned()));
    }

    fn principal(&mut self) {
        let Some(node) = self.node.get("principal") else { return };
        if let Some(Err(error)) = node.as_str().map(str::parse::<Pattern>) {
            let hint = error.hint().map(str::to_owned);
            self.problems.invalid(node.at, format!("{}.principal", self.path), error.to_string(), hint);
        }
    }

    fn claims(&mut self) {
        let Some(entry) = self.node.entry("claims") else { return };
        let claims = entry.value.entries();
        if claims.is_empty() && matches!(entry.value.value, NodeValue::Map(_)) {
            self.refuse(entry.at, "claims", "there is no condition in it", "add one, or remove `claims`");
        }
        if self.node.text("principal") == Some("anonymous") {
            let message = "who comes without a credential has no claims, so the rule would be about nobody";
            self.refuse(entry.at, "claims", message, "remove `claims`, or name somebody else");
        }
        for claim in claims {
            let place = join("claims", &claim.key);
            if claim.key.split('.').any(str::is_empty) {
                let hint = "such as `groups`, or `realm.roles` for `roles` in `realm`";
                self.refuse(claim.at, &place, "this is no claim's name", hint);
            }
            if matches!(&claim.value.value, NodeValue::List(values) if values.is_empty()) {
                let message = "no value is one of none, so the rule would be about nobody";
                self.refuse(claim.at, &place, message, "list the values that are good");
            }
        }
    }

    fn says_something(&mut self) {
        let permissions = self.names("permissions", self.node.list("permissions"));
        let operations = self.node.get("operations");
        let list = |key: &str| operations.map(|it| it.list(key)).unwrap_or_default();
        let allowed = self.names("operations.allow", list("allow"));
        let denied = self.names("operations.deny", list("deny"));
        for (key, nodes) in [("operations.allow", list("allow")), ("operations.deny", list("deny"))] {
            for (index, node) in nodes.iter().enumerate() {
                let place = format!("{key}[{index}]");
                match node.as_str() {
                    Some("") => self.refuse(node.at, &place, "the name is empty", "name an operation"),
                    Some(name) if name.contains('*') => {
                        let hint = "use `permissions`, or name each operation";
                        self.refuse(node.at, &place, "operations are named here, not matched", hint);
                    }
                    _ => {}
                }
            }
        }
        for name in allowed.intersection(&denied) {
            let message = format!("operation `{name}` is allowed and denied: what is denied stays denied");
            self.refuse(self.node.at, "operations", message, "keep one");
        }
        // What is no list, and a key that is none, are the schema's to refuse.
        let known = ["principal", "claims", "permissions", "operations"];
        let known = self.node.entries().iter().all(|entry| known.contains(&entry.key.as_str()));
        let shaped = |node: Option<&Node>| node.is_none_or(|it| matches!(it.value, NodeValue::List(_)));
        let operations_shaped = operations.is_none_or(|it| {
            matches!(it.value, NodeValue::Map(_)) && shaped(it.get("allow")) && shaped(it.get("deny"))
        });
        let silent = permissions.is_empty() && allowed.is_empty() && denied.is_empty();
        if silent && known && shaped(self.node.get("permissions")) && operations_shaped {
            let message = "the rule permits nothing and denies nothing";
            let hint = "add `permissions: [read]`, or `operations: { allow: [NAME] }`";
            self.problems.invalid(self.node.at, self.path, message, Some(hint.into()));
        }
    }

    /// The names in a list; one that is there twice is a slip of the pen for another.
    fn names<'n>(&mut self, key: &str, nodes: &'n [Node]) -> BTreeSet<&'n str> {
        let mut names = BTreeSet::new();
        for (index, node) in nodes.iter().enumerate() {
            if let Some(name) = node.as_str()
                && !names.insert(name)
            {
                let place = format!("{key}[{index}]");
                self.refuse(node.at, &place, format!("`{name}` is there twice"), "remove one");
            }
        }
        names
    }

    fn has_no_operations(&mut self) {
        for key in ["permissions", "operations"] {
            if let Some(entry) = self.node.entry(key) {
                let message = "a forward route has no operations: whoever a rule is about may use it";
                self.refuse(entry.at, key, message, "remove it");
            }
        }
    }

    fn identity(&self) -> Identity {
        let list = |node: Option<&Node>| {
            let mut names: Vec<String> =
                node.map(Node::items).into_iter().flatten().map(|it| it.to_json().to_string()).collect();
            names.sort();
            names
        };
        let text = |key: &str| self.node.get(key).map_or(Value::Null, Node::to_json).to_string();
        let operations = self.node.get("operations");
        (
            text("principal"),
            text("claims"),
            list(self.node.get("permissions")),
            list(operations.and_then(|it| it.get("allow"))),
            list(operations.and_then(|it| it.get("deny"))),
        )
    }
}

/// What of a document has rules that somebody must ask for.
pub(super) struct Guarded<'a> {
    /// Namespaces with `access`, and where that is written.
    namespaces: Vec<(&'a str, &'a Entry)>,
}

impl<'a> Guarded<'a> {
    pub(super) fn of(document: &'a Node) -> Self {
        let namespaces = document.list("namespaces").iter();
        let guarded = namespaces.filter_map(|it| Some((it.text("name")?, it.entry("access")?)));
        Self { namespaces: guarded.collect() }
    }

    /// Nobody is asked on the listener that is there when none is written.
    pub(super) fn without_listeners(&self, context: &mut Context<'_>) {
        for (name, entry) in &self.namespaces {
            let message = format!(
                "nobody is asked for this: namespace `{name}` is served by the listener that is there by default, which \
                 has no `authz`"
            );
            let hint = Some("write `listeners:` with `auth` and `authz` in their `filters`".to_owned());
            context.problems.invalid(entry.at, "namespaces", message, hint);
        }
    }

    /// Checks that a listener's chain, and what its routes make of it, asks whoever comes.
    pub(super) fn check(
        &self,
        listener: &'a Node,
        chain: &[Filter<'a>],
        path: &str,
        context: &mut Context<'_>,
    ) {
        order(chain, path, context);
        let has = |name: &str| chain.iter().any(|filter| filter.name == name);
        let routes = listener.list("routes");
        let (mut told, filters) = (false, format!("{path}.filters"));
        for (index, route) in routes.iter().enumerate() {
            let path = format!("{path}.routes[{index}]");
            let off = |name: &str| {
                let entry = route.get("filters").and_then(|filters| filters.entry(name));
                entry.filter(|entry| entry.value.value == NodeValue::Bool(false))
            };
            let asks = has(AUTHZ) && off(AUTHZ).is_none();
            if asks
                && has(AUTH)
                && let Some(entry) = off(AUTH)
            {
                let message =
                    "without `auth` nobody is anybody, so `authz` would refuse all requests of this route";
                let hint = Some("leave out `authz` too, or let `auth` take anonymous callers".to_owned());
                context.problems.invalid(entry.at, format!("{path}.filters.auth"), message, hint);
            }
            if asks {
                continue;
            }
            if forwards(route) {
                if let Some(entry) = route.entry("access") {
                    let message = "nobody is asked for this: the route's requests run through no `authz`";
                    context.problems.invalid(entry.at, format!("{path}.access"), message, Some(ADD.into()));
                }
                continue;
            }
            let namespace = route.text("namespace");
            match off(AUTHZ).filter(|_| has(AUTHZ)) {
                Some(entry) => {
                    self.unasked(namespace, entry.at, &format!("{path}.filters.authz"), context);
                }
                // Of the listener's own filters once, however many routes there are.
                None if !told => told = self.unasked(namespace, filters_at(listener), &filters, context),
                None => {}
            }
        }
        if routes.is_empty() && !has(AUTHZ) {
            self.unasked(None, filters_at(listener), &filters, context);
        }
    }

    /// Reports that requests for this namespace, or for whichever they name, run through no `authz`. Answers whether there
    /// is one that it matters to.
    fn unasked(&self, namespace: Option<&str>, at: Position, path: &str, context: &mut Context<'_>) -> bool {
        let mut reached = self.namespaces.iter().filter(|(name, _)| namespace.is_none_or(|it| it == *name));
        let Some((name, entry)) = reached.next() else { return false };
        let others = match reached.count() {
            0 => String::new(),
            more => format!(", as {more} more do"),
        };
        let message = format!(
            "namespace `{name}` has `access` (line {}){others}, and nobody is asked for it who comes this way: there is \
             no `authz`",
            entry.at.line
        );
        context.problems.invalid(at, path, message, Some(ADD.to_owned()));
        true
    }
}

const ADD: &str = "add `- authz` to the listener's `filters`, behind `auth`";

fn filters_at(listener: &Node) -> Position {
    listener.entry("filters").map_or(listener.at, |entry| entry.at)
}

fn forwards(route: &Node) -> bool {
    route.get("forward").is_some_and(|node| node.value == NodeValue::Bool(true))
}

/// `authz` judges what `auth` found out.
fn order(chain: &[Filter<'_>], path: &str, context: &mut Context<'_>) {
    let Some(at) = chain.iter().position(|filter| filter.name == AUTHZ) else { return };
    let place = format!("{path}.filters[{at}]");
    match chain.iter().position(|filter| filter.name == AUTH) {
        Some(auth) if auth < at => {}
        Some(_) => {
            let message = "`authz` must come after `auth`, which finds out who calls";
            context.problems.invalid(chain[at].at, place, message, Some("move it down".into()));
        }
        None => {
            let message =
                "`authz` asks what the caller may do, and there is no `auth` that finds out who calls";
            let hint = Some("add `- auth` before it".to_owned());
            context.problems.invalid(chain[at].at, place, message, hint);
        }
    }
}
