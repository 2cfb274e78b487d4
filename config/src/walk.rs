//! The walker: checks a document against its schema and collects every problem.
//!
//! It understands the part of JSON Schema that our types and filters use: `$ref`, `type`, `const`,
//! `enum`, `anyOf`, `oneOf`, `allOf`, object, array, number and string bounds, and our own formats and
//! keywords. Keywords it does not know say nothing here (`pattern` is for editors; where it matters, a
//! format says the same).

mod branch;
mod format;
mod words;

use std::{borrow::Cow, cell::RefCell, collections::BTreeSet};

use serde_json::{Map, Value};

use crate::{
    problem::{Collector, Position, ProblemKind, closest, shorten},
    redact::{self, is_secret_key},
    schema::{NOT_BUILT, NOUN, REFERABLE, SECRET},
    tree::{Node, NodeValue, join},
};

/// Checks the whole document, and answers where references to secrets may stand: there, and in all that is below.
pub(crate) fn check(document: &Node, schema: &Value, problems: &mut Collector) -> BTreeSet<Position> {
    let place = Place { path: "", at: document.at, secret: false };
    let referable = RefCell::default();
    Walker { root: schema, problems, referable: &referable }.node(document, schema, place);
    referable.into_inner()
}

/// Where the walker is.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    /// The place to blame for the value.
    at: Position,
    /// The value may be a secret: do not quote it.
    secret: bool,
}

struct Walker<'a> {
    root: &'a Value,
    problems: &'a mut Collector,
    referable: &'a RefCell<BTreeSet<Position>>,
}

/// A schema's keywords, with those of what it refers to.
type Keywords<'a> = Cow<'a, Map<String, Value>>;

impl<'a> Walker<'a> {
    fn report(&mut self, place: Place<'_>, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(ProblemKind::Schema, place.at, place.path, message, hint);
    }

    /// The keywords of a schema. `None` for `true` and for what cannot be read: both allow everything.
    fn keywords(&self, schema: &'a Value) -> Option<Keywords<'a>> {
        let keywords = schema.as_object()?;
        let Some(target) = keywords.get("$ref").and_then(Value::as_str) else {
            return Some(Cow::Borrowed(keywords));
        };
        let target = self.root.pointer(target.strip_prefix('#')?)?;
        let target = self.keywords(target)?;
        let beside = || keywords.iter().filter(|(key, _)| *key != "$ref" && *key != "description");
        if beside().all(|(key, _)| key == "default") {
            return Some(target);
        }
        let mut merged = target.into_owned();
        merged.extend(beside().map(|(key, value)| (key.clone(), value.clone())));
        Some(Cow::Owned(merged))
    }

    fn node(&mut self, node: &Node, schema: &'a Value, place: Place<'_>) {
        if node.value == NodeValue::Refused {
            return;
        }
        if *schema == Value::Bool(false) {
            return self.report(place, "nothing is allowed here", None);
        }
        match self.keywords(schema) {
            Some(Cow::Borrowed(keywords)) => self.keyed(node, keywords, place),
            Some(Cow::Owned(merged)) => {
                // Merged keywords live as long as this call; what they hold is walked by a walker of
                // that lifetime.
                Walker { root: self.root, problems: self.problems, referable: self.referable }
                    .keyed(node, &merged, place);
            }
            None => {}
        }
    }

    fn keyed(&mut self, node: &Node, schema: &'a Map<String, Value>, place: Place<'_>) {
        let says = |keyword| schema.get(keyword) == Some(&Value::Bool(true));
        let place = Place { secret: place.secret || says(SECRET), ..place };
        if says(SECRET) || says(REFERABLE) {
            self.referable.borrow_mut().insert(node.at);
        }
        if let Some(message) = schema.get(NOT_BUILT).and_then(Value::as_str) {
            self.problems.push(ProblemKind::NotBuilt, place.at, place.path, message, None);
        }
        if !words::fits(node, schema) {
            let expected = words::expected(schema);
            let secret = place.secret || words::is_collection(&expected);
            let message = format!("expected {expected}, found {}", words::found(node, secret));
            return self.report(place, message, words::form(node, schema));
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str) {
            match format::check(format, node) {
                Ok(Some(number)) => return self.number(number, schema, place, Some(format)),
                Ok(None) => {}
                Err((message, hint)) => {
                    let quoted = words::found(node, place.secret);
                    return self.report(place, format!("{message}, found {quoted}"), hint);
                }
            }
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            for part in all {
                self.node(node, part, place);
            }
        }
        self.constant(node, schema, place);
        for keyword in ["anyOf", "oneOf"] {
            if let Some(branches) = schema.get(keyword).and_then(Value::as_array) {
                self.branches(node, branches, schema, place);
            }
        }
        match &node.value {
            NodeValue::Map(_) => self.object(node, schema, place),
            NodeValue::List(items) => self.array(items, schema, place),
            NodeValue::Int(value) => self.number(*value as f64, schema, place, None),
            NodeValue::Uint(value) => self.number(*value as f64, schema, place, None),
            NodeValue::Float(value) => self.number(*value, schema, place, None),
            NodeValue::String(text) => self.string(text, schema, place),
            NodeValue::Refused | NodeValue::Null | NodeValue::Bool(_) => {}
        }
    }

    fn constant(&mut self, node: &Node, schema: &Map<String, Value>, place: Place<'_>) {
        let allowed = match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
            (Some(value), _) => std::slice::from_ref(value),
            (None, Some(values)) => values,
            (None, None) => return,
        };
        if !allowed.contains(&node.to_json()) {
            let noun = schema.get(NOUN).and_then(Value::as_str);
            self.not_among(node, &allowed.iter().collect::<Vec<_>>(), noun, place);
        }
    }

    /// Reports a value that is none of the allowed ones.
    fn not_among(&mut self, node: &Node, allowed: &[&Value], noun: Option<&str>, place: Place<'_>) {
        let names: Vec<&str> = allowed.iter().filter_map(|value| value.as_str()).collect();
        let hint = node.as_str().and_then(|written| closest(written, names.iter().copied()));
        let found = words::found(node, place.secret);
        let list = allowed.iter().map(|value| words::quoted(value)).collect::<Vec<_>>().join(", ");
        match (noun, node.as_str()) {
            (Some(noun), Some(written)) => {
                let hint = hint.unwrap_or_else(|| format!("known: {list}"));
                let written = shorten(&redact::key(written));
                self.report(place, format!("unknown {noun} `{written}`"), Some(hint));
            }
            _ if allowed.len() == 1 => self.report(place, format!("expected {list}, found {found}"), hint),
            _ => self.report(place, format!("expected one of {list}, found {found}"), hint),
        }
    }

    fn object(&mut self, node: &Node, schema: &'a Map<String, Value>, place: Place<'_>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties");
        let entries = node.entries();
        for entry in entries {
            let path = join(place.path, &entry.key);
            let secret = place.secret || is_secret_key(&entry.key);
            match (properties.and_then(|known| known.get(&entry.key)), additional) {
                (Some(_), _) if words::is_a_files_content(&entry.value) => {
                    let place = Place { path: &path, at: entry.value_at(), secret: true };
                    let message = "expected one line, found several: what a file holds, it seems".to_owned();
                    self.report(
                        place,
                        message,
                        Some("put it into a file, and write that file's path".to_owned()),
                    );
                }
                (Some(schema), _) => {
                    self.node(&entry.value, schema, Place { path: &path, at: entry.value_at(), secret });
                }
                (None, Some(Value::Bool(false))) => {
                    let noun = schema.get(NOUN).and_then(Value::as_str).unwrap_or("key");
                    let known: Vec<&str> =
                        properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                    let hint = closest(&entry.key, known.iter().copied()).or_else(|| {
                        (!known.is_empty() && known.len() <= 16)
                            .then(|| format!("known: {}", words::list(&known)))
                    });
                    let message = format!("unknown {noun} `{}`", shorten(&redact::key(&entry.key)));
                    self.report(Place { path: &path, at: entry.at, secret }, message, hint);
                }
                (None, Some(schema)) => {
                    self.node(&entry.value, schema, Place { path: &path, at: entry.value_at(), secret });
                }
                (None, None) => {}
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if let Some(key) = key.as_str().filter(|key| node.entry(key).is_none()) {
                self.report(place, format!("the key `{key}` is missing"), None);
            }
        }
        let noun = schema.get(NOUN).and_then(Value::as_str).unwrap_or("key");
        self.count(entries.len(), schema, ("minProperties", "maxProperties"), noun, place);
    }

    fn array(&mut self, items: &[Node], schema: &'a Map<String, Value>, place: Place<'_>) {
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{}[{index}]", place.path);
                self.node(item, schema, Place { path: &path, at: item.at, secret: place.secret });
            }
        }
        self.count(items.len(), schema, ("minItems", "maxItems"), "item", place);
    }

    fn string(&mut self, text: &str, schema: &Map<String, Value>, place: Place<'_>) {
        self.count(text.chars().count(), schema, ("minLength", "maxLength"), "character", place);
    }

    fn count(
        &mut self,
        count: usize,
        schema: &Map<String, Value>,
        (least, most): (&str, &str),
        noun: &str,
        place: Place<'_>,
    ) {
        let bound = |key| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let (least, most) = (bound(least).unwrap_or(0), bound(most).unwrap_or(usize::MAX));
        if (least..=most).contains(&count) {
            return;
        }
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let message = match (count < least, least == most) {
            (_, true) => format!("expected exactly {least} {noun}{}, found {count}", plural(least)),
            (true, _) => format!("expected at least {least} {noun}{}, found {count}", plural(least)),
            (false, _) => format!("expected at most {most} {noun}{}, found {count}", plural(most)),
        };
        self.report(place, message, None);
    }

    fn number(&mut self, value: f64, schema: &Map<String, Value>, place: Place<'_>, format: Option<&str>) {
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let show = |value| format::show(format, value);
        let at_least =
            bound("minimum").filter(|bound| value < *bound).map(|b| format!("at least {}", show(b)));
        let above =
            bound("exclusiveMinimum").filter(|b| value <= *b).map(|b| format!("more than {}", show(b)));
        let at_most = bound("maximum").filter(|bound| value > *bound).map(|b| format!("at most {}", show(b)));
        let below =
            bound("exclusiveMaximum").filter(|b| value >= *b).map(|b| format!("less than {}", show(b)));
        if let Some(bound) = at_least.or(above).or(at_most).or(below) {
            let found = if place.secret { String::new() } else { format!(", found {}", show(value)) };
            self.report(place, format!("expected {bound}{found}"), None);
        }
    }
}
