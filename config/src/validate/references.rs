//! References to secrets: where they may stand, and that they are well-formed. They are collected, to be looked up.

use std::collections::BTreeSet;

use crate::{
    problem::{Collector, Position},
    secrets::Reference,
    template::{self, Malformed, Piece},
    tree::{Node, NodeValue, push_key},
};

/// Checks every text. `referable` are the places where a reference may stand, each with all that is below it.
pub(super) fn check(
    document: &Node,
    referable: &BTreeSet<Position>,
    problems: &mut Collector,
) -> Vec<Reference> {
    let mut references = References { referable, problems, found: Vec::new() };
    references.node(document, &mut String::new(), false);
    references.found
}

/// Whether there is a reference in it, or below it.
pub(super) fn has(node: &Node) -> bool {
    match &node.value {
        NodeValue::String(text) => template::refers(text),
        NodeValue::List(items) => items.iter().any(has),
        NodeValue::Map(entries) => entries.iter().any(|entry| has(&entry.value)),
        _ => false,
    }
}

struct References<'a> {
    referable: &'a BTreeSet<Position>,
    problems: &'a mut Collector,
    found: Vec<Reference>,
}

impl References<'_> {
    /// One path serves for all nodes, because every item of a long list would else copy it.
    fn node(&mut self, node: &Node, path: &mut String, referable: bool) {
        let referable = referable || self.referable.contains(&node.at);
        let length = path.len();
        match &node.value {
            NodeValue::String(text) => self.text(text, node.at, path, referable),
            NodeValue::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    self.node(item, path, referable);
                    path.truncate(length);
                }
            }
            NodeValue::Map(entries) => {
                for entry in entries {
                    if template::refers(&entry.key) {
                        let hint = Some("write what the key is called".to_owned());
                        self.problems.invalid(
                            entry.at,
                            path.as_str(),
                            "a reference to a secret cannot be a key",
                            hint,
                        );
                    }
                    push_key(path, &entry.key);
                    self.node(&entry.value, path, referable);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str, at: Position, path: &str, referable: bool) {
        if !text.contains(['{', '}']) {
            return;
        }
        if !referable {
            if template::refers(text) {
                let hint = "references may stand in a namespace's `credentials` and `config`, and in settings that are secret, \
                            such as `client_secret`";
                self.problems.invalid(
                    at,
                    path,
                    "a reference to a secret cannot stand here",
                    Some(hint.to_owned()),
                );
            }
            return;
        }
        match template::pieces(text) {
            Ok(pieces) => {
                let names = pieces.into_iter().filter_map(|piece| match piece {
                    Piece::Secret(name) => Some(name.to_owned()),
                    Piece::Text(_) => None,
                });
                self.found.extend(names.map(|name| Reference { name, path: path.to_owned(), at }));
            }
            Err(malformed) => {
                self.problems.invalid(at, path, malformed.to_string(), Some(Malformed::HINT.to_owned()));
            }
        }
    }
}
