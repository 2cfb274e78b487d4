//! Tokens of an issuer whose keys are here, and those of everybody else.

mod accepted;
mod cached;
pub(crate) mod issuer;
mod refused;
pub(crate) mod rsa;
mod vectors;

use super::*;
use crate::Credential;
use crate::auth::jwks::Keys;
use issuer::Issuer;
use prism_platform::Platform;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// What the clock says in these tests.
pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Claims that are in order.
pub(crate) const CLAIMS: &str =
    r#"{"iss":"https://id.example","aud":"orders","sub":"alice","exp":1800000600}"#;

#[allow(clippy::needless_pass_by_value)] // `json!` makes a new one
pub(crate) fn settings(more: Value) -> Settings {
    let mut settings = json!({
        "issuer": "https://id.example", "audiences": ["billing", "orders"], "jwks": {"file": "keys.json"},
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings: Settings = serde_json::from_value(settings).unwrap();
    assert_eq!(settings.check(), []);
    settings
}

/// A file of keys and whoever judges by it.
struct Rig {
    folder: TempDir,
    issuer: Issuer,
    verifier: Verifier,
}

/// What an algorithm's key is called here: RSA keys serve six.
fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "p256",
        Algorithm::ES384 => "p384",
        Algorithm::EdDSA => "ed",
        _ => "rsa",
    }
}

#[allow(clippy::needless_pass_by_value)] // `json!` makes a new one
fn named(issuer: &Issuer, algorithm: Algorithm, more: Value) -> Value {
    let mut key = issuer.jwk(algorithm);
    key["kid"] = name(algorithm).into();
    key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key
}

fn all_keys(issuer: &Issuer) -> Vec<Value> {
    [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
        .into_iter()
        .map(|algorithm| named(issuer, algorithm, json!({})))
        .collect()
}

impl Rig {
    fn new(more: Value) -> Self {
        let issuer = Issuer::new();
        let keys = all_keys(&issuer);
        Self::with(more, issuer, &keys)
    }

    fn with(more: Value, issuer: Issuer, keys: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, keys);
        let (settings, platform) = (settings(more), Platform::system());
        let keys = Keys::open(&settings.jwks, &platform, folder.path(), None).unwrap();
        Self { folder, issuer, verifier: Verifier::new(settings, keys, &platform) }
    }

    fn token(&self, algorithm: Algorithm, claims: &str) -> String {
        self.issuer.token(algorithm, header(algorithm), claims)
    }

    fn verify(&self, token: impl AsRef<[u8]>) -> Result<Arc<Credential>, Refused> {
        self.verifier.verify(token.as_ref(), at(NOW))
    }
}

fn header(algorithm: Algorithm) -> String {
    format!(r#"{{"alg":"{}","kid":"{}"}}"#, algorithm.name(), name(algorithm))
}

fn write(folder: &TempDir, keys: &[Value]) -> PathBuf {
    let path = folder.path().join("keys.json");
    std::fs::write(&path, json!({"keys": keys}).to_string()).unwrap();
    path
}
