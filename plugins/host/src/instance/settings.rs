//! A namespace's `config`, which may hold secrets.

use serde_json::Value;
use std::ops::Deref;
use zeroize::{Zeroize, Zeroizing};

/// A mapping, or null for none. Its texts are wiped when it is dropped. Equal where the mappings are.
#[derive(Clone, Default)]
pub struct Settings {
    value: Value,
    secrets: Vec<Zeroizing<String>>,
}

/// What is shorter is in any text by chance; to hide it would make every message unreadable, and tell what it is.
const SHORTEST_HIDDEN: usize = 4;

/// What stands in place of a secret.
const REDACTED: &str = "<redacted>";

impl Settings {
    /// With what of it is secret: no message about the instance shows it.
    pub fn with_secrets(value: Value, secrets: impl IntoIterator<Item = String>) -> Self {
        Self { value, secrets: secrets.into_iter().map(Zeroizing::new).collect() }
    }

    /// What of it is secret.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(|secret| secret.as_str())
    }
}

/// The text without any of these.
pub(super) fn without<'a>(mut text: String, secrets: impl Iterator<Item = &'a str>) -> String {
    let mut secrets: Vec<&str> = secrets.filter(|secret| secret.len() >= SHORTEST_HIDDEN).collect();
    // One can be a part of another.
    secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        if text.contains(secret) {
            text = text.replace(secret, REDACTED);
        }
    }
    text
}

impl From<Value> for Settings {
    fn from(value: Value) -> Self {
        Self::with_secrets(value, [])
    }
}

impl Deref for Settings {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        wipe(&mut self.value);
    }
}

/// As deep as a configuration may be.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(entries) => entries.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_shows_a_secret() {
        let told = "cannot log in with hunter2 and hunter22 on abc".to_owned();
        let told = without(told, ["hunter2", "hunter22", "abc", ""].into_iter());
        assert_eq!(told, "cannot log in with <redacted> and <redacted> on abc");
    }
}
