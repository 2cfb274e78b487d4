//! What an answer is worth.

use super::{
    super::{Bad, strict_json},
    Settings,
};
use crate::{Credential, Method};
use prism_platform::time::Instant;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime};

impl Settings {
    /// What an answer is worth. The outer error is the server's: what it says makes no sense.
    pub(super) fn read(
        &self,
        answer: &[u8],
        now: SystemTime,
    ) -> Result<Result<(Credential, SystemTime), Bad>, String> {
        let nonsense = |what: &str| format!("introspection: the answer {what}");
        let claims =
            strict_json::object(answer).map_err(|fault| nonsense(&format!("is no JSON object: {fault}")))?;
        match claims.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(Err(Bad::new("the token is not active, says its issuer"))),
            _ => return Err(nonsense("does not say whether the token is active")),
        }
        Ok(self.weigh(claims, now))
    }

    fn weigh(&self, claims: Map<String, Value>, now: SystemTime) -> Result<(Credential, SystemTime), Bad> {
        let of = |audience: &Value| {
            audience.as_str().is_some_and(|audience| self.audiences.iter().any(|it| it == audience))
        };
        match claims.get("iss") {
            None => {}
            Some(Value::String(issuer)) if *issuer == self.issuer => {}
            Some(_) => return Err(Bad::new("the token is of another issuer")),
        }
        match claims.get("aud") {
            Some(Value::Array(audiences)) if audiences.iter().any(of) => {}
            Some(audience) if of(audience) => {}
            Some(_) => return Err(Bad::new("the token is for another audience")),
            None => return Err(Bad::new("the token is for nobody in particular: the answer has no `aud`")),
        }
        let time = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|seconds| *seconds < 253_402_300_800) {
                Some(seconds) => Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))),
                None => Err(Bad::new(format!("the answer's `{name}` is no time"))),
            },
        };
        let again = now + self.remember.get();
        let end = time("exp")?;
        if end.is_some_and(|end| end <= now) {
            return Err(Bad::new("the token has expired"));
        }
        if time("nbf")?.is_some_and(|start| start > now) {
            return Err(Bad::new("the token is not valid yet"));
        }
        let Some(subject) = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty())
        else {
            return Err(Bad::new("the answer has no `sub`"));
        };
        let name = format!("{}:{subject}", self.issuer);
        let credential =
            Credential::new(Method::OAuth2, &name).map_err(|error| Bad::new(error.to_string()))?;
        let left = end.map(|end| end.duration_since(now).unwrap_or_default());
        let until = left.and_then(|left| Instant::now().checked_add(left));
        let credential = credential.with_claims(claims);
        let credential = match until {
            Some(until) => credential.until(until),
            None => credential,
        };
        Ok((credential, end.map_or(again, |end| end.min(again))))
    }
}
