//! Values that cannot be printed and are wiped when nobody needs them any more.

use std::{
    borrow::Cow,
    fmt,
    hash::{Hash, Hasher},
    mem,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    redact::{self, REDACTED},
    schema::SECRET,
};

/// A text that is nobody's to see. Printed or serialized, it is `<redacted>`, or the reference that it was written as
/// (`{{ secret:NAME }}`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text in clear, for whoever needs it to work.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown of it.
    fn shown(&self) -> Cow<'_, str> {
        redact::secret(&self.0)
    }
}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", SECRET: true })
    }
}

/// Settings with secrets in them. Never printed; their texts are wiped when they are dropped.
#[derive(Clone, Default, PartialEq)]
pub struct SecretValue(Value);

impl SecretValue {
    /// The settings in clear.
    #[must_use]
    pub fn expose(&self) -> &Value {
        &self.0
    }

    /// The settings in clear, for an owner that wipes them itself.
    #[must_use]
    pub fn into_exposed(mut self) -> Value {
        mem::take(&mut self.0)
    }

    /// As one text in which equal settings are equal: serde_json keeps object keys sorted.
    #[must_use]
    pub fn to_text(&self) -> Secret {
        self.0.to_string().into()
    }
}

impl From<Value> for SecretValue {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// As deep as a document may be.
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
    use serde_json::json;

    #[test]
    fn a_secret_shows_nothing_but_where_it_is_from() {
        let secret = Secret::from("hunter2".to_owned());
        let told = format!("{secret} {secret:?} {:?} {}", Some(&secret), json!({ "a": secret }));
        assert!(!told.contains("hunter2") && told.contains(REDACTED), "{told}");
        assert_eq!(secret.expose(), "hunter2");
        let reference = Secret::from("{{secret:a}}".to_owned());
        assert_eq!(reference.to_string(), "{{ secret:a }}");
        let both = Secret::from("hunter2{{secret:a}}".to_owned());
        assert_eq!(both.to_string(), REDACTED);
        let value = SecretValue::from(json!({ "a": "hunter2" }));
        assert_eq!(format!("{value:?}"), REDACTED);
    }
}
