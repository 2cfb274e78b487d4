//! Routes: which requests a listener takes, where they go, and what is different for them.

mod matcher;
mod target;

pub use matcher::{GrpcMatch, Match, PathMatch};
pub use target::{ForwardTarget, HttpProtocol, TargetAddress};

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::{
    access::{AccessRule, AccessRules},
    redact,
};

/// A route. The most specific one that matches a request is taken: an exact path before any prefix, the
/// longer prefix before the shorter, then one with a `host` (first of all with a port), then one for gRPC, then the one
/// with more headers. Two that could tie are an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Which requests it takes.
    #[serde(rename = "match")]
    pub matcher: Match,
    /// The namespace of its requests. Without it, they name one in `x-prism-namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Forward its requests, of any gRPC or HTTP service, to a `plugin` or to `targets`, instead of dispatching
    /// operations: as they came, through the same filters.
    #[serde(default, skip_serializing_if = "is_false")]
    pub forward: bool,
    /// For `forward`: the plugin whose process they go to, over HTTP/2. It runs in a process of its own: `sidecar` or
    /// `remote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub plugin: Option<String>,
    /// For `forward`: where they go, each target by its weight. At most 32: each worker keeps connections to every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub targets: Vec<ForwardTarget>,
    /// For `forward`: what takes the place of the matched `path_prefix` (or of the whole `path`) in the path that the
    /// service sees. A prefix and what replaces it end both with `/`, or neither does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub prefix_rewrite: Option<String>,
    /// For `forward`: who may use it, each rule by `principal` and `claims` alone. Everybody else is denied where `authz`
    /// runs: without a rule, everybody.
    #[serde(default, skip_serializing_if = "is_empty")]
    #[schemars(with = "Vec<AccessRule>")]
    pub access: AccessRules,
    /// What is different in the filter chain: a filter's name with its settings here, or with `false`
    /// to leave it out.
    #[serde(default, skip_serializing_if = "FilterOverrides::is_empty")]
    pub filters: FilterOverrides,
}

fn is_empty(rules: &AccessRules) -> bool {
    rules.is_empty()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_false(value: &bool) -> bool {
    !value
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
