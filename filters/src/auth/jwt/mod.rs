//! JSON web tokens (RFC 7519), read as RFC 8725 asks for it: what can be read in two ways is refused, and a token says
//! nothing about how it is to be checked that the issuer's key does not say as well.
//!
//! Signatures are checked with `ring`; all else is here (docs/decisions.md).

mod claims;
mod header;
mod refused;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod verifier;

pub use super::jwks::Algorithm;
pub use refused::{Part, Refused};
pub use settings::Settings;
pub(in crate::auth) use verifier::claimed_issuer;
pub use verifier::{MOST_HEADER, MOST_TOKEN, Verifier};
