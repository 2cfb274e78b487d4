//! Routes: which requests a listener takes, and what is different for them.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value, json};

use crate::{
    redact,
    schema::{access_rules, add_not_built},
};

/// A route. The most specific one that matches a request is taken: an exact path before any prefix, the
/// longer prefix before the shorter, then the one with more headers. Two that could tie are an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = not_built_keys)]
pub struct Route {
    /// Which requests it takes.
    #[serde(rename = "match")]
    pub matcher: Match,
    /// The namespace of its requests. Without it, they name one in `x-prism-namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// What is different in the filter chain: a filter's name with its settings here, or with `false`
    /// to leave it out.
    #[serde(default, skip_serializing_if = "FilterOverrides::is_empty")]
    pub filters: FilterOverrides,
}

fn not_built_keys(schema: &mut Schema) {
    add_not_built(
        schema,
        json!({
            "forward": {
                "type": "boolean",
                "description": "Forward any gRPC or HTTP service unchanged instead of dispatching operations.",
            },
            "plugin": { "type": "string", "description": "The plugin to forward to." },
            "targets": {
                "type": "array",
                "description": "Addresses to forward to, with weights.",
                "items": {
                    "type": "object",
                    "properties": {
                        "address": { "type": "string" },
                        "weight": { "type": "integer", "minimum": 0 },
                    },
                    "required": ["address"],
                    "additionalProperties": false,
                },
            },
            "prefix_rewrite": { "type": "string", "description": "Replaces the matched prefix." },
            "access": access_rules(),
        }),
    );
}

/// What a request must look like. Everything given must hold; nothing given matches every request.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = not_built_matchers)]
pub struct Match {
    /// The whole path, without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the path begins with, compared as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Headers by name, with the exact value each must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "show_headers")]
    pub headers: BTreeMap<String, String>,
}

fn not_built_matchers(schema: &mut Schema) {
    add_not_built(
        schema,
        json!({
            "host": { "type": "string", "description": "The request's authority." },
            "grpc": {
                "type": "object",
                "description": "A gRPC service, and a method of it.",
                "properties": { "service": { "type": "string" }, "method": { "type": "string" } },
                "required": ["service"],
                "additionalProperties": false,
            },
        }),
    );
}

fn show_headers<S: Serializer>(headers: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().map(|(name, value)| {
        (name, if redact::is_secret_key(name) { redact::REDACTED } else { value.as_str() })
    }))
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Match({self})")
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, &self.path_prefix) {
            (Some(path), _) => write!(f, "path {path}")?,
            (None, Some(prefix)) => write!(f, "path_prefix {prefix}")?,
            (None, None) => f.write_str("every path")?,
        }
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let value = if redact::is_secret_key(name) { redact::REDACTED } else { value };
            write!(f, "{} {name}={value}", if index == 0 { " with" } else { "," })?;
        }
        Ok(())
    }
}

/// The filters whose settings a route overrides, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilterOverrides(pub BTreeMap<String, FilterOverride>);

impl FilterOverrides {
    /// Whether the route leaves the chain as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the route says about a filter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FilterOverride> {
        self.0.get(name)
    }
}

impl JsonSchema for FilterOverrides {
    fn schema_name() -> Cow<'static, str> {
        "FilterOverrides".into()
    }

    /// A placeholder: which filters there are, only the registry knows.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// What a route says about one filter.
#[derive(Clone, PartialEq)]
pub enum FilterOverride {
    /// The filter is left out.
    Off,
    /// These settings, an object, take the place of the listener's as a whole.
    Settings(Value),
}

impl fmt::Debug for FilterOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::Settings(settings) => f.debug_tuple("Settings").field(&redact::value(settings)).finish(),
        }
    }
}

impl Serialize for FilterOverride {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::Settings(settings) => redact::value(settings).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FilterOverride {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(false) => Ok(Self::Off),
            Value::Null => Ok(Self::Settings(Value::Object(Map::new()))),
            settings @ Value::Object(_) => Ok(Self::Settings(settings)),
            _ => Err(de::Error::custom("expected settings, or `false` to leave the filter out")),
        }
    }
}
