//! The document as a tree of nodes with positions, read from YAML with bounds on everything.
//!
//! What is read is YAML 1.2 without its traps: no anchors and aliases (a few lines of them expand
//! into gigabytes), no tags, no key twice, one document, at most [`MAX_DEPTH`] levels and
//! [`MAX_BYTES`] bytes.

mod convert;

use saphyr::{LoadableYamlNode, MarkedYaml};
use serde_json::{Map, Value};

use crate::problem::{Collector, Position, ProblemKind};

/// The deepest nesting that is read. A configuration needs about ten levels.
pub(crate) const MAX_DEPTH: usize = 64;
/// The largest document. Ten thousand routes are about one megabyte.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// How far from the left a line may begin. The YAML reader recurses once per level of block nesting,
/// and every level but indentless lists needs a further column, so this bounds its stack.
const MAX_INDENT: usize = 160;

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

/// Reads a document. What cannot be read at all is `None`; what can be read with problems is a tree
/// that is still worth checking, and the problems are in the collector.
pub(crate) fn read(text: &str, problems: &mut Collector) -> Option<Node> {
    let start = Position { line: 1, column: 1 };
    let mut refuse = |at, message: String, hint: Option<&str>| {
        problems.push(ProblemKind::Syntax, at, "", message, hint.map(Into::into));
    };
    if text.len() > MAX_BYTES {
        refuse(
            start,
            format!("the document is {} bytes long; at most {MAX_BYTES} are read", text.len()),
            None,
        );
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The YAML reader takes a NUL for the end of its input and would ignore the rest.
    if let Some(offset) = text.find('\0') {
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        refuse(Position { line, column }, "the document contains a NUL character".into(), None);
        return None;
    }
    if let Some(line) = overindented(text) {
        let message = format!("the line begins more than {MAX_INDENT} columns from the left");
        refuse(Position { line, column: 1 }, message, None);
        return None;
    }
    match MarkedYaml::load_from_iter(text.chars()) {
        Err(error) => {
            let at = convert::position(*error.marker());
            let line = text.lines().nth(at.line - 1).unwrap_or_default();
            let tab = indented_with_tab(line) && error.info().contains("tab");
            let hint = tab.then_some("YAML is indented with spaces, never with tabs");
            refuse(at, explain(error.info(), line), hint);
            None
        }
        Ok(documents) => {
            if let Some(second) = documents.get(1) {
                let at = convert::position(second.span.start);
                refuse(at, "a second document begins here; only one is read".into(), None);
            }
            let empty = Node { value: NodeValue::Map(Vec::new()), at: start };
            let Some(first) = documents.first() else { return Some(empty) };
            let root = convert::Converter::new(text, problems).convert(first);
            // A file of comments only is a document that says nothing: all defaults.
            Some(if root.value == NodeValue::Null { empty } else { root })
        }
    }
}

/// The reader's message, with the key's name where it leaves that out.
fn explain(info: &str, line: &str) -> String {
    if info != "duplicated key in mapping" {
        return info.to_owned();
    }
    let key = line.trim_start_matches([' ', '-', '{', ',']).split(':').next().unwrap_or_default();
    format!("the key `{key}` is there twice")
}

fn indented_with_tab(line: &str) -> bool {
    line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t')
}

/// The first line that begins too far to the right, counting nested indicators (`- - - x`) as
/// indentation. Blank lines and comments begin nothing.
fn overindented(text: &str) -> Option<usize> {
    text.split('\n')
        .position(|line| {
            // A lone carriage return is a line break in YAML, too.
            line.split('\r').any(|line| {
                let rest = line.trim_start_matches([' ', '\t', '-', '?', ':']);
                let lead = &line[..line.len() - rest.len()];
                let harmless = (rest.is_empty() || rest.starts_with('#')) && lead.trim().is_empty();
                lead.len() > MAX_INDENT && !harmless
            })
        })
        .map(|index| index + 1)
}

/// The path of a key below `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        // A key with dots or blanks in it would read as something else.
        (_, false) => format!("{path}[{key:?}]"),
    }
}

#[cfg(test)]
mod tests;
