//! A token's header (RFC 7515 section 4), of which nothing is believed but how it is signed and which key's name is on it.

use super::{MOST_HEADER, Part, Refused};
use crate::auth::{
    jwks::{Algorithm, MOST_KEY_ID},
    strict_json,
};
use serde_json::{Map, Value};

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    typ: Option<String>,
}

/// Keys and places of keys, by which a token would say itself what it is to be checked with (RFC 7515 sections 4.1.2, 4.1.3,
/// 4.1.5 and 4.1.6).
const KEYS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

impl Header {
    /// Reads it, decoded.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MOST_HEADER {
            return Err(Refused::HeaderTooLong);
        }
        let mut header = strict_json::object(bytes).map_err(|fault| Refused::Json(Part::Header, fault))?;
        // "If any of the listed extension Header Parameters are not understood and supported by the recipient, then the JWS
        // is invalid" (RFC 7515 section 4.1.11), and an empty or malformed list is invalid as well.
        if header.contains_key("crit") {
            return Err(Refused::Critical);
        }
        if header.contains_key("b64") {
            return Err(Refused::Unencoded);
        }
        if header.contains_key("enc") {
            return Err(Refused::Encrypted);
        }
        if let Some(name) = KEYS.into_iter().find(|name| header.contains_key(*name)) {
            return Err(Refused::EmbeddedKey(name));
        }
        let algorithm = algorithm(&header)?;
        let key_id = match header.remove("kid") {
            None => None,
            Some(Value::String(id)) if (1..=MOST_KEY_ID).contains(&id.len()) => Some(id),
            Some(_) => return Err(Refused::KeyId),
        };
        let typ = match header.remove("typ") {
            Some(Value::String(typ)) => Some(typ),
            _ => None,
        };
        Ok(Self { algorithm, key_id, typ })
    }

    /// Whether it is of that type. RFC 7515 section 4.1.9: a media type, of which `application/` is left out, and so
    /// compared without case.
    pub(super) fn is_of(&self, wanted: &str) -> bool {
        let short = |typ: &str| match typ.split_once('/') {
            Some((kind, rest)) if kind.eq_ignore_ascii_case("application") && !rest.contains('/') => {
                rest.to_ascii_lowercase()
            }
            _ => typ.to_ascii_lowercase(),
        };
        self.typ.as_deref().is_some_and(|typ| short(typ) == short(wanted))
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, Refused> {
    let name = header.get("alg").and_then(Value::as_str).ok_or(Refused::NoAlgorithm)?;
    if let Some(algorithm) = Algorithm::named(name) {
        return Ok(algorithm);
    }
    // What tokens are forged with has reasons of its own.
    if name.eq_ignore_ascii_case("none") {
        return Err(Refused::AlgorithmNone);
    }
    let symmetric = ["HS256", "HS384", "HS512"].into_iter().any(|hmac| hmac.eq_ignore_ascii_case(name));
    Err(if symmetric { Refused::AlgorithmSymmetric } else { Refused::AlgorithmUnknown })
}
