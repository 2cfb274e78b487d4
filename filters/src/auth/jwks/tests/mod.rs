//! Key sets, good and bad, and where they come from.

mod documents;
mod file;
mod url;

use super::*;
use crate::auth::jwt::tests::issuer::{Issuer, base64};
use serde_json::{Value, json};

fn named(issuer: &Issuer, algorithm: Algorithm, id: &str) -> Value {
    let mut key = issuer.jwk(algorithm);
    key["kid"] = id.into();
    key
}

fn document(keys: &[Value]) -> String {
    json!({"keys": keys}).to_string()
}
