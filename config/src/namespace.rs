//! Namespaces: what clients address, each with its backend, its settings and its credentials.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::{
    access::{AccessRule, AccessRules},
    plugin::{OperationKind, PluginForm},
    redact,
    schema::{Name, Secrets, add_not_built},
    secret::Secret,
    units::ByteSize,
};

/// A namespace, with its plugin found. Shown or serialized, its secrets are redacted.
#[derive(Clone, PartialEq, Serialize)]
pub struct Namespace {
    /// What clients call it.
    pub name: String,
    /// The kind of backend, such as `redis`.
    pub backend: String,
    /// The plugin that serves it: always the name of one in [`Config::plugins`](crate::Config::plugins).
    pub plugin: String,
    /// What the plugin is initialized with.
    #[serde(serialize_with = "redact::serialize_map", skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
    /// What the plugin logs in with.
    #[serde(skip_serializing_if = "Credentials::is_empty")]
    pub credentials: Credentials,
    /// What kind of operation each one is, against what the plugin says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub operations: BTreeMap<String, OperationKind>,
    /// Who may do what in it.
    #[serde(skip_serializing_if = "is_empty")]
    pub access: AccessRules,
    /// What its callers may use.
    pub limits: NamespaceLimits,
}

fn is_empty(rules: &AccessRules) -> bool {
    rules.is_empty()
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("name", &self.name)
            .field("backend", &self.backend)
            .field("plugin", &self.plugin)
            .field("config", &self.config.as_ref().map(redact::map))
            .field("credentials", &self.credentials)
            .field("operations", &self.operations)
            .field("access", &self.access)
            .field("limits", &self.limits)
            .finish()
    }
}

/// Credentials by name, as they are written: a text or a reference. Shown or serialized, texts are redacted.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Credentials(BTreeMap<String, Secret>);

impl Credentials {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, secret)| (name.as_str(), secret))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, String)> for Credentials {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, text)| (name, text.into())).collect())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl Serialize for Credentials {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

/// What callers of a namespace may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(transform = not_built_limits)]
pub struct NamespaceLimits {
    /// The largest message, request or answer, by its length prefix. 4 MiB is what gRPC libraries accept
    /// by default; collected bodies take this much memory per call.
    #[schemars(extend("minimum" = 1, "maximum" = 4_294_967_295u64))]
    pub max_message_bytes: ByteSize,
}

impl Default for NamespaceLimits {
    fn default() -> Self {
        Self { max_message_bytes: ByteSize::mib(4) }
    }
}

fn not_built_limits(schema: &mut Schema) {
    add_not_built(
        schema,
        json!({
            "requests_per_second": { "type": "number", "minimum": 0, "description": "Calls a second." },
            "burst": { "type": "integer", "minimum": 0, "description": "Calls beyond that rate that may come at once." },
            "max_concurrent": { "type": "integer", "minimum": 1, "description": "Calls under way at once." },
        }),
    );
}

/// What clients address: a backend, and how its plugin is set up for them.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Namespace")]
pub(crate) struct NamespaceForm {
    /// What clients call it.
    #[schemars(with = "Name")]
    pub(crate) name: String,
    /// The kind of backend, such as `redis`. Without a `plugin`, also the name of the plugin.
    #[schemars(length(min = 1))]
    pub(crate) backend: String,
    /// The plugin that serves it: the name of one in `plugins:`, or a definition. By default the plugin
    /// called as the backend, else the builtin called so.
    #[serde(default)]
    #[schemars(with = "PluginRef")]
    pub(crate) plugin: Option<PluginRef>,
    /// What the plugin is initialized with. Only the plugin knows what may stand here. Texts may hold `{{ secret:NAME }}`.
    #[serde(default)]
    #[schemars(with = "Map<String, Value>", extend("x-prism-referable" = true))]
    pub(crate) config: Option<Map<String, Value>>,
    /// What the plugin logs in with: a text, or better `{{ secret:NAME }}`.
    #[serde(default)]
    #[schemars(with = "Secrets")]
    pub(crate) credentials: Credentials,
    /// What kind of operation each one is, against what the plugin says.
    #[serde(default)]
    pub(crate) operations: BTreeMap<String, OperationKind>,
    /// Who may do what in it. Everything else is denied: without a rule, everything. Whoever comes through a listener or
    /// route without the filter `authz` would not be asked, so there is none that leads here.
    #[serde(default)]
    #[schemars(with = "Vec<AccessRule>")]
    pub(crate) access: AccessRules,
    /// What its callers may use.
    #[serde(default)]
    pub(crate) limits: NamespaceLimits,
}

/// How a namespace says which plugin serves it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum PluginRef {
    /// By the name of one in `plugins:`.
    Name(String),
    /// By defining it here.
    Inline(Box<PluginForm>),
}
