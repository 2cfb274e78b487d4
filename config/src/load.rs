//! From a text to a [`Config`]: read, walk, validate, resolve.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fmt, path::PathBuf};

use crate::{
    Config,
    access::AccessRules,
    document::Document,
    problem::{Collector, Position, ProblemKind, Problems},
    registry::Registry,
    secrets::Secrets,
    tree::{self, Node, NodeValue},
    validate, walk,
};

/// A configuration's text and where it came from. Printed without the text, which may hold secrets.
#[derive(Clone)]
pub struct Source {
    /// Its name in problems: a file's path, or `admin`.
    pub name: String,
    /// The YAML text.
    pub text: String,
    /// The folder that relative paths in it are relative to.
    pub base_dir: PathBuf,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, text: _, base_dir } = self;
        f.debug_struct("Source").field("name", name).field("base_dir", base_dir).finish_non_exhaustive()
    }
}

/// Reads, checks and resolves a configuration. Touches nothing outside: no file, no socket.
///
/// # Errors
/// Every problem that can be found at once, sorted by line. A text that is not YAML has only those that were
/// met up to where it stops being YAML.
pub fn parse(source: &Source, registry: &Registry) -> Result<Config, Problems> {
    let mut problems = Collector::default();
    if let Some((document, referable)) = checked(source, registry, &mut problems) {
        let references = validate::check(&document, &referable, registry, &source.base_dir, &mut problems);
        if problems.is_empty() {
            match serde_path_to_error::deserialize::<_, Document>(document.to_json()) {
                Ok(read) => {
                    let mut config = read.resolve(&source.base_dir);
                    number_filters(&mut config, &document);
                    number_rules(&mut config, &document);
                    config.found = Secrets::named(references);
                    return Ok(config);
                }
                Err(error) => {
                    let path = error.path().to_string();
                    problems.push(ProblemKind::Schema, document.at, path, GAP, None);
                }
            }
        }
    }
    Err(problems.finish(&source.name))
}

/// Checks a configuration against the schema alone: no names, orders or ties, and what is not built yet
/// is fine.
///
/// # Errors
/// Every problem that the reader or the schema finds.
pub fn check_schema_only(source: &Source, registry: &Registry) -> Result<(), Problems> {
    let mut problems = Collector::default();
    checked(source, registry, &mut problems);
    problems.retain(|problem| problem.kind != ProblemKind::NotBuilt);
    if problems.weight() == 0 { Ok(()) } else { Err(problems.finish(&source.name)) }
}

/// Reads a document of another kind than a configuration, such as a file of keys, with the same bounds, the same care, and
/// problems that name their line. Its schema says what is a secret, as that of a configuration does.
///
/// # Errors
/// Every problem that the reader or the schema finds.
pub fn read_as<T: DeserializeOwned + JsonSchema>(source: &Source) -> Result<T, Problems> {
    let mut problems = Collector::default();
    let schema = schemars::schema_for!(T).to_value();
    if let Some(document) = tree::read(&source.text, &mut problems) {
        walk::check(&document, &schema, &mut problems);
        if problems.is_empty() {
            match serde_path_to_error::deserialize::<_, T>(document.to_json()) {
                Ok(read) => return Ok(read),
                Err(error) => {
                    let path = error.path().to_string();
                    problems.push(ProblemKind::Schema, document.at, path, GAP, None);
                }
            }
        }
    }
    Err(problems.finish(&source.name))
}

/// The schema is made from the types, so this is a gap between the two. It is told rather than hidden, without the value,
/// which could be a secret.
const GAP: &str = "the value does not fit, and the schema does not say why";

/// The document, and where in it references to secrets may stand.
fn checked(
    source: &Source,
    registry: &Registry,
    problems: &mut Collector,
) -> Option<(Node, BTreeSet<Position>)> {
    let document = tree::read(&source.text, problems)?;
    let referable = walk::check(&document, registry.json_schema(), problems);
    Some((document, referable))
}

/// Tells every filter which line it stands on. The listeners and filters are those of the document, in
/// its order.
fn number_filters(config: &mut Config, document: &Node) {
    for (listener, node) in config.listeners.iter_mut().zip(document.list("listeners")) {
        for (filter, node) in listener.filters.iter_mut().zip(node.list("filters")) {
            filter.line = match &node.value {
                NodeValue::Map(entries) => entries.first().map_or(node.at, |entry| entry.at).line,
                _ => node.at.line,
            };
        }
    }
}

/// Tells every access rule which line it stands on; namespaces and routes are those of the document as well.
fn number_rules(config: &mut Config, document: &Node) {
    let number = |rules: &mut AccessRules, owner: &Node| {
        rules.number(owner.list("access").iter().map(|rule| rule.at.line));
    };
    for (namespace, node) in config.namespaces.iter_mut().zip(document.list("namespaces")) {
        number(&mut namespace.access, node);
    }
    for (listener, node) in config.listeners.iter_mut().zip(document.list("listeners")) {
        for (route, node) in listener.routes.iter_mut().zip(node.list("routes")) {
            number(&mut route.access, node);
        }
    }
}
