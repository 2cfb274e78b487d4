//! A token's claims (RFC 7519 section 4.1): which have to be there, of which type, and what they have to say.

use super::{Part, Refused, Settings};
use crate::auth::strict_json;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write. What is beyond is no time but a trick or a unit mistaken.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// Claims that were found good.
pub(super) struct Claims {
    pub(super) all: Map<String, Value>,
    /// Up to when the token is accepted, leeway included.
    pub(super) end: SystemTime,
    /// From when on it is, leeway included.
    pub(super) start: SystemTime,
}

impl Claims {
    /// Reads and judges them, decoded.
    pub(super) fn read(bytes: &[u8], settings: &Settings, now: SystemTime) -> Result<Self, Refused> {
        let all = strict_json::object(bytes).map_err(|fault| Refused::Json(Part::Claims, fault))?;
        match all.get("iss").ok_or(Refused::Missing("iss"))? {
            Value::String(issuer) if *issuer == settings.issuer => {}
            Value::String(_) => return Err(Refused::WrongIssuer),
            _ => return Err(Refused::Type("iss")),
        }
        if !is_for(all.get("aud").ok_or(Refused::Missing("aud"))?, &settings.audiences)? {
            return Err(Refused::WrongAudience);
        }
        match all.get("sub").ok_or(Refused::Missing("sub"))? {
            Value::String(subject) if subject.is_empty() => return Err(Refused::Range("sub")),
            Value::String(_) => {}
            _ => return Err(Refused::Type("sub")),
        }
        let leeway = settings.leeway.get();
        // "The processing of the exp claim requires that the current date/time MUST be before the expiration date/time"
        // (RFC 7519 section 4.1.4).
        let end = time(&all, "exp")?.ok_or(Refused::Missing("exp"))? + leeway;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now >= end {
            return Err(Refused::Expired);
        }
        // "The current date/time MUST be after or equal to the not-before date/time" (section 4.1.5).
        let start = time(&all, "nbf")?.unwrap_or_default().saturating_sub(leeway);
        if now < start {
            return Err(Refused::NotYetValid);
        }
        time(&all, "iat")?;
        Ok(Self { all, end: UNIX_EPOCH + end, start: UNIX_EPOCH + start })
    }

    /// Whose they are, by the issuer's name for him.
    pub(super) fn subject(&self) -> &str {
        self.all.get("sub").and_then(Value::as_str).unwrap_or_default()
    }
}

/// "In the general case, the aud value is an array of case-sensitive strings [...]. In the special case when the JWT has one
/// audience, the aud value MAY be a single case-sensitive string" (RFC 7519 section 4.1.3).
fn is_for(claim: &Value, audiences: &[String]) -> Result<bool, Refused> {
    let one = |claim: &Value| match claim {
        Value::String(audience) => Ok(audiences.contains(audience)),
        _ => Err(Refused::Type("aud")),
    };
    match claim {
        Value::Array(claims) => claims.iter().try_fold(false, |found, claim| Ok(found | one(claim)?)),
        claim => one(claim),
    }
}

/// "A JSON numeric value representing the number of seconds from 1970-01-01T00:00:00Z UTC [...], in which [...]
/// non-integer values can be represented" (RFC 7519 section 2, NumericDate).
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Duration>, Refused> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = claim else { return Err(Refused::Type(name)) };
    let time = match (number.as_u64(), number.as_f64()) {
        (Some(seconds), _) => Some(Duration::from_secs(seconds)),
        (None, Some(seconds)) => Duration::try_from_secs_f64(seconds).ok(),
        (None, None) => None,
    };
    time.filter(|time| *time <= LAST_SECOND).map(Some).ok_or(Refused::Range(name))
}
