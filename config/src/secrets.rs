//! Secrets: where they are looked up, what was found, and the texts that it is put into.
//!
//! A [`Config`] holds what is written, which is what may be shown. What was found stands beside it, and is put into a text only
//! where that is used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Config,
    load::Source,
    problem::{Collector, Position, Problems},
    secret::{Secret, SecretValue},
    template::{self, Piece},
};

/// What all references of a configuration may hold together: a hundred times what ten thousand namespaces have reason to. Each
/// place that names a secret has its own copy of it.
const MOST_BYTES: usize = 64 << 20;

/// Where `{{ secret:NAME }}` is looked up: in the directory first, where there is one, and then in the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SecretProviders {
    /// Variables of the proxy's environment. They are what they were when it was started.
    pub environment: EnvironmentSecrets,
    /// A directory of files, one for each secret, as Kubernetes mounts them. By default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DirectorySecrets")]
    pub directory: Option<DirectorySecrets>,
}

/// Secrets in the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentSecrets {
    /// What a variable's name begins with; then comes the secret's, in capitals, with `_` for each `-` and `.`. It is there
    /// so that a configuration names no variable that is not meant for it.
    #[schemars(extend("format" = "prism-variable"))]
    pub prefix: String,
}

impl EnvironmentSecrets {
    pub(crate) const FORMAT: &'static str = "prism-variable";

    /// The variable that holds the secret of this name.
    #[must_use]
    pub fn variable(&self, name: &str) -> String {
        let name = name.to_ascii_uppercase().replace(['-', '.'], "_");
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn is_prefix(text: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !text.is_empty() && !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(plain)
    }
}

impl Default for EnvironmentSecrets {
    fn default() -> Self {
        Self { prefix: "PRISM_SECRET_".to_owned() }
    }
}

/// Secrets in a directory, which is looked at every two seconds: a secret that has changed is in use from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectorySecrets {
    /// The directory, relative to the configuration file. A file's name is the secret's, and its content the value, without
    /// the newline at its end; at most 64 KiB of UTF-8.
    #[schemars(with = "String", length(min = 1))]
    pub path: PathBuf,
}

/// A place that names a secret.
#[derive(Clone)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) at: Position,
}

/// The secrets of a configuration: who names them, and what was found. Equal where the same was found.
#[derive(Clone, Default)]
pub struct Secrets {
    pub(crate) references: Vec<Reference>,
    found: BTreeMap<String, Secret>,
}

/// A secret is needed that was never looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret `{0}` was not looked up")]
pub struct NotLookedUp(pub String);

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        self.found == other.found
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.found.keys()).finish()
    }
}

impl Secrets {
    pub(crate) fn named(references: Vec<Reference>) -> Self {
        Self { references, found: BTreeMap::new() }
    }

    /// The names that the configuration has references to.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.references.iter().map(|reference| reference.name.as_str()).collect()
    }

    /// What was found, by name.
    #[must_use]
    pub fn found(&self) -> &BTreeMap<String, Secret> {
        &self.found
    }

    /// What the secrets hold that some settings name.
    #[must_use]
    pub fn named_in<'a>(&'a self, value: &Value) -> Vec<&'a str> {
        match value {
            Value::String(text) => {
                let pieces = template::pieces(text).unwrap_or_default();
                let found = pieces.into_iter().filter_map(|piece| match piece {
                    Piece::Secret(name) => self.found.get(name),
                    Piece::Text(_) => None,
                });
                found.map(Secret::expose).collect()
            }
            Value::Array(items) => items.iter().flat_map(|item| self.named_in(item)).collect(),
            Value::Object(entries) => entries.values().flat_map(|entry| self.named_in(entry)).collect(),
            _ => Vec::new(),
        }
    }

    /// Puts secrets into a text. What a secret holds is never looked at for references.
    ///
    /// # Errors
    /// It names one that was not looked up.
    pub fn text(&self, text: &str) -> Result<Secret, NotLookedUp> {
        // Every text was checked when the configuration was read: one that is not well-formed is not where secrets may stand.
        let Ok(pieces) = template::pieces(text) else { return Ok(text.to_owned().into()) };
        let parts = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Ok(*text),
            Piece::Secret(name) => {
                self.found.get(*name).map(Secret::expose).ok_or_else(|| NotLookedUp((*name).to_owned()))
            }
        });
        let parts = parts.collect::<Result<Vec<&str>, _>>()?;
        // Room for all of it at once: a buffer that grows leaves its beginnings behind.
        let mut whole = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| whole.push_str(part));
        Ok(whole.into())
    }

    /// Puts secrets into every text of some settings.
    ///
    /// # Errors
    /// One names a secret that was not looked up.
    pub fn value(&self, value: &Value) -> Result<SecretValue, NotLookedUp> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?.expose().to_owned()).into(),
            Value::Array(items) => {
                let items = items.iter().map(|item| Ok(self.value(item)?.into_exposed()));
                Value::Array(items.collect::<Result<_, _>>()?).into()
            }
            Value::Object(entries) => {
                let entries =
                    entries.iter().map(|(key, entry)| Ok((key.clone(), self.value(entry)?.into_exposed())));
                Value::Object(entries.collect::<Result<_, _>>()?).into()
            }
            plain => plain.clone().into(),
        })
    }
}

impl Config {
    /// The configuration with what its references name. `look_up` is asked for each name once, and says where it has looked
    /// when it has not found anything. `source` is what the configuration was read from.
    ///
    /// # Errors
    /// Each place that names a secret which is not there.
    pub fn with_secrets(
        mut self,
        source: &Source,
        mut look_up: impl FnMut(&str) -> Result<Secret, String>,
    ) -> Result<Self, Problems> {
        let looked_up: BTreeMap<String, Result<Secret, String>> =
            self.found.names().into_iter().map(|name| (name.to_owned(), look_up(name))).collect();
        let mut problems = Collector::default();
        let mut bytes = 0usize;
        for Reference { name, path, at } in &self.found.references {
            match looked_up.get(name) {
                Some(Ok(secret)) => bytes = bytes.saturating_add(secret.expose().len()),
                Some(Err(why)) => {
                    let message = format!("there is no secret `{name}`: {why}");
                    problems.invalid(*at, path.as_str(), message, None);
                }
                None => {}
            }
            if bytes > MOST_BYTES {
                let message = "all secrets together, each as often as it is named, have more than 64 MiB";
                problems.invalid(*at, path.as_str(), message, None);
                break;
            }
        }
        if !problems.is_empty() {
            return Err(problems.finish(&source.name));
        }
        self.found.found =
            looked_up.into_iter().filter_map(|(name, found)| Some((name, found.ok()?))).collect();
        Ok(self)
    }
}
