//! What the configuration is checked against besides its own schema: the filters and the builtin
//! plugins of this binary. Handed in, so that this crate knows neither.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json_schema;

/// When a filter runs. A chain holds its filters in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Once per connection, before its first request.
    Connection,
    /// On every request.
    Request,
    /// On every request, as the last: it answers.
    Terminal,
}

/// What is known about a filter whose code is in this binary.
#[derive(Clone, Debug)]
pub struct FilterSchema {
    /// The name it has in a chain.
    pub name: &'static str,
    /// When it runs.
    pub phase: Phase,
    /// The JSON schema of its settings: an object. One with required keys cannot be written as its name alone.
    pub schema: Value,
    /// What is wrong with settings that fit the schema.
    pub check: CheckSettings,
}

/// Judges settings as written (`null` for none); silent about those that do not fit their schema.
pub type CheckSettings = fn(&Value) -> Vec<SettingProblem>;

/// What is wrong with a filter's settings, though each fits the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingProblem {
    /// The key that it is about.
    pub key: &'static str,
    /// Which of the key's items, where it is a list.
    pub item: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl SettingProblem {
    /// About a key as a whole.
    pub fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, item: None, message: message.into(), hint: None }
    }

    /// About one of the key's items.
    #[must_use]
    pub fn at(mut self, item: usize) -> Self {
        self.item = Some(item);
        self
    }

    /// The same about a key that lies deeper, below `key`.
    #[must_use]
    pub fn below(self, key: &'static str) -> Self {
        let message = match self.key {
            "" => self.message,
            deeper => format!("`{deeper}`: {}", self.message),
        };
        Self { key, item: None, message, hint: self.hint }
    }

    /// What to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl FilterSchema {
    /// The keys that its settings must have.
    pub(crate) fn required(&self) -> impl Iterator<Item = &str> {
        self.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}

/// The filters of this binary, by name.
#[derive(Clone, Debug, Default)]
pub struct FilterSchemas(BTreeMap<&'static str, FilterSchema>);

/// Filters that are known by name. One that the binary does not bring is refused as not built; one that
/// it brings is built, listed here or not.
pub const KNOWN_FILTERS: [(&str, Phase); 12] = [
    ("tls", Phase::Connection),
    ("audit", Phase::Request),
    ("cors", Phase::Request),
    ("grpc_web", Phase::Request),
    ("auth", Phase::Request),
    ("authz", Phase::Request),
    ("rate_limit", Phase::Request),
    ("timeout", Phase::Request),
    ("shadow", Phase::Request),
    ("retry", Phase::Request),
    ("circuit_breaker", Phase::Request),
    ("fault", Phase::Request),
];

impl FilterSchemas {
    /// No filters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, schema: FilterSchema) -> Self {
        self.insert(schema);
        self
    }

    /// Adds a filter. Answers the one that had its name before.
    pub fn insert(&mut self, schema: FilterSchema) -> Option<FilterSchema> {
        self.0.insert(schema.name, schema)
    }

    /// The filter of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&FilterSchema> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &FilterSchema> {
        self.0.values()
    }
}

/// Everything a configuration may refer to in this binary. Building one makes the whole schema, so keep
/// it.
#[derive(Clone, Debug)]
pub struct Registry {
    filters: FilterSchemas,
    builtins: Vec<String>,
    schema: Value,
}

impl Registry {
    /// A binary with these filters and these builtin plugins.
    #[must_use]
    pub fn new(filters: FilterSchemas, builtins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let schema = json_schema::build(&filters);
        Self { filters, builtins: builtins.into_iter().map(Into::into).collect(), schema }
    }

    /// The filters.
    #[must_use]
    pub fn filters(&self) -> &FilterSchemas {
        &self.filters
    }

    /// The names of the builtin plugins.
    #[must_use]
    pub fn builtins(&self) -> &[String] {
        &self.builtins
    }

    /// The JSON schema of a whole configuration, with the settings of every filter, for editors.
    #[must_use]
    pub fn json_schema(&self) -> &Value {
        &self.schema
    }

    /// When a filter runs; `None` for an unknown name.
    pub(crate) fn phase(&self, name: &str) -> Option<Phase> {
        let known = || KNOWN_FILTERS.iter().find(|(known, _)| *known == name).map(|(_, phase)| *phase);
        self.filters.get(name).map(|filter| filter.phase).or_else(known)
    }
}
