//! Issuers' keys: JSON web key sets (RFC 7517) from a file or a URL, kept fresh in the background.
//!
//! A set that cannot be read or used leaves the keys that are in use in use. What a key has signed counts until the key
//! leaves its set ([`Key::is_retired`]).

mod algorithm;
mod fresh;
mod key;
mod set;
mod settings;
mod source;
#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use fresh::LOOK;
pub use key::{Key, MOST_KEY_ID, Unusable};
pub(crate) use set::NoKey;
pub use set::{KeySet, KeySetError, MOST_BYTES, MOST_KEYS};
pub use settings::{REFRESH, Settings};
pub use source::{Keys, KeysError, REFETCH};
