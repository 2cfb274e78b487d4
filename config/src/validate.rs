//! What the schema cannot say: names that must exist, things that must not be twice, orders, ties.
//!
//! It works on the tree, not on the types, so that it can judge what is fine in a document whose other
//! parts are not. It is silent about whatever the schema refuses already.

mod access;
mod admin;
mod certificates;
mod listeners;
mod namespaces;
mod plugins;
mod references;
mod routes;
mod settings;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use crate::{
    document::absolute,
    problem::{Collector, Position, closest},
    redact::is_a_files_content,
    registry::Registry,
    secrets::Reference,
    tree::Node,
};

/// What the checks share.
struct Context<'a> {
    registry: &'a Registry,
    base: &'a Path,
    problems: &'a mut Collector,
}

/// Checks the document and answers the references in it, which may stand in the `referable` places.
pub(crate) fn check(
    document: &Node,
    referable: &BTreeSet<Position>,
    registry: &Registry,
    base: &Path,
    problems: &mut Collector,
) -> Vec<Reference> {
    let mut context = Context { registry, base, problems };
    let plugins = plugins::check(document, &mut context);
    let namespaces = namespaces::check(document, &plugins, &mut context);
    admin::check(document, &namespaces, &mut context);
    listeners::check(document, &namespaces, &mut context);
    references::check(document, referable, context.problems)
}

/// The longest path of a unix socket on Linux: `sun_path` without its closing NUL, see unix(7).
const LONGEST_SOCKET_PATH: usize = 107;

fn socket(path: &Path, at: Position, place: &str, context: &mut Context<'_>) {
    if path.as_os_str().is_empty() {
        return context.problems.invalid(at, place, "the path is empty", None);
    }
    // What is no path at all was refused before, and is not to be quoted here.
    if path.to_str().is_none_or(is_a_files_content) {
        return;
    }
    let path = absolute(context.base, path);
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET_PATH {
        let message = format!(
            "the socket's path is {length} bytes long; a unix socket takes {LONGEST_SOCKET_PATH}: {}",
            path.display()
        );
        context.problems.invalid(at, place, message, Some("choose a shorter absolute path".into()));
    }
}

/// Names of one kind of thing, each with the place that gave it first.
struct Names<'a> {
    noun: &'static str,
    first: HashMap<&'a str, Position>,
}

impl<'a> Names<'a> {
    fn new(noun: &'static str) -> Self {
        Self { noun, first: HashMap::new() }
    }

    /// Takes a name, or reports that it is taken.
    fn declare(&mut self, name: &'a str, at: Position, path: String, problems: &mut Collector) -> bool {
        match self.first.get(name) {
            None => {
                self.first.insert(name, at);
                true
            }
            Some(first) => {
                let message = format!("{} `{name}` is there twice; first on line {}", self.noun, first.line);
                problems.invalid(at, path, message, None);
                false
            }
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.first.contains_key(name)
    }

    /// Reports a name that nobody declared.
    fn require(&self, name: &str, at: Position, path: &str, problems: &mut Collector) {
        if !self.contains(name) {
            let hint = self.closest(name);
            problems.invalid(at, path, format!("there is no {} `{name}`", self.noun), hint);
        }
    }

    fn closest(&self, name: &str) -> Option<String> {
        let mut known: Vec<&str> = self.first.keys().copied().collect();
        known.sort_unstable();
        closest(name, known)
    }
}
