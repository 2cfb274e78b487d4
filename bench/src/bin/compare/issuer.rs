//! Who issues the tokens of the secured peers: a key that is made for the run, and what is signed with it.

use crate::error::Error;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use prism_platform::Platform;
use ring::{
    error::Unspecified,
    rand::{SecureRandom as _, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use std::{
    sync::OnceLock,
    time::{Duration, UNIX_EPOCH},
};

/// The issuer of every token.
pub(crate) const ISSUER: &str = "https://id.compare.example";
/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "compare";
/// Who calls.
pub(crate) const SUBJECT: &str = "load-7";
/// The group that may call.
pub(crate) const GROUP: &str = "staff";

/// How long tokens are good: longer than any run.
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// RFC 8410: a PKCS#8 private key (version 1) of Ed25519 is these bytes and the seed.
const ED25519_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Tokens, and the keys that they are checked with. ES256, which every proxy here takes.
pub(crate) struct Issuer {
    /// The key set.
    pub(crate) jwks: String,
    /// A token that is let in.
    pub(crate) token: String,
    /// The same, signed with another key.
    pub(crate) forged: String,
    /// One that is good and says another group.
    pub(crate) outsider: String,
}

impl Issuer {
    /// The one of this run.
    pub(crate) fn of_this_run() -> Result<&'static Self, Error> {
        static ISSUER: OnceLock<Option<Issuer>> = OnceLock::new();
        ISSUER.get_or_init(|| Self::new().ok()).as_ref().ok_or(Error::Randomness)
    }

    fn new() -> Result<Self, Unspecified> {
        let (key, other) = (new_key()?, new_key()?);
        // RFC 7518 section 6.2.1: the coordinates are what stands in an uncompressed point behind its first byte.
        let point = key.public_key().as_ref();
        let coordinate = |from: usize| point.get(from..from + 32).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "compare",
            "x": coordinate(1), "y": coordinate(33),
        });
        Ok(Self {
            jwks: json!({ "keys": [jwk] }).to_string(),
            token: sign(&key, GROUP)?,
            forged: sign(&other, GROUP)?,
            outsider: sign(&key, "guests")?,
        })
    }
}

fn new_key() -> Result<EcdsaKeyPair, Unspecified> {
    let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)?;
    EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).map_err(|_| Unspecified)
}

/// A token with what most have in it, and a caller in two groups.
fn sign(key: &EcdsaKeyPair, group: &str) -> Result<String, Unspecified> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let now = Platform::system().wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": SUBJECT, "groups": ["everybody", group],
        "iat": now.as_secs(), "exp": (now + LIFE).as_secs(),
    });
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "compare" });
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A new Ed25519 key as OpenSSL writes it: what an audit log is signed with.
pub(crate) fn audit_key() -> Result<String, Error> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|Unspecified| Error::Randomness)?;
    let document = STANDARD.encode([&ED25519_PREFIX[..], &seed].concat());
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{document}\n-----END PRIVATE KEY-----\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    /// The signature's bytes and what they are over.
    fn parts(token: &str) -> (Vec<u8>, &[u8]) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        (URL_SAFE_NO_PAD.decode(signature).unwrap(), signed.as_bytes())
    }

    #[test]
    fn the_key_set_proves_its_own_tokens_and_not_the_forged_one() {
        let issuer = Issuer::of_this_run().unwrap();
        let jwks: Value = serde_json::from_str(&issuer.jwks).unwrap();
        let coordinate =
            |name: &str| URL_SAFE_NO_PAD.decode(jwks["keys"][0][name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        for (token, good) in [(&issuer.token, true), (&issuer.outsider, true), (&issuer.forged, false)] {
            let (signature, signed) = parts(token);
            assert_eq!(key.verify(signed, &signature).is_ok(), good);
        }
        assert_eq!(parts(&issuer.token).1.len(), parts(&issuer.forged).1.len());
    }

    #[test]
    fn every_audit_key_is_a_new_one() {
        assert_ne!(audit_key().unwrap(), audit_key().unwrap());
    }
}
