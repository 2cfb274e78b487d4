//! How types and values are named in a problem.

use serde_json::{Map, Value};

use crate::{
    problem::shorten,
    redact,
    schema::Address,
    tree::{Node, NodeValue},
};

/// Whether it is a text, or has one among its items, that no setting is: a key or a certificate in place of its file's path. It
/// is not looked for under that name, since whoever says that there is no such file would say the key.
pub(super) fn is_a_files_content(node: &Node) -> bool {
    match &node.value {
        NodeValue::String(text) => redact::is_a_files_content(text),
        NodeValue::List(items) => items.iter().any(is_a_files_content),
        _ => false,
    }
}

/// Whether the node has a type that the schema names. A schema that names none takes all.
pub(super) fn fits(node: &Node, schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(name)) => is(node, name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(|name| is(node, name)),
        _ => true,
    }
}

fn is(node: &Node, name: &str) -> bool {
    match &node.value {
        NodeValue::Refused => true,
        NodeValue::Null => name == "null",
        NodeValue::Bool(_) => name == "boolean",
        NodeValue::Int(_) | NodeValue::Uint(_) => name == "integer" || name == "number",
        NodeValue::Float(_) => name == "number",
        NodeValue::String(_) => name == "string",
        NodeValue::List(_) => name == "array",
        NodeValue::Map(_) => name == "object",
    }
}

/// The types a schema names, in words. Nothing is not offered: leave the key out instead.
pub(super) fn expected(schema: &Map<String, Value>) -> String {
    match schema.get("type") {
        Some(Value::String(name)) => noun(name).to_owned(),
        Some(Value::Array(names)) => {
            join(names.iter().filter_map(Value::as_str).filter(|name| *name != "null").map(noun))
        }
        _ => "something else".into(),
    }
}

pub(super) fn join<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen.join(" or ")
}

pub(super) fn noun(name: &str) -> &str {
    match name {
        "null" => "nothing",
        "boolean" => "`true` or `false`",
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    }
}

/// What was found, in words, quoting short plain values unless they may be secrets.
pub(super) fn found(node: &Node, secret: bool) -> String {
    let (noun, text) = match &node.value {
        NodeValue::Refused | NodeValue::Null => return "nothing".into(),
        NodeValue::List(_) => return "a list".into(),
        NodeValue::Map(_) => return "a mapping".into(),
        NodeValue::Bool(value) => return format!("`{value}`"),
        NodeValue::Int(value) => ("an integer", value.to_string()),
        NodeValue::Uint(value) => ("an integer", value.to_string()),
        NodeValue::Float(value) => ("a number", value.to_string()),
        NodeValue::String(text) => ("a string", shorten(&redact::text(text))),
    };
    if secret { noun.into() } else { format!("{noun} `{text}`") }
}

/// Whether that may be a mapping, or is a list. What stands in its place is not quoted: whoever writes one text for all of it
/// (`introspection: "proxy:hunter2"`) has the secrets that belong into it there as well.
pub(super) fn is_collection(expected: &str) -> bool {
    expected.contains(noun("object")) || expected == noun("array")
}

/// How to write what was meant by a node of the wrong type, where that can be told. The value is not in it.
pub(super) fn form(node: &Node, schema: &Map<String, Value>) -> Option<String> {
    let text = |key| schema.get(key).and_then(Value::as_str);
    match (&*expected(schema), &node.value) {
        ("a string", NodeValue::Int(port)) if text("format") == Some(Address::FORMAT) => {
            let port = u16::try_from(*port).ok()?;
            Some(format!("an address and a port: `127.0.0.1:{port}`"))
        }
        ("a string", NodeValue::Int(_) | NodeValue::Uint(_) | NodeValue::Float(_) | NodeValue::Bool(_)) => {
            Some("put it in quotes".into())
        }
        ("a list", NodeValue::Map(_)) => Some("begin each item with `-`".into()),
        // What a mapping cannot be without is what was meant, where that is one thing.
        ("a mapping", NodeValue::String(_)) => {
            let [Value::String(key)] = &schema.get("required")?.as_array()?[..] else { return None };
            Some(format!("write `{{ {key}: … }}`"))
        }
        _ => None,
    }
}

/// A value of a schema, for a list of what is allowed.
pub(super) fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
