//! Keys, values, expiries and their bound. Knows no clock and never waits: the time is handed in.

use crate::{
    Config,
    watch::{Watcher, Watchers},
};
use bytes::Bytes;
use prism_plugin_sdk::{
    abi::{Code, Error},
    kv::{Condition, EventKind, Found, Page},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};
use tokio::time::Instant;

/// How many expired keys one sweep removes: microseconds of work, so that the lock is never held for long.
const SWEEP: usize = 256;

struct Item {
    value: Bytes,
    expires: Option<Instant>,
}

pub(crate) struct Store {
    config: Config,
    items: BTreeMap<Arc<str>, Item>,
    expiries: BTreeSet<(Instant, Arc<str>)>,
    bytes: usize,
    watchers: Watchers,
}

/// What a `set` did.
pub(crate) struct Stored {
    pub(crate) applied: bool,
    /// Its expiry is now the earliest.
    pub(crate) earliest: bool,
}

impl Store {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            items: BTreeMap::new(),
            expiries: BTreeSet::new(),
            bytes: 0,
            watchers: Watchers::default(),
        }
    }

    /// Keys and bytes.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.items.len(), self.bytes)
    }

    pub(crate) fn watchers(&self) -> usize {
        self.watchers.len()
    }

    pub(crate) fn get(&mut self, key: &str, now: Instant) -> Option<Found> {
        self.expire(key, now);
        let item = self.items.get(key)?;
        Some(Found {
            value: item.value.clone(),
            ttl: item.expires.map(|at| at.saturating_duration_since(now)),
        })
    }

    pub(crate) fn set(
        &mut self,
        key: &str,
        value: Bytes,
        expires: Option<Instant>,
        condition: Condition,
        now: Instant,
    ) -> Result<Stored, Error> {
        self.expire(key, now);
        let present = self.items.contains_key(key);
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => !present,
            Condition::IfPresent => present,
        };
        if !holds {
            return Ok(Stored { applied: false, earliest: false });
        }
        self.make_room(key, &value, now)?;
        let key: Arc<str> = match self.take(key) {
            Some((key, _)) => key,
            None => key.into(),
        };
        self.bytes += cost(&key, &value);
        let mut earliest = false;
        if let Some(at) = expires {
            earliest = self.expiries.first().is_none_or(|(first, _)| at < *first);
            self.expiries.insert((at, key.clone()));
        }
        self.watchers.tell(EventKind::Put, &key, &value);
        self.items.insert(key, Item { value, expires });
        Ok(Stored { applied: true, earliest })
    }

    /// Whether it was there.
    pub(crate) fn delete(&mut self, key: &str, now: Instant) -> bool {
        self.expire(key, now);
        let taken = self.take(key);
        if let Some((key, _)) = &taken {
            self.watchers.tell(EventKind::Delete, key, &Bytes::new());
        }
        taken.is_some()
    }

    pub(crate) fn scan(&self, prefix: &str, page_size: usize, after: Option<&str>, now: Instant) -> Page {
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut alive = self
            .items
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, item)| item.expires.is_none_or(|at| at > now));
        let keys: Vec<String> = alive.by_ref().take(page_size).map(|(key, _)| key.to_string()).collect();
        let next = alive.next().and(keys.last()).map(|last| last.clone().into_bytes());
        Page { keys, next }
    }

    pub(crate) fn watch(&mut self, prefix: String) -> Result<Watcher, Error> {
        self.watchers.add(prefix, self.config)
    }

    pub(crate) fn end_watchers(&mut self) {
        self.watchers.end(&Error::channel(Code::Unavailable, "the namespace's instance was shut down"));
    }

    /// Removes expired keys, not too many at once; says when the next one expires, or is due already.
    pub(crate) fn sweep(&mut self, now: Instant) -> Option<Instant> {
        for _ in 0..SWEEP {
            match self.expiries.first() {
                Some((at, key)) if *at <= now => {
                    let key = key.clone();
                    self.expire(&key, now);
                }
                first => return first.map(|(at, _)| *at),
            }
        }
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Removes a key whose time is over.
    fn expire(&mut self, key: &str, now: Instant) {
        if self.items.get(key).is_some_and(|item| item.expires.is_some_and(|at| at <= now)) {
            self.take(key);
            self.watchers.tell(EventKind::Expire, key, &Bytes::new());
        }
    }

    /// Takes an entry out of everything, and tells nobody.
    fn take(&mut self, key: &str) -> Option<(Arc<str>, Item)> {
        let (key, item) = self.items.remove_entry(key)?;
        self.bytes -= cost(&key, &item.value);
        if let Some(at) = item.expires {
            self.expiries.remove(&(at, key.clone()));
        }
        Some((key, item))
    }

    /// Fails when the store would be too full with this entry, even without what has expired.
    fn make_room(&mut self, key: &str, value: &Bytes, now: Instant) -> Result<(), Error> {
        let need = cost(key, value);
        let freed = self.items.get(key).map_or(0, |item| cost(key, &item.value));
        while self.bytes - freed + need > self.config.max_bytes {
            let before = self.bytes;
            self.sweep(now);
            if self.bytes == before {
                return Err(Error::operation(
                    Code::ResourceExhausted,
                    format!(
                        "the memory backend is full: {} of {} bytes are used and {need} are needed; delete keys, \
                         give them a ttl, or raise `max_bytes` in the namespace's config",
                        self.bytes, self.config.max_bytes
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn cost(key: &str, value: &Bytes) -> usize {
    key.len() + value.len() + Config::OVERHEAD
}
