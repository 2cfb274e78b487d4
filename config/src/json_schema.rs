//! The JSON schema of a whole configuration: the types' own, with the filters of the registry put in.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{
    document::Document,
    registry::{FilterSchemas, KNOWN_FILTERS, Phase},
    schema::{NOT_BUILT, NOUN},
};

/// Where filters' own definitions and settings are put.
const PREFIX: &str = "filter.";

pub(crate) fn build(filters: &FilterSchemas) -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>();
    let mut root = schema.to_value();
    let mut definitions = match root.get_mut("$defs").map(Value::take) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    for filter in filters.iter() {
        hoist(filter.name, filter.schema.clone(), &mut definitions);
    }
    definitions.insert("FilterEntry".into(), filter_entry(filters));
    definitions.insert("FilterOverrides".into(), filter_overrides(filters));
    if let Some(root) = root.as_object_mut() {
        root.insert("title".into(), "Prism Edge configuration".into());
        root.insert("$defs".into(), definitions.into());
    }
    root
}

/// Moves a filter's schema under the root's definitions, its own definitions beside it.
fn hoist(name: &str, mut schema: Value, definitions: &mut Map<String, Value>) {
    redirect(&mut schema, name);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        for (inner, definition) in schema.remove("$defs").iter().filter_map(Value::as_object).flatten() {
            definitions.insert(format!("{PREFIX}{name}.{inner}"), definition.clone());
        }
    }
    definitions.insert(format!("{PREFIX}{name}"), schema);
}

/// Rewrites references to a filter's own definitions.
fn redirect(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(entries) => {
            for (key, entry) in entries {
                match entry {
                    Value::String(target) if key == "$ref" => {
                        if let Some(inner) = target.strip_prefix("#/$defs/") {
                            *target = format!("#/$defs/{PREFIX}{name}.{inner}");
                        } else if target == "#" {
                            *target = format!("#/$defs/{PREFIX}{name}");
                        }
                    }
                    other => redirect(other, name),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, name)),
        _ => {}
    }
}

/// The known filters that the binary does not bring.
fn missing(filters: &FilterSchemas) -> impl Iterator<Item = &'static str> {
    KNOWN_FILTERS.iter().map(|(name, _)| *name).filter(|name| filters.get(name).is_none())
}

fn not_built(name: &str) -> String {
    format!("filter `{name}` is not built yet")
}

/// The filters' settings by name. Nothing written after the name means its defaults, where it has them for every key.
fn settings(filters: &FilterSchemas) -> Map<String, Value> {
    let built = filters.iter().map(|filter| {
        let settings = json!({ "$ref": format!("#/$defs/{PREFIX}{}", filter.name) });
        let optional = filter.required().next().is_none();
        let settings = if optional { json!({ "anyOf": [settings, { "type": "null" }] }) } else { settings };
        (filter.name.to_owned(), settings)
    });
    let missing = missing(filters)
        .map(|name| (name.to_owned(), json!({ "type": ["object", "null"], NOT_BUILT: not_built(name) })));
    built.chain(missing).collect()
}

/// An entry of a chain: a filter's name, or a mapping of it to its settings.
fn filter_entry(filters: &FilterSchemas) -> Value {
    let names: Vec<&str> = filters.iter().map(|filter| filter.name).collect();
    let bare = [json!({ "type": "string", "enum": names })]
        .into_iter()
        .chain(missing(filters).map(|name| json!({ "const": name, NOT_BUILT: not_built(name) })));
    json!({
        "description": "A filter's name, or a mapping of its name to its settings.",
        "oneOf": [
            { NOUN: "filter", "type": "string", "oneOf": bare.collect::<Vec<_>>() },
            {
                NOUN: "filter",
                "type": "object",
                "properties": settings(filters),
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
            },
        ],
    })
}

/// A route's overrides. Connection filters are not among them: no route is known when they run.
fn filter_overrides(filters: &FilterSchemas) -> Value {
    let mut properties = settings(filters);
    properties.retain(|name, _| match filters.get(name) {
        Some(filter) => filter.phase != Phase::Connection,
        None => !KNOWN_FILTERS.contains(&(name.as_str(), Phase::Connection)),
    });
    for (name, schema) in &mut properties {
        let mut branches = match schema.get_mut("anyOf").map(Value::take) {
            Some(Value::Array(branches)) => branches,
            _ => vec![json!({ "type": ["object", "null"] })],
        };
        branches.push(json!({ "const": false }));
        let mut changed = json!({ "anyOf": branches });
        if filters.get(name).is_none() {
            changed[NOT_BUILT] = not_built(name).into();
        }
        *schema = changed;
    }
    json!({
        NOUN: "filter",
        "description": "Filters of the chain by name, each with its settings here, or `false` to leave it out.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}
