//! Messages as JSON Schema (draft 2020-12), in the form that protobuf's JSON mapping gives them.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Schemas of messages by their full names, and where they are referred to.
pub(super) struct Schemas {
    prefix: &'static str,
    messages: BTreeMap<String, Value>,
}

impl Schemas {
    /// That will stand at `prefix`, `#/schemas/`.
    pub(super) fn at(prefix: &'static str) -> Self {
        Self { prefix, messages: BTreeMap::new() }
    }

    /// A reference to a message's schema, which is made, with all that it refers to, the first time.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(known) = well_known(message.full_name()) {
            return known;
        }
        let name = message.full_name();
        if !self.messages.contains_key(name) {
            // Before its fields: one of them may lead back here.
            self.messages.insert(name.to_owned(), Value::Null);
            let mut properties = Map::new();
            for field in message.fields() {
                properties.insert(field.json_name().to_owned(), self.field(&field));
            }
            let schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
            self.messages.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("{}{name}", self.prefix) })
    }

    /// All that was referred to.
    pub(super) fn all(self) -> Value {
        json!(self.messages)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let value = entry.get_field_by_name("value");
                let value = value.map_or_else(|| json!({}), |value| self.kind(&value.kind()));
                json!({ "type": "object", "additionalProperties": value })
            }
            kind if field.is_list() => json!({ "type": "array", "items": self.kind(&kind) }),
            kind => self.kind(&kind),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "format": "uint32", "minimum": 0 }),
            // Written as text, because a double does not hold them; read as either.
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": ["string", "integer"], "format": "int64" })
            }
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": ["string", "integer"], "format": "uint64" }),
            Kind::Float | Kind::Double => {
                json!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
            }
            Kind::Enum(values) => {
                let names: Vec<_> = values.values().map(|value| value.name().to_owned()).collect();
                json!({ "type": "string", "enum": names })
            }
            Kind::Message(message) => self.message(message),
        }
    }
}

/// What JSON has in a form of its own.
fn well_known(name: &str) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "Duration" => json!({ "type": "string", "pattern": "^-?[0-9]+([.][0-9]{1,9})?s$" }),
        "FieldMask" => json!({ "type": "string" }),
        "Struct" => json!({ "type": "object" }),
        "ListValue" => json!({ "type": "array" }),
        "Value" => json!({}),
        "Empty" => json!({ "type": "object", "maxProperties": 0 }),
        "Any" => {
            json!({ "type": "object", "properties": { "@type": { "type": "string" } }, "required": ["@type"] })
        }
        "BoolValue" => json!({ "type": ["boolean", "null"] }),
        "StringValue" => json!({ "type": ["string", "null"] }),
        "BytesValue" => json!({ "type": ["string", "null"], "contentEncoding": "base64" }),
        "Int32Value" | "UInt32Value" => json!({ "type": ["integer", "null"] }),
        "Int64Value" | "UInt64Value" => json!({ "type": ["string", "integer", "null"] }),
        "FloatValue" | "DoubleValue" => json!({ "type": ["number", "string", "null"] }),
        _ => return None,
    })
}
