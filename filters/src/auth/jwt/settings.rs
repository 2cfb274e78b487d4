//! Settings of the method `jwt`.

use crate::auth::jwks::{self, Algorithm};
use prism_config::{Duration, SettingProblem};
use schemars::JsonSchema;
use serde::Deserialize;

/// Accepts JSON web tokens (RFC 7519) that one issuer has signed. The principal is `jwt:ISSUER:SUBJECT`; the claims are
/// there for rules.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Jwt")]
pub struct Settings {
    /// Who issues the tokens: their `iss`, compared as a whole.
    pub issuer: String,
    /// Who a token has to be for: one of them has to be its `aud`, or in it. At least one, because a token that any service
    /// takes lets every service act as its caller elsewhere.
    #[schemars(length(min = 1))]
    pub audiences: Vec<String>,
    /// The issuer's keys.
    pub jwks: jwks::Settings,
    /// The algorithms that are accepted. By default those of the keys: each key is used with its own, or those of its type if
    /// it names none. Never one with a shared secret, and never none.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// How far this clock and the issuer's may be apart: a token is accepted that long after its `exp` and before its `nbf`.
    /// 30 s by default, which hosts with synchronized clocks never need; 5 minutes at most.
    #[serde(default = "leeway")]
    pub leeway: Duration,
    /// What kind of token it has to be: its header's `typ`, such as `at+jwt` for access tokens (RFC 9068). Set it if the
    /// issuer signs tokens of several kinds with the same keys. By default any.
    #[serde(default)]
    #[schemars(with = "String")]
    pub typ: Option<String>,
    /// How many accepted tokens are remembered until they expire, so that their signatures are checked once; 0 remembers
    /// none. 10,000 by default, of which each takes 5 KiB if it has forty roles in it. Choose twice as many as are in use at a
    /// time.
    #[serde(default = "cache_size")]
    #[schemars(range(max = 1_000_000))]
    pub cache_size: u32,
}

const fn leeway() -> Duration {
    Duration::seconds(30)
}

const fn cache_size() -> u32 {
    10_000
}

impl Settings {
    /// What is wrong with them that the schema does not see.
    #[must_use]
    pub fn check(&self) -> Vec<SettingProblem> {
        let mut problems = self.jwks.check("jwks");
        let mut wrong = |key, message: &str, hint: &str| {
            problems.push(SettingProblem::new(key, message).hint(hint));
        };
        if !(1..=256).contains(&self.issuer.len()) {
            wrong("issuer", "an issuer has 1 to 256 bytes", "what the tokens have as `iss`");
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            wrong("audiences", "a token has to be for somebody", "the name of this service at the issuer");
        }
        if self.leeway.get().as_secs() > 300 {
            wrong("leeway", "more than 5 minutes is no difference between clocks", "such as `30s`");
        }
        if self.typ.as_ref().is_some_and(String::is_empty) {
            wrong("typ", "an empty type is none", "such as `at+jwt`, or leave it out");
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(more: &Value) -> Result<Settings, String> {
        let mut settings =
            json!({"issuer": "https://id.example", "audiences": ["a"], "jwks": {"file": "keys.json"}});
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => drop(settings.as_object_mut().unwrap().remove(name)),
                value => settings[name] = value.clone(),
            }
        }
        serde_json::from_value(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_safe() {
        let settings = read(&json!({})).unwrap();
        assert_eq!(settings.check(), []);
        assert_eq!((settings.leeway.get().as_secs(), settings.cache_size), (30, 10_000));
        assert_eq!((settings.typ, settings.algorithms), (None, Vec::new()));
        let all: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
        assert_eq!(read(&json!({"algorithms": all})).unwrap().algorithms, Algorithm::ALL);
        let schema = schemars::schema_for!(Settings).to_value();
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        assert_eq!(schema["required"], json!(["issuer", "audiences", "jwks"]));
    }

    #[test]
    fn what_protects_nothing_is_refused() {
        for (settings, said) in [
            (json!({"issuer": null}), "missing field `issuer`"),
            (json!({"issuer": ["https://id.example"]}), "invalid type"),
            (json!({"audiences": null}), "missing field `audiences`"),
            (json!({"jwks": null}), "missing field `jwks`"),
            (json!({"algorithms": ["none"]}), "unknown variant `none`"),
            (json!({"algorithms": ["HS256"]}), "unknown variant `HS256`"),
            (json!({"algorithms": ["rs256"]}), "unknown variant `rs256`"),
            (json!({"validate_exp": false}), "unknown field"),
            (json!({"secret": "s3cret"}), "unknown field"),
        ] {
            let refused = read(&settings).unwrap_err();
            assert!(refused.contains(said), "{settings}: {refused}");
        }
        for (settings, key) in [
            (json!({"issuer": ""}), "issuer"),
            (json!({"issuer": "i".repeat(257)}), "issuer"),
            (json!({"audiences": []}), "audiences"),
            (json!({"audiences": ["a", ""]}), "audiences"),
            (json!({"jwks": {}}), "jwks"),
            (json!({"jwks": {"url": "http://id.example"}}), "jwks"),
            (json!({"leeway": "301s"}), "leeway"),
            (json!({"typ": ""}), "typ"),
        ] {
            let problems = read(&settings).unwrap().check();
            assert_eq!(problems.iter().map(|problem| problem.key).collect::<Vec<_>>(), [key], "{settings}");
        }
    }
}
