//! Digests as configurations have them.

use ring::digest::{SHA256, digest};

/// The SHA-256 of a token or a key, in 64 digits.
#[must_use]
pub fn sha256(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
