//! From the YAML reader's nodes to ours, refusing what a configuration must not contain.
//!
//! The reader resolves aliases and drops anchors and most tags before anybody sees them. They are
//! found by their text instead: every character of the document belongs to a scalar or lies in a gap
//! between two, and outside of comments a gap holds nothing but YAML's own signs.

use saphyr::{MarkedYaml, Marker, Scalar, YamlData};

use super::{Entry, MAX_DEPTH, Node, NodeValue, join};
use crate::problem::{Collector, Position, ProblemKind};

/// The place of a reader's mark, counted from 1.
pub(super) fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

/// Turns the reader's nodes into ours and reports what is not allowed in them.
pub(super) struct Converter<'a> {
    text: &'a str,
    /// The byte at which each character begins, for text beyond ASCII: the reader counts characters.
    offsets: Option<Vec<usize>>,
    /// Up to which byte the text is accounted for.
    cursor: usize,
    problems: &'a mut Collector,
}

impl<'a> Converter<'a> {
    pub(super) fn new(text: &'a str, problems: &'a mut Collector) -> Self {
        let offsets = (!text.is_ascii())
            .then(|| text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect());
        Self { text, offsets, cursor: 0, problems }
    }

    pub(super) fn convert(&mut self, root: &MarkedYaml<'_>) -> Node {
        let node = self.node(root, "", 1);
        // What follows a second document's start was reported with that.
        let rest = &self.text[self.cursor..];
        let end = rest.find("\n---").map_or(rest.len(), |offset| offset + 1);
        self.gap(self.cursor + end, "");
        node
    }

    fn refuse(&mut self, at: Position, path: &str, message: impl Into<String>, hint: Option<&str>) {
        self.problems.push(ProblemKind::Syntax, at, path, message, hint.map(Into::into));
    }

    fn node(&mut self, yaml: &MarkedYaml<'_>, path: &str, depth: usize) -> Node {
        let at = position(yaml.span.start);
        let refused = Node { value: NodeValue::Refused, at };
        if depth > MAX_DEPTH {
            self.refuse(at, path, format!("nested more than {MAX_DEPTH} levels deep"), None);
            return refused;
        }
        let (start, end) = (self.byte(yaml.span.start), self.byte(yaml.span.end));
        let written = self.text.get(start..end).unwrap_or_default();
        let block = start >= self.cursor && self.gap(start, path);
        if start >= self.cursor && !block && written.starts_with('*') {
            self.refuse(at, path, "an alias is not allowed", Some("write the value out"));
            self.cursor = end;
            return refused;
        }
        let value = match &yaml.data {
            YamlData::Sequence(items) => {
                let items = items.iter().enumerate();
                NodeValue::List(
                    items
                        .map(|(index, item)| self.node(item, &format!("{path}[{index}]"), depth + 1))
                        .collect(),
                )
            }
            YamlData::Mapping(pairs) => {
                let mut entries = Vec::with_capacity(pairs.len());
                for (key, value) in pairs {
                    entries.extend(self.entry(key, value, path, depth));
                }
                NodeValue::Map(entries)
            }
            // The gap that follows ends in the tag, which is what is reported.
            YamlData::Tagged(_, inner) => return Node { at, ..self.node(inner, path, depth + 1) },
            scalar => {
                if !block && written.starts_with(['&', '!']) {
                    self.signs(start, written.split_whitespace().next().unwrap_or_default(), path);
                }
                self.cursor = self.cursor.max(end);
                match scalar {
                    YamlData::Value(scalar) => self.scalar(scalar, written.trim(), at, path),
                    _ => NodeValue::Refused,
                }
            }
        };
        Node { value, at }
    }

    fn entry(
        &mut self,
        key: &MarkedYaml<'_>,
        value: &MarkedYaml<'_>,
        path: &str,
        depth: usize,
    ) -> Option<Entry> {
        let key = self.node(key, path, depth + 1);
        let at = key.at;
        let name = match key.value {
            NodeValue::String(name) => Some(name),
            NodeValue::Refused => None,
            NodeValue::List(_) | NodeValue::Map(_) => {
                self.refuse(at, path, "a key must be a string", None);
                None
            }
            _ => {
                self.refuse(at, path, "a key must be a string", Some("put it in quotes"));
                None
            }
        };
        let child = name.as_ref().map_or_else(|| path.to_owned(), |name| join(path, name));
        let value = self.node(value, &child, depth + 1);
        name.map(|key| Entry { key, at, value })
    }

    fn scalar(&mut self, scalar: &Scalar<'_>, written: &str, at: Position, path: &str) -> NodeValue {
        match scalar {
            Scalar::Null => NodeValue::Null,
            Scalar::Boolean(value) => NodeValue::Bool(*value),
            Scalar::Integer(value) => NodeValue::Int(*value),
            Scalar::String(text) => NodeValue::String(text.clone().into_owned()),
            Scalar::FloatingPoint(value) => {
                // The reader makes a float of every integer beyond 64 signed bits. Take it by its
                // text: a number must not silently lose digits.
                let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
                if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    if let Ok(value) = written.parse::<u64>() {
                        return NodeValue::Uint(value);
                    }
                    let hint = Some("put it in quotes if it is a text");
                    self.refuse(at, path, "the integer does not fit 64 bits", hint);
                    return NodeValue::Refused;
                }
                if !value.is_finite() {
                    self.refuse(at, path, "the number is not finite", None);
                    return NodeValue::Refused;
                }
                NodeValue::Float(value.into_inner())
            }
        }
    }

    /// Accounts for the text up to byte `end`, which holds no scalar, and reports the anchors, aliases
    /// and tags in it. Answers whether a block scalar (`|` or `>`) begins at its end.
    fn gap(&mut self, end: usize, path: &str) -> bool {
        let start = self.cursor;
        let Some(gap) = self.text.get(start..end) else { return false };
        self.cursor = end;
        let mut block = false;
        let mut offset = start;
        for line in gap.split_inclusive(['\n', '\r']) {
            let code = line.find('#').map_or(line, |hash| &line[..hash]);
            // `%YAML` and `%TAG` are directives; a tag handle alone tags nothing.
            if !(code.starts_with('%') && (offset == 0 || self.text[..offset].ends_with(['\n', '\r']))) {
                let mut word_at = offset;
                for word in code.split_inclusive(char::is_whitespace) {
                    if let Some(index) = word.find(['&', '*', '!']) {
                        self.signs(word_at + index, &word[index..], path);
                    }
                    block |= word.contains(['|', '>']);
                    word_at += word.len();
                }
            }
            offset += line.len();
        }
        block
    }

    fn signs(&mut self, byte: usize, word: &str, path: &str) {
        // Finding the line takes time in proportion to the document.
        if self.problems.is_full() {
            return self.problems.omit();
        }
        let line_start = self.text[..byte].rfind(['\n', '\r']).map_or(0, |index| index + 1);
        let at = Position {
            line: self.text[..byte].matches('\n').count() + 1,
            column: self.text[line_start..byte].chars().count() + 1,
        };
        match word.chars().next() {
            Some('*') => self.refuse(at, path, "an alias is not allowed", Some("write the value out")),
            Some('&') => self.refuse(at, path, "an anchor is not allowed", Some("remove it")),
            _ => self.refuse(at, path, "a tag is not allowed", Some("remove it")),
        }
    }

    /// The byte offset of a mark.
    fn byte(&self, marker: Marker) -> usize {
        match &self.offsets {
            None => marker.index().min(self.text.len()),
            Some(offsets) => offsets.get(marker.index()).copied().unwrap_or(self.text.len()),
        }
    }
}
