//! The reference of every key, generated from the JSON schema: what is checked is what is documented.

mod value;

use serde_json::{Map, Value};

use crate::{
    registry::{FilterSchema, KNOWN_FILTERS, Phase, Registry},
    schema::NOT_BUILT,
};
use value::{allowed, default, note};

/// The file's parts in the order in which a reader meets them. Parts that are not here come last.
const PARTS: [&str; 6] = ["admin", "listeners", "plugins", "namespaces", "secrets", "drain"];

/// How many definitions may refer to one another in a row; a bound, because one could refer to itself.
const MOST_REFERENCES: usize = 8;

type Keywords = Map<String, Value>;

/// The reference of every key of a configuration, in Markdown, for a binary with these filters and
/// plugins. The same registry gives the same text.
#[must_use]
pub fn reference(registry: &Registry) -> String {
    let schema = Schema::new(registry);
    let mut text = include_str!("reference/introduction.md").to_owned();
    text.push_str("\n## Contents\n\n");
    for section in &schema.sections {
        let indent = "  ".repeat(section.level - 2);
        text.push_str(&format!("{indent}* [{}](#{})\n", section.title, anchor(&section.title)));
    }
    for section in &schema.sections {
        text.push_str(&format!("\n{} {}\n", "#".repeat(section.level), section.title));
        for paragraph in &section.text {
            text.push_str(&format!("\n{paragraph}\n"));
        }
        text.push_str(&table(&schema, &section.keywords));
    }
    text
}

/// A heading with the keys below it.
struct Section {
    level: usize,
    title: String,
    text: Vec<String>,
    /// The schema of a mapping; without keys where the section is text only.
    keywords: Keywords,
}

/// The whole schema and the sections that it is shown in.
struct Schema<'a> {
    root: &'a Value,
    sections: Vec<Section>,
}

impl<'a> Schema<'a> {
    fn new(registry: &'a Registry) -> Self {
        let mut schema = Self { root: registry.json_schema(), sections: Vec::new() };
        let root = schema.resolve(schema.root);
        schema.add(2, "The file".into(), vec![description(&root)], root.clone());
        let mut parts: Vec<&String> = properties(&root).map(|(name, _)| name).collect();
        parts.sort_by_key(|name| (PARTS.iter().position(|part| part == name).unwrap_or(PARTS.len()), *name));
        for part in parts {
            schema.below(2, part, &properties_of(&root)[part]);
            if part == "listeners" {
                schema.filters(registry);
            }
        }
        schema
    }

    fn add(&mut self, level: usize, title: String, text: Vec<String>, keywords: Keywords) {
        let text = text.into_iter().filter(|paragraph| !paragraph.is_empty()).collect();
        self.sections.push(Section { level, title, text, keywords });
    }

    /// Adds a section for the mapping that a key holds, if it holds one with keys of its own, and for those
    /// below it.
    fn below(&mut self, level: usize, path: &str, value: &Value) {
        let Some((suffix, keywords)) = self.mapping(value) else { return };
        if self.section_of(&keywords).is_some() || self.resolve(value).contains_key(NOT_BUILT) {
            return;
        }
        let path = format!("{path}{suffix}");
        self.add(level, format!("`{path}`"), vec![description(&keywords)], keywords.clone());
        for (name, value) in sorted(&keywords) {
            self.below((level + 1).min(4), &format!("{path}.{name}"), &value);
        }
    }

    fn filters(&mut self, registry: &Registry) {
        let missing = KNOWN_FILTERS.iter().filter(|(name, _)| registry.filters().get(name).is_none());
        let missing = missing.map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut text = vec![
            "A filter in a chain is written as its name, or as a mapping of its name to its settings: `- trace`, or \
             `- trace: { request_id: accept }`. A chain holds each filter once: first those that run once per \
             connection, then those that run on every request, last the one that answers. In a route, settings take \
             the place of the listener's as a whole, and `false` leaves the filter out."
                .to_owned(),
        ];
        if !missing.is_empty() {
            text.push(format!("*Not built yet:* {missing}."));
        }
        self.add(2, "Filters".into(), text, Keywords::new());
        for filter in registry.filters().iter() {
            self.filter(filter);
        }
    }

    fn filter(&mut self, filter: &FilterSchema) {
        let runs = match filter.phase {
            Phase::Connection => "Runs once per connection, before its first request.",
            Phase::Request => "Runs on every request.",
            Phase::Terminal => "Ends the chain: it answers every request that reaches it.",
        };
        let keywords = self.resolve(&filter_schema(filter.name));
        let text = vec![description(&keywords), runs.to_owned()];
        self.add(3, format!("`{}`", filter.name), text, keywords.clone());
        for (name, value) in sorted(&keywords) {
            self.below(4, &format!("{}.{name}", filter.name), &value);
        }
    }

    /// A schema's keywords with those of what it refers to; its own come first.
    fn resolve(&self, schema: &Value) -> Keywords {
        let mut keywords = schema.as_object().cloned().unwrap_or_default();
        for _ in 0..MOST_REFERENCES {
            let Some(target) = keywords.remove("$ref") else { break };
            let target = target.as_str().and_then(|target| self.root.pointer(target.strip_prefix('#')?));
            for (key, value) in target.and_then(Value::as_object).into_iter().flatten() {
                keywords.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        keywords
    }

    /// The mapping with keys of its own that a value is or is made of, with its own description, and what
    /// its path has more than the value's.
    fn mapping(&self, value: &Value) -> Option<(&'static str, Keywords)> {
        if is_filters(value) {
            return None;
        }
        let mut plain = value.clone();
        // What is said of the key is in its table; a section says what the mapping is.
        if let Some(object) = plain.as_object_mut().filter(|object| object.contains_key("$ref")) {
            object.remove("description");
        }
        let keywords = self.resolve(&plain);
        if properties(&keywords).next().is_some() {
            return Some(("", keywords));
        }
        if let Some(items) = keywords.get("items") {
            return self.mapping(items).map(|(_, keywords)| ("[]", keywords));
        }
        branches(&keywords).find_map(|branch| self.mapping(branch))
    }

    /// The section that shows this mapping's keys.
    fn section_of(&self, keywords: &Keywords) -> Option<&Section> {
        let keys = properties_of(keywords);
        self.sections.iter().find(|section| !keys.is_empty() && properties_of(&section.keywords) == keys)
    }
}

fn table(schema: &Schema<'_>, keywords: &Keywords) -> String {
    let keys = sorted(keywords);
    if keys.is_empty() {
        return String::new();
    }
    let mut table = String::from("\n| Key | Value | Default | Meaning |\n| --- | --- | --- | --- |\n");
    for (name, value) in keys {
        let cells = [
            format!("`{name}`"),
            allowed(schema, &value),
            default(schema, &value, required(keywords, &name).is_some()),
            note(schema, &value),
        ];
        // A bar would begin the next cell, also within backticks.
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        table.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    table
}

/// The keys of a mapping: required ones in their order, then built ones, then those that are not built.
fn sorted(keywords: &Keywords) -> Vec<(String, Value)> {
    let mut keys: Vec<_> = properties(keywords).map(|(name, value)| (name.clone(), value.clone())).collect();
    keys.sort_by_key(|(name, value)| {
        let required = required(keywords, name).unwrap_or(usize::MAX);
        (value.get(NOT_BUILT).is_some(), required, name.clone())
    });
    keys
}

fn properties(keywords: &Keywords) -> impl Iterator<Item = (&String, &Value)> {
    keywords.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn properties_of(keywords: &Keywords) -> Keywords {
    properties(keywords).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The place of a key among those that are required.
fn required(keywords: &Keywords, name: &str) -> Option<usize> {
    keywords.get("required")?.as_array()?.iter().position(|required| required == name)
}

fn branches(keywords: &Keywords) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"]
        .into_iter()
        .filter_map(|keyword| keywords.get(keyword).and_then(Value::as_array))
        .flatten()
}

fn description(keywords: &Keywords) -> String {
    keywords.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn filter_schema(name: &str) -> Value {
    serde_json::json!({ "$ref": format!("#/$defs/filter.{name}") })
}

fn is_filters(value: &Value) -> bool {
    let target = value.get("$ref").and_then(Value::as_str);
    matches!(target, Some("#/$defs/FilterEntry" | "#/$defs/FilterOverrides"))
}

/// The fragment that GitHub gives a heading.
fn anchor(title: &str) -> String {
    title
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
        })
        .collect()
}

#[cfg(test)]
mod tests;
