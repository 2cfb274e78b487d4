//! A set of keys (RFC 7517 section 5).

use super::{
    algorithm::Algorithm,
    key::{Key, Unusable},
};
use crate::auth::strict_json::{self, Fault};
use serde_json::Value;
use std::{fmt, sync::Arc};

/// The largest document, in bytes. A key with its certificates takes 5 KiB at most, and an issuer has a handful.
pub const MOST_BYTES: usize = 256 << 10;

/// The most keys of one set: what an unknown name costs to look up is bounded by it.
pub const MOST_KEYS: usize = 100;

/// The keys that are in use at one time.
pub struct KeySet(Vec<Arc<Key>>);

/// Why a document is no key set that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// Above [`MOST_BYTES`].
    #[error("it is above {} KiB; is it the right document?", MOST_BYTES >> 10)]
    TooLarge,
    /// No JSON object, or one that can be read in several ways.
    #[error("it is no key set: {0}")]
    Json(#[from] Fault),
    /// It has no list `keys`.
    #[error("it is no key set: it has no list `keys` (RFC 7517 section 5)")]
    NoKeys,
    /// It has more keys than [`MOST_KEYS`].
    #[error("it has more than {MOST_KEYS} keys")]
    TooMany,
    /// None of its keys can be used.
    #[error("none of its {} keys can be used: {}", .0.len(), reasons(.0))]
    NoneUsable(Vec<(usize, Unusable)>),
}

fn reasons(unused: &[(usize, Unusable)]) -> String {
    let said: Vec<_> = unused.iter().map(|(place, why)| format!("key {place}: {why}")).collect();
    said.join("; ")
}

/// Why no key of a set fits a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// No key has that name.
    Unknown,
    /// The key of that name, or every key, is for other algorithms.
    Algorithm,
    /// The token names none, and several would do.
    NotNamed,
}

impl KeySet {
    /// Reads a document, and says which of its keys, counted from 1, are left out. What has to be there in an issuer's
    /// document is not ours to say, so one strange key is no reason to do without the others.
    ///
    /// # Errors
    /// [`KeySetError`]
    pub fn read(document: &[u8]) -> Result<(Self, Vec<(usize, Unusable)>), KeySetError> {
        if document.len() > MOST_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let object = strict_json::object(document)?;
        let Some(Value::Array(list)) = object.get("keys") else { return Err(KeySetError::NoKeys) };
        if list.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        let (mut keys, mut unused) = (Vec::<Arc<Key>>::new(), Vec::new());
        for (place, jwk) in (1..).zip(list) {
            match Key::read(jwk) {
                Ok(key) if keys.iter().any(|other| other.collides(&key)) => {
                    unused.push((place, Unusable::Duplicate));
                }
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => unused.push((place, why)),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable(unused));
        }
        Ok((Self(keys), unused))
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.0.iter()
    }

    /// The key that a token means.
    pub(crate) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Arc<Key>, NoKey> {
        let Some(id) = id else {
            let mut fitting = self.0.iter().filter(|key| key.takes(algorithm));
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) => Ok(key),
                (None, _) => Err(NoKey::Algorithm),
                // Each could be tried, and a stranger's token would then cost as many checks as there are keys.
                (Some(_), Some(_)) => Err(NoKey::NotNamed),
            };
        };
        let mut named = self.0.iter().filter(|key| key.id() == Some(id)).peekable();
        if named.peek().is_none() {
            return Err(NoKey::Unknown);
        }
        named.find(|key| key.takes(algorithm)).ok_or(NoKey::Algorithm)
    }

    /// This set with the other's keys where they are the same, so that what they have signed stays known.
    pub(crate) fn keeping(mut self, other: &Self) -> Self {
        for key in &mut self.0 {
            if let Some(known) = other.0.iter().find(|known| known.same(key)) {
                *key = Arc::clone(known);
            }
        }
        self
    }

    /// Whether a set that was made by [`KeySet::keeping`] this one's keys has no others.
    pub(crate) fn same(&self, later: &Self) -> bool {
        self.0.len() == later.0.len() && self.0.iter().all(|key| later.has(key))
    }

    fn has(&self, key: &Arc<Key>) -> bool {
        self.0.iter().any(|own| Arc::ptr_eq(own, key))
    }

    /// Ends the keys that the later set has not.
    pub(crate) fn retire_all_but(&self, later: &Self) {
        for key in &self.0 {
            if !later.has(key) {
                key.retire();
            }
        }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}
