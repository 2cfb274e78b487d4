//! The document as a tree of nodes with positions, read from YAML with bounds on everything.
//!
//! What is read is YAML 1.2 without its traps: no anchors and aliases (a few lines of them expand
//! into gigabytes), no tags, no key twice, one document, at most [`MAX_DEPTH`] levels and
//! [`MAX_BYTES`] bytes.

mod reader;
mod scalar;

use serde_json::{Map, Value};

use crate::{
    problem::{Collector, Position, ProblemKind},
    redact,
};

/// How many collections may lie in one another. A configuration needs about ten levels; the checks recurse
/// once per level.
pub(crate) const MAX_DEPTH: usize = 64;
/// The largest document. Ten thousand routes are about one megabyte.
pub(crate) const MAX_BYTES: usize = 4 << 20;

/// A value with the place where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: NodeValue,
    pub(crate) at: Position,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeValue {
    /// Refused while reading, with a problem of its own; nothing more is to be said about it.
    Refused,
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Uint(u64),
    Float(f64),
    String(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) at: Position,
    pub(crate) value: Node,
}

impl Entry {
    /// The place to blame for the value: its own, or the key's when nothing is written after it.
    pub(crate) fn value_at(&self) -> Position {
        if matches!(self.value.value, NodeValue::Null) { self.at } else { self.value.at }
    }
}

impl Node {
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            NodeValue::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            NodeValue::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            NodeValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// The string under `key`, if there is one.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::as_str)
    }

    /// The items of the list under `key`; none when there is no such list.
    pub(crate) fn list(&self, key: &str) -> &[Self] {
        self.get(key).map_or(&[], Self::items)
    }

    /// The same value without positions.
    pub(crate) fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Refused | NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => Value::Bool(*value),
            NodeValue::Int(value) => Value::from(*value),
            NodeValue::Uint(value) => Value::from(*value),
            NodeValue::Float(value) => Value::from(*value),
            NodeValue::String(text) => Value::String(text.clone()),
            NodeValue::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            NodeValue::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Reads a document. What is not YAML is `None`; what can be read with problems is a tree that is still
/// worth checking, and the problems are in the collector.
pub(crate) fn read(text: &str, problems: &mut Collector) -> Option<Node> {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let message = format!("the document is {} bytes long; at most {MAX_BYTES} are read", text.len());
        problems.push(ProblemKind::Syntax, start, "", message, None);
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The YAML parser takes a NUL for the end of its input and would ignore the rest.
    if let Some((before, _)) = text.split_once('\0') {
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = "the document contains a NUL character";
        problems.push(ProblemKind::Syntax, Position { line, column }, "", message, None);
        return None;
    }
    // A file of comments only is a document that says nothing: all defaults.
    let root = reader::read(text, problems)?.filter(|root| root.value != NodeValue::Null);
    Some(root.unwrap_or(Node { value: NodeValue::Map(Vec::new()), at: start }))
}

/// The path of a key below `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    let mut joined = path.to_owned();
    push_key(&mut joined, key);
    joined
}

/// Makes `path` the path of a key below it.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match (path.is_empty(), plain) {
        (true, true) => path.push_str(key),
        (false, true) => {
            path.push('.');
            path.push_str(key);
        }
        // A key with dots or blanks in it would read as something else.
        (_, false) => path.push_str(&format!("[{:?}]", redact::key(key))),
    }
}

#[cfg(test)]
mod tests;
