//! Pieces of schema that several parts of the configuration share.
//!
//! The schema is the one source of what is allowed: editors read it, and the walker checks documents
//! against it. Keywords of our own carry what JSON Schema cannot say.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// On a key or a value that is known but whose enforcement is not built yet: what to say about it.
pub(crate) const NOT_BUILT: &str = "x-prism-not-built";
/// On values that may be secrets: never quoted in a problem.
pub(crate) const SECRET: &str = "x-prism-secret";
/// On values that references to secrets may stand in besides those that are secret themselves.
pub(crate) const REFERABLE: &str = "x-prism-referable";
/// On mappings whose keys are names of something: of what (`filter`).
pub(crate) const NOUN: &str = "x-prism-noun";

/// A name that can stand in a URL, a header and a metric label: 1 to 63 lower-case letters, digits and
/// hyphens, beginning with a letter or a digit.
pub(crate) struct Name;

impl Name {
    pub(crate) const FORMAT: &'static str = "prism-name";

    pub(crate) fn is_valid(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(plain)
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "pattern": "^[a-z0-9]([a-z0-9-]{0,62})$" })
    }
}

/// An IP address with a port.
pub(crate) struct Address;

impl Address {
    pub(crate) const FORMAT: &'static str = "prism-address";
}

impl JsonSchema for Address {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "examples": ["127.0.0.1:50051", "[::1]:50051"] })
    }
}

/// Credentials by name.
pub(crate) struct Secrets;

impl JsonSchema for Secrets {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secrets".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": { "type": "string" }, SECRET: true })
    }
}

/// Adds keys to an object's schema that are known but not built: name, schema and description each.
pub(crate) fn add_not_built(schema: &mut Schema, keys: Value) {
    let Value::Object(keys) = keys else { return };
    let Some(properties) =
        schema.ensure_object().entry("properties").or_insert_with(|| Map::new().into()).as_object_mut()
    else {
        return;
    };
    for (key, mut known) in keys {
        if let Some(known) = known.as_object_mut() {
            known.insert(NOT_BUILT.into(), format!("`{key}` is not built yet").into());
        }
        properties.insert(key, known);
    }
}

/// Adds values to an enumeration that are known but not built: value, and the words for it.
pub(crate) fn add_not_built_values(schema: &mut Schema, values: &[(&str, &str)]) {
    if let Some(branches) = schema.ensure_object().get_mut("oneOf").and_then(Value::as_array_mut) {
        for (value, message) in values {
            branches.push(serde_json::json!({ "type": "string", "const": value, NOT_BUILT: message }));
        }
    }
}
