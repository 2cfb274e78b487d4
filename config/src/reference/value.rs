//! What may stand under a key, in words: the cells of a table.

use serde_json::{Map, Value};

use super::{Keywords, Schema, anchor, branches, is_filters, properties, sorted};
use crate::{
    admin::{AdminHost, TokenDigest},
    host_port::HostPort,
    route::TargetAddress,
    schema::{Address, NOT_BUILT, Name},
    units::{ByteSize, Duration},
};

/// Stands where there is nothing to say.
const NOTHING: &str = "–";

/// The values that a key may have.
pub(super) fn allowed(schema: &Schema<'_>, value: &Value) -> String {
    let mut words = Alternatives::default();
    words.collect(schema, value);
    let mut text = or(&words.built);
    if !words.missing.is_empty() {
        text.push_str(&format!("; *not built yet:* {}", words.missing.join(", ")));
    }
    text
}

/// What holds when the key is left out.
pub(super) fn default(schema: &Schema<'_>, value: &Value, required: bool) -> String {
    let keywords = schema.resolve(value);
    if keywords.contains_key(NOT_BUILT) {
        return "*not built yet*".into();
    }
    if required {
        return "**required**".into();
    }
    if properties(&keywords).next().is_some() && !is_filters(value) {
        // One with a key that is required is there or it is not.
        let needs = keywords.get("required").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty());
        return if needs { NOTHING.into() } else { "all defaults".into() };
    }
    match keywords.get("default") {
        None if keywords.get("type") == Some(&"array".into()) => "`[]`".into(),
        None if is_filters(value) || keywords.get("type") == Some(&"object".into()) => "`{}`".into(),
        None | Some(Value::Null) => NOTHING.into(),
        Some(default) => written(&keywords, default).map_or(NOTHING.into(), |text| format!("`{text}`")),
    }
}

/// A default as it would be written. `None` for one that takes more than a word; its key's description
/// tells it.
fn written(keywords: &Keywords, value: &Value) -> Option<String> {
    let format = keywords.get("format").and_then(Value::as_str);
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if format == Some(ByteSize::FORMAT) => {
            number.as_u64().map(|bytes| ByteSize::bytes(bytes).to_string())
        }
        Value::Array(items) => {
            let items: Option<Vec<String>> =
                items.iter().map(|item| written(&Map::new(), item).filter(|_| !item.is_object())).collect();
            items.map(|items| format!("[{}]", items.join(", ")))
        }
        Value::Object(entries) if !entries.is_empty() => None,
        other => Some(other.to_string()),
    }
}

/// What the key means, and each of the words that it may have.
pub(super) fn note(schema: &Schema<'_>, value: &Value) -> String {
    let keywords = schema.resolve(value);
    let mut parts = vec![super::description(&keywords)];
    explain(schema, &keywords, &mut parts);
    // The keys of what is not built have no section of their own.
    let inner = keywords.get("items").map(|items| schema.resolve(items)).unwrap_or_else(|| keywords.clone());
    if keywords.contains_key(NOT_BUILT) && properties(&inner).next().is_some() {
        let names: Vec<String> = sorted(&inner).iter().map(|(name, _)| format!("`{name}`")).collect();
        parts.push(format!("Keys: {}.", names.join(", ")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("<br>")
}

fn explain(schema: &Schema<'_>, keywords: &Keywords, parts: &mut Vec<String>) {
    for branch in branches(keywords).map(|branch| schema.resolve(branch)) {
        match (branch.get("const"), branch.get("description").and_then(Value::as_str)) {
            (Some(word), Some(meaning)) => parts.push(format!("{}: {meaning}", quoted(word))),
            _ => explain(schema, &branch, parts),
        }
    }
    if let Some(inner) = keywords.get("additionalProperties") {
        explain(schema, &schema.resolve(inner), parts);
    }
}

#[derive(Default)]
struct Alternatives {
    built: Vec<String>,
    missing: Vec<String>,
}

impl Alternatives {
    fn collect(&mut self, schema: &Schema<'_>, value: &Value) {
        let keywords = schema.resolve(value);
        if let Some(word) = keywords.get("const") {
            let list = if keywords.contains_key(NOT_BUILT) { &mut self.missing } else { &mut self.built };
            list.push(quoted(word));
        } else if let Some(words) = keywords.get("enum").and_then(Value::as_array) {
            self.built.extend(words.iter().map(quoted));
        } else if !is_filters(value) && branches(&keywords).next().is_some() {
            branches(&keywords).for_each(|branch| self.collect(schema, branch));
        } else {
            self.built.extend(types(schema, value, &keywords));
        }
    }
}

/// The types of a value, with their bounds.
fn types(schema: &Schema<'_>, value: &Value, keywords: &Keywords) -> Vec<String> {
    let bounds = bounds(keywords).map(|bounds| format!(", {bounds}")).unwrap_or_default();
    let of_format = match keywords.get("format").and_then(Value::as_str) {
        Some(Duration::FORMAT) => Some("duration"),
        Some(ByteSize::FORMAT) => Some("size"),
        Some(Address::FORMAT) => Some("address"),
        Some(HostPort::FORMAT) => Some("host and port"),
        Some(AdminHost::FORMAT) => Some("host"),
        Some(TokenDigest::FORMAT) => Some("SHA-256"),
        Some(TargetAddress::FORMAT) => Some("target's address"),
        Some(Name::FORMAT) => Some("name"),
        _ => None,
    };
    if let Some(noun) = of_format {
        return vec![format!("{noun}{bounds}")];
    }
    if is_filters(value) {
        return vec!["mapping of [filters](#filters)".into()];
    }
    let names = match keywords.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec!["anything"],
    };
    let one = |name| match name {
        "boolean" => "`true` or `false`".to_owned(),
        "array" if !keywords.contains_key("items") => format!("list{bounds}"),
        "array" => format!("list of {}{bounds}", members(schema, keywords.get("items"))),
        "object" => mapping(schema, keywords),
        name => format!("{name}{bounds}"),
    };
    names.into_iter().filter(|name| *name != "null").map(one).collect()
}

fn mapping(schema: &Schema<'_>, keywords: &Keywords) -> String {
    if let Some(section) = schema.section_of(keywords) {
        return format!("[mapping](#{})", anchor(&section.title));
    }
    match keywords.get("additionalProperties") {
        Some(inner @ Value::Object(_)) => format!("mapping of names to {}", members(schema, Some(inner))),
        _ => "mapping".into(),
    }
}

/// What a list or a mapping holds, in the plural where there is one.
fn members(schema: &Schema<'_>, inner: Option<&Value>) -> String {
    let Some(inner) = inner else { return "anything".into() };
    if is_filters(inner) {
        return "[filters](#filters)".into();
    }
    let noun = allowed(schema, inner);
    if let Some(link) = noun.strip_prefix("[mapping]") {
        return format!("[mappings]{link}");
    }
    match noun.as_str() {
        "string" | "name" | "host" | "integer" | "number" | "duration" | "size" | "mapping" => {
            format!("{noun}s")
        }
        _ => noun,
    }
}

/// The bounds of a value, in the notation that it is written in.
fn bounds(keywords: &Keywords) -> Option<String> {
    let bound = |key| keywords.get(key).and_then(Value::as_f64);
    let format = keywords.get("format").and_then(Value::as_str);
    let show = |value: f64| match format {
        Some(Duration::FORMAT) => {
            Duration::from_seconds(value).map_or(value.to_string(), |it| it.to_string())
        }
        // Bounds of sizes are whole and not negative.
        Some(ByteSize::FORMAT) => ByteSize::bytes(value as u64).to_string(),
        _ => value.to_string(),
    };
    let pair = |least: Option<String>, most: Option<String>, unit: &str| match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
        (Some(least), None) => Some(format!("at least {least}{unit}")),
        (None, Some(most)) => Some(format!("at most {most}{unit}")),
        (None, None) => None,
    };
    let above = bound("exclusiveMinimum").map(|least| format!("more than {}", show(least)));
    let below = bound("exclusiveMaximum").map(|most| format!("less than {}", show(most)));
    let whole = |key| bound(key).map(|count| count.to_string());
    let parts = [
        pair(bound("minimum").map(show), bound("maximum").map(show), ""),
        above,
        below,
        pair(whole("minLength"), whole("maxLength"), " characters"),
        pair(whole("minItems"), whole("maxItems"), " items"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let text = parts
        .join(", ")
        .replace("at least 1 characters", "not empty")
        .replace("at least 1 items", "not empty");
    (!text.is_empty()).then_some(text)
}

fn or(words: &[String]) -> String {
    match words {
        [] => NOTHING.into(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

fn quoted(word: &Value) -> String {
    word.as_str().map_or_else(|| format!("`{word}`"), |word| format!("`{word}`"))
}
