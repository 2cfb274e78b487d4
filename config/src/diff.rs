//! What changed between two configurations, for people.

use std::fmt;

use serde::Serialize;

use crate::{Config, listener::Listener};

/// What happened to a part of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is different.
    Changed,
    /// It is gone.
    Removed,
}

/// One change. Displayed as `changed filter trace of listener edge`; contains no values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To what.
    pub part: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChangeKind::Added => "added",
            ChangeKind::Changed => "changed",
            ChangeKind::Removed => "removed",
        };
        write!(f, "{kind} {}", self.part)
    }
}

/// What leads from the old configuration to the new one. Empty exactly when they are equal, or differ only
/// in the order of listeners, routes, plugins or namespaces, which has no meaning.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    whole("admin", &old.admin, &new.admin, &mut changes);
    whole("workers", &old.workers, &new.workers, &mut changes);
    whole("window_budget_bytes", &old.window_budget_bytes, &new.window_budget_bytes, &mut changes);
    whole("drain", &old.drain, &new.drain, &mut changes);
    named(&old.listeners, &new.listeners, |it| format!("listener {}", it.name), listener, &mut changes);
    whole("secrets", &old.secrets, &new.secrets, &mut changes);
    // One that nobody named before comes with whoever names it.
    for (name, secret) in new.found.found() {
        if old.found.found().get(name).is_some_and(|old| old != secret) {
            changes.push(Change { kind: ChangeKind::Changed, part: format!("secret {name}") });
        }
    }
    let plugin = |it: &crate::Plugin| format!("plugin {}", it.name);
    named(
        &old.plugins,
        &new.plugins,
        plugin,
        |old, new, changes| {
            whole(&plugin(new), old, new, changes);
        },
        &mut changes,
    );
    let namespace = |it: &crate::Namespace| format!("namespace {}", it.name);
    named(
        &old.namespaces,
        &new.namespaces,
        namespace,
        |old, new, changes| {
            whole(&namespace(new), old, new, changes);
        },
        &mut changes,
    );
    changes
}

fn listener(old: &Listener, new: &Listener, changes: &mut Vec<Change>) {
    let name = &new.name;
    let of = format!("of listener {name}");
    whole(&format!("address {of}"), &old.address, &new.address, changes);
    let filter = |it: &crate::FilterEntry| format!("filter {} {of}", it.name);
    named(
        &old.filters,
        &new.filters,
        filter,
        |old, new, changes| {
            whole(&filter(new), old, new, changes);
        },
        changes,
    );
    let order = |listener: &Listener| -> Vec<String> {
        let names = listener.filters.iter().map(|filter| filter.name.clone());
        let both = |name: &String| {
            let has = |it: &Listener| it.filters.iter().any(|filter| filter.name == *name);
            has(old) && has(new)
        };
        names.filter(both).collect()
    };
    whole(&format!("order of filters {of}"), &order(old), &order(new), changes);
    let route = |it: &crate::Route| format!("route ({}) {of}", it.matcher);
    named(
        &old.routes,
        &new.routes,
        route,
        |old, new, changes| {
            whole(&route(new), old, new, changes);
        },
        changes,
    );
    whole(&format!("http2 {of}"), &old.http2, &new.http2, changes);
    whole(&format!("http1 {of}"), &old.http1, &new.http1, changes);
    whole(&format!("limits {of}"), &old.limits, &new.limits, changes);
}

fn whole<T: PartialEq>(part: &str, old: &T, new: &T, changes: &mut Vec<Change>) {
    if old != new {
        changes.push(Change { kind: ChangeKind::Changed, part: part.to_owned() });
    }
}

fn named<T>(
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
    both: impl Fn(&T, &T, &mut Vec<Change>),
    changes: &mut Vec<Change>,
) {
    let index = |items| -> std::collections::BTreeMap<String, &T> {
        let items: &[T] = items;
        items.iter().map(|item| (name(item), item)).collect()
    };
    let (old, new) = (index(old), index(new));
    for (part, old) in &old {
        match new.get(part) {
            Some(new) => both(old, new, changes),
            None => changes.push(Change { kind: ChangeKind::Removed, part: part.clone() }),
        }
    }
    for part in new.keys().filter(|part| !old.contains_key(*part)) {
        changes.push(Change { kind: ChangeKind::Added, part: part.clone() });
    }
}
