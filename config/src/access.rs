//! Access rules: who may do what in a namespace, and who may use a forward route.

mod pattern;

pub use pattern::{Pattern, PatternError};

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Deref,
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Rules, in their order. Shared: what is made of them refers to them.
#[derive(Clone, PartialEq)]
pub struct AccessRules(Arc<[AccessRule]>);

impl AccessRules {
    /// Tells every rule which line it stands on.
    pub(crate) fn number(&mut self, lines: impl Iterator<Item = usize>) {
        // Nobody else has them yet.
        for (rule, line) in Arc::get_mut(&mut self.0).into_iter().flatten().zip(lines) {
            rule.line = line;
        }
    }

    /// They are the same ones, and not only equal.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for AccessRules {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl Deref for AccessRules {
    type Target = [AccessRule];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromIterator<AccessRule> for AccessRules {
    fn from_iter<I: IntoIterator<Item = AccessRule>>(rules: I) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl fmt::Debug for AccessRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for AccessRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for AccessRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<AccessRule>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Who may do what. What no rule says is denied wherever `authz` runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessRule {
    /// Whom it is about: a principal, such as `spiffe://example.org/orders`, `dns:orders.example.org`, `cn:orders`,
    /// `jwt:ISSUER:SUBJECT`, `oauth2:ISSUER:SUBJECT`, `key:NAME` or `anonymous`. In a pattern, `*` stands for any characters
    /// but `/`, and `**` for any characters at all; neither stands for `anonymous`.
    pub principal: String,
    /// What has to be true of the claims of the credential whose principal it is, all of it: a claim by its name, or by its
    /// path with dots, and its value, or a list of which it has one. A claim that is a list has to hold it.
    #[serde(default, skip_serializing_if = "Claims::is_empty")]
    #[schemars(with = "ClaimsSchema")]
    pub claims: Claims,
    /// What it permits, by the kind of the operation. None includes another: who may `write` may not `read`. `admin` is for
    /// what is of kind `admin`, and for operations whose kind nobody says.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub permissions: BTreeSet<Permission>,
    /// Operations by name, whatever their kind.
    #[serde(default, skip_serializing_if = "RuleOperations::is_empty")]
    pub operations: RuleOperations,
    /// The line it stands on; 0 if it stands on none. Not part of its identity.
    #[serde(skip)]
    pub line: usize,
}

impl PartialEq for AccessRule {
    fn eq(&self, other: &Self) -> bool {
        let Self { principal, claims, permissions, operations, line: _ } = self;
        *principal == other.principal
            && *claims == other.claims
            && *permissions == other.permissions
            && *operations == other.operations
    }
}

/// Conditions on claims: names or paths, each with a value or a list of values.
pub type Claims = BTreeMap<String, Value>;

/// What a rule permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// Operations that change nothing.
    Read,
    /// Operations that change data.
    Write,
    /// All others, and those of which nobody says what they do.
    Admin,
}

/// What a rule says of operations by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleOperations {
    /// These too, whatever their kind.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allow: BTreeSet<String>,
    /// Not these: whoever the rule is about may not call them, whatever any rule says.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deny: BTreeSet<String>,
}

impl RuleOperations {
    /// It says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// The schema of [`Claims`].
struct ClaimsSchema;

impl JsonSchema for ClaimsSchema {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Claims".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = ["string", "number", "boolean"];
        json_schema!({
            "type": "object",
            "additionalProperties": {
                "type": ["string", "number", "boolean", "array"],
                "items": { "type": value },
            },
        })
    }
}
