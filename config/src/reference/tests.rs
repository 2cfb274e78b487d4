//! Tests of the reference: every key is in it, and it says what the schema says.

use serde_json::json;

use super::*;
use crate::FilterSchemas;

fn registry() -> Registry {
    let schema = json!({
        "description": "Settings of `echo`.",
        "type": "object",
        "properties": {
            "size": { "type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "How | big." },
            "inner": { "$ref": "#/$defs/Inner", "description": "The inner one." },
            "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
            "again": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] },
        },
        "required": ["mode"],
        "$defs": {
            "Inner": {
                "description": "What is inside.",
                "type": "object",
                "properties": { "list": { "type": "array", "items": { "type": "string" }, "minItems": 1 } },
            },
            "Mode": { "oneOf": [
                { "const": "a", "type": "string", "description": "The first." },
                { "const": "b", "type": "string", "x-prism-not-built": "no" },
            ] },
        },
    });
    Registry::new(
        FilterSchemas::new().with(FilterSchema {
            name: "echo",
            phase: Phase::Terminal,
            schema,
            check: |_| Vec::new(),
        }),
        ["memory"],
    )
}

#[test]
fn every_key_of_the_schema_is_in_the_reference() {
    fn keys(value: &Value, found: &mut Vec<String>) {
        let names = value.get("properties").and_then(Value::as_object).into_iter().flatten();
        found.extend(names.map(|(name, _)| name.clone()));
        match value {
            Value::Object(entries) => entries.values().for_each(|entry| keys(entry, found)),
            Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let registry = registry();
    let text = reference(&registry);
    let mut found = Vec::new();
    keys(registry.json_schema(), &mut found);
    assert!(found.len() > 80, "{}", found.len());
    for key in found {
        assert!(text.contains(&format!("`{key}`")), "`{key}` is not in the reference");
    }
}

#[test]
fn every_link_has_its_heading() {
    let text = reference(&registry());
    let mut headings: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches(['#', ' '])))
        .collect();
    let links: Vec<&str> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 20, "{}", links.len());
    for link in links {
        assert!(headings.iter().any(|heading| heading == link), "#{link} leads nowhere");
    }
    let count = headings.len();
    headings.sort();
    headings.dedup();
    assert_eq!(headings.len(), count, "two headings have the same anchor");
}

#[test]
fn rows_say_what_the_schema_says() {
    let text = reference(&registry());
    for row in [
        "| `size` | integer, 1 to 9 | `3` | How \\| big. |",
        "| `inner` | [mapping](#echoinner) | all defaults | The inner one. |",
        "| `list` | list of strings, not empty | `[]` |  |",
        "| `mode` | `a`; *not built yet:* `b` | **required** | `a`: The first. |",
        "| `again` | [mapping](#echo) | – |  |",
        "| `burst` | integer, at least 0 | *not built yet* | Calls beyond that rate that may come at once. |",
    ] {
        assert!(text.contains(&format!("\n{row}\n")), "{row} is not in\n{text}");
    }
    for start in [
        "| `max_frame_bytes` | size, 16KiB to 16777215B | `16KiB` |",
        "| `keepalive_interval` | duration, 1ms to 365d | `30s` |",
        "| `timeout` | duration, 0s to 365d | `30s` |",
        "| `address` | address | `127.0.0.1:50052` |",
        "| `ready` | `any`, `all` or list of strings, not empty | `any` |",
        "| `filters` | list of [filters](#filters) | `[trace, plugin_dispatch]` |",
        "| `filters` | mapping of [filters](#filters) | `{}` |",
        "| `routes` | list of [mappings](#listenersroutes) | `[]` |",
        "| `plugin` | string or [mapping](#plugins) | – |",
        "| `operations` | mapping of names to `read`, `write` or `admin` | `{}` |",
        "| `headers` | mapping of names to strings | `{}` |",
        "| `endpoints` | list of host and port, at most 32 items | `[]` |",
        "| `command` | list of strings, not empty | *not built yet* |",
        "| `workers` | integer, 1 to 1024 | – |",
    ] {
        assert!(text.contains(&format!("\n{start} ")), "{start} is not in\n{text}");
    }
    assert_eq!(text, reference(&registry()));
}
