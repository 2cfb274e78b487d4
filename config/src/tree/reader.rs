//! From YAML's events to the tree.
//!
//! The parser hands out one event after another and the collections that are open lie on a stack of our
//! own, so that no text, however nested, takes more of the thread's stack than another. What a
//! configuration must not contain is reported where it stands, and reading goes on; only what is not YAML
//! ends it.

use std::{collections::HashMap, ops::ControlFlow};

use saphyr_parser::{Event, Marker, Parser, ScanError};

use super::{Entry, MAX_DEPTH, Node, NodeValue, join, scalar};
use crate::{
    problem::{Collector, Position, ProblemKind, shorten},
    redact,
};

/// Reads the first document. The outer `None` says that the text is not YAML, the inner one that there is
/// no document in it.
pub(super) fn read(text: &str, problems: &mut Collector) -> Option<Option<Node>> {
    let mut reader = Reader { open: Vec::new(), beyond: 0, root: None, problems };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                if reader.event(event, position(span.start)).is_break() {
                    break;
                }
            }
            Err(error) => {
                reader.not_yaml(&error, text);
                return None;
            }
        }
    }
    Some(reader.root)
}

struct Reader<'a> {
    /// The collections whose end has not come yet, outermost first.
    open: Vec<Open>,
    /// How many collections are open below the deepest one that is kept.
    beyond: usize,
    root: Option<Node>,
    problems: &'a mut Collector,
}

struct Open {
    at: Position,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The line of every key that was read.
        lines: HashMap<String, usize>,
        key: Key,
    },
}

/// Where a mapping is between two events.
enum Key {
    /// The next node is a key.
    Awaited,
    /// The next node is the value of this key.
    Read(String, Position),
    /// The next node is the value of a key that was refused.
    Refused,
}

impl Reader<'_> {
    /// Takes an event. Breaks where a second document begins.
    fn event(&mut self, event: Event<'_>, at: Position) -> ControlFlow<()> {
        let begins = matches!(
            event,
            Event::Scalar(..) | Event::Alias(_) | Event::SequenceStart(..) | Event::MappingStart(..)
        );
        if begins && self.open.is_empty() && self.root.is_some() {
            self.refuse(at, "a second document begins here; only one is read", None);
            return ControlFlow::Break(());
        }
        match event {
            Event::SequenceStart(anchor, tag) => {
                self.start(at, anchor > 0, tag.is_some(), Content::List(Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Map { entries: Vec::new(), lines: HashMap::new(), key: Key::Awaited };
                self.start(at, anchor > 0, tag.is_some(), content);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            // What lies in a collection that is too deep was refused with it.
            Event::Scalar(..) | Event::Alias(_) if self.beyond > 0 => {}
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(at, anchor > 0, tag.is_some());
                let value = scalar::resolve(&text, style).unwrap_or_else(|(message, hint)| {
                    self.refuse(at, message, hint);
                    NodeValue::Refused
                });
                self.place(Node { value, at });
            }
            Event::Alias(_) => {
                self.refuse(at, ALIAS.0, Some(ALIAS.1));
                self.place(Node { value: NodeValue::Refused, at });
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        ControlFlow::Continue(())
    }

    /// A collection begins.
    fn start(&mut self, at: Position, anchor: bool, tag: bool, content: Content) {
        if self.beyond > 0 {
            self.beyond += 1;
            return;
        }
        self.properties(at, anchor, tag);
        if self.open.len() == MAX_DEPTH {
            self.refuse(at, format!("nested more than {MAX_DEPTH} levels deep"), None);
            self.place(Node { value: NodeValue::Refused, at });
            self.beyond = 1;
            return;
        }
        self.open.push(Open { at, content });
    }

    /// The innermost collection ends.
    fn end(&mut self) {
        if self.beyond > 0 {
            self.beyond -= 1;
            return;
        }
        // The parser pairs starts and ends, so there is one.
        let Some(Open { at, content }) = self.open.pop() else { return };
        let value = match content {
            Content::List(items) => NodeValue::List(items),
            Content::Map { entries, .. } => NodeValue::Map(entries),
        };
        self.place(Node { value, at });
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key, .. }) => match std::mem::replace(key, Key::Awaited) {
                Key::Awaited => self.key(node),
                Key::Read(key, at) => entries.push(Entry { key, at, value: node }),
                Key::Refused => {}
            },
        }
    }

    /// Takes a node as the innermost mapping's key.
    fn key(&mut self, node: Node) {
        let at = node.at;
        let name = match node.value {
            NodeValue::String(name) => Some(name),
            NodeValue::Refused => None,
            NodeValue::Map(entries) if entries.iter().any(|entry| entry.key.starts_with("secret")) => {
                let hint = Some("put it in quotes: `\"{{ secret:NAME }}\"`");
                self.refuse(at, "a mapping cannot be a key, and a reference to a secret is a text", hint);
                None
            }
            NodeValue::List(_) | NodeValue::Map(_) => {
                self.refuse(at, "a key must be a string", None);
                None
            }
            _ => {
                self.refuse(at, "a key must be a string", Some("put it in quotes"));
                None
            }
        };
        let Some(Content::Map { lines, key, .. }) = self.open.last_mut().map(|open| &mut open.content) else {
            return;
        };
        let Some(name) = name else {
            *key = Key::Refused;
            return;
        };
        let first = lines.get(&name).copied();
        lines.entry(name.clone()).or_insert(at.line);
        *key = Key::Read(name.clone(), at);
        if let Some(line) = first {
            let message =
                format!("the key `{}` is there twice; first on line {line}", shorten(&redact::key(&name)));
            self.refuse(at, message, None);
        }
    }

    /// Reports a node's anchor and tag. They stand before it, so they are where it begins.
    fn properties(&mut self, at: Position, anchor: bool, tag: bool) {
        match (anchor, tag) {
            (true, true) => self.refuse(at, "anchors and tags are not allowed", Some("remove both")),
            (true, false) => self.refuse(at, "an anchor is not allowed", Some("remove it")),
            (false, true) => self.refuse(at, "a tag is not allowed", Some("remove it")),
            (false, false) => {}
        }
    }

    fn not_yaml(&mut self, error: &ScanError, text: &str) {
        let at = position(*error.marker());
        // A name is looked up before the alias is told.
        if error.info().contains("unknown anchor") {
            return self.refuse(at, ALIAS.0, Some(ALIAS.1));
        }
        let line = text.lines().nth(at.line - 1).unwrap_or_default();
        let indented_with_tab = line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
        let hint = (indented_with_tab && error.info().contains("tab"))
            .then_some("YAML is indented with spaces, never with tabs");
        self.problems.push(ProblemKind::Syntax, at, "", error.info(), hint.map(Into::into));
    }

    fn refuse(&mut self, at: Position, message: impl Into<String>, hint: Option<&str>) {
        // Paths can be long, and a hostile document can have a problem every few bytes.
        if self.problems.is_full() {
            return self.problems.omit();
        }
        self.problems.push(ProblemKind::Syntax, at, self.path(), message, hint.map(Into::into));
    }

    /// The path of the node that is being read. A key has its mapping's, until it is one.
    fn path(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match &open.content {
            Content::List(items) => format!("{path}[{}]", items.len()),
            Content::Map { key: Key::Read(key, _), .. } => join(&path, key),
            Content::Map { .. } => path,
        })
    }
}

const ALIAS: (&str, &str) = ("an alias is not allowed", "write the value out");

/// The place of a mark, counted from 1.
fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}
