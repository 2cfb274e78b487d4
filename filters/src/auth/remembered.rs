//! Tokens that were accepted, until they expire.
//!
//! A fixed number of places in sets of four, each an atomic pointer: whoever looks a token up takes no lock and allocates
//! nothing, and whoever adds one takes a free place of its set or that of the token that ends first. It holds no more than
//! it has places for, and no more can be made of it from outside: only tokens that were accepted get in.

use crate::{Credential, clock::Moment};
use arc_swap::ArcSwapOption;
use prism_platform::Platform;
use std::{
    hash::{DefaultHasher, Hasher},
    sync::Arc,
    time::SystemTime,
};

/// Places of one set.
const WAYS: usize = 4;

/// The bytes at a token's end that its place is chosen by: they are of its signature, which differs where anything does.
/// All of the token is compared then.
const TAIL: usize = 64;

pub(in crate::auth) struct Cache {
    places: Box<[ArcSwapOption<Entry>]>,
    sets: usize,
    /// SipHash over a secret. A stranger's guesses at a token are not compared with it unless they have its 64 bits, so that the
    /// time that takes tells nothing about how good a guess was.
    seeded: DefaultHasher,
}

pub(in crate::auth) struct Entry {
    pub(in crate::auth) credential: Arc<Credential>,
    pub(in crate::auth) start: SystemTime,
    pub(in crate::auth) end: SystemTime,
    hash: u64,
    token: Box<[u8]>,
}

impl Entry {
    pub(in crate::auth) fn new(
        token: &[u8],
        credential: Arc<Credential>,
        start: SystemTime,
        end: SystemTime,
    ) -> Self {
        Self { credential, start, end, hash: 0, token: token.into() }
    }

    /// By both clocks: the time of day may be set, and the other stands still while a machine sleeps.
    fn is_good(&self, now: Moment) -> bool {
        now.wall >= self.start
            && now.wall < self.end
            && self.credential.stands()
            && self.credential.expires().is_none_or(|end| now.at < end)
    }
}

impl Cache {
    /// With room for `size` tokens, rounded up to whole sets; for none if it is 0.
    pub(in crate::auth) fn new(size: u32, platform: &Platform) -> Self {
        let sets = usize::try_from(size).unwrap_or(usize::MAX).div_ceil(WAYS);
        let mut seeded = DefaultHasher::new();
        seeded.write_u64(platform.random_u64());
        seeded.write_u64(platform.random_u64());
        Self { places: (0..sets * WAYS).map(|_| ArcSwapOption::empty()).collect(), sets, seeded }
    }

    fn set_of(&self, token: &[u8]) -> (u64, &[ArcSwapOption<Entry>]) {
        let mut hasher = self.seeded.clone();
        hasher.write(&token[token.len().saturating_sub(TAIL)..]);
        let hash = hasher.finish();
        let set = usize::try_from(hash >> 32).unwrap_or_default().checked_rem(self.sets).unwrap_or_default();
        (hash, self.places.get(set * WAYS..(set + 1) * WAYS).unwrap_or_default())
    }

    /// What the very same token has proven, if that is still good.
    pub(in crate::auth) fn get(&self, token: &[u8], now: Moment) -> Option<Arc<Credential>> {
        let (hash, places) = self.set_of(token);
        places.iter().find_map(|place| {
            let entry = place.load();
            let entry = entry.as_ref()?;
            (entry.hash == hash && *entry.token == *token && entry.is_good(now))
                .then(|| Arc::clone(&entry.credential))
        })
    }

    /// Remembers what a token has proven.
    pub(in crate::auth) fn add(&self, mut entry: Entry, now: Moment) {
        let (hash, places) = self.set_of(&entry.token);
        entry.hash = hash;
        let mut best: Option<(&ArcSwapOption<Entry>, Option<SystemTime>)> = None;
        for place in places {
            let there = place.load();
            // What is of no use counts as nothing, and nothing goes first.
            let end = there
                .as_ref()
                .filter(|other| other.is_good(now) && (other.hash, &other.token) != (hash, &entry.token))
                .map(|other| other.end);
            if best.is_none_or(|(_, before)| end < before) {
                best = Some((place, end));
            }
        }
        if let Some((place, _)) = best {
            place.store(Some(Arc::new(entry)));
        }
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(in crate::auth) fn len(&self) -> usize {
        self.places.iter().filter(|place| place.load().is_some()).count()
    }
}
