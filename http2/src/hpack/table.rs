//! The dynamic table of a decoder (RFC 7541 section 2.3.2), together with the static one.

use std::collections::VecDeque;

use super::{HpackError, INITIAL_TABLE, entry::Entry, static_table};

pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: INITIAL_TABLE }
    }

    /// RFC 7541 section 2.3.3: "Indices strictly greater than the sum of the lengths of both tables MUST be treated as a
    /// decoding error", and so, by section 6.1, must zero.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Result<&Entry, HpackError> {
        let nth = index.wrapping_sub(1);
        match static_table::ENTRIES.get(nth) {
            Some(entry) => Ok(entry),
            None => self.entries.get(nth.wrapping_sub(static_table::ENTRIES.len())).ok_or(HpackError::Index),
        }
    }

    /// RFC 7541 section 4.4: "an attempt to add an entry larger than the maximum size causes the table to be emptied of all
    /// existing entries and results in an empty table."
    pub(super) fn insert(&mut self, entry: Entry) {
        self.evict(self.limit.saturating_sub(entry.size));
        if entry.size <= self.limit {
            self.size += entry.size;
            self.entries.push_front(entry);
        }
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    /// Takes the oldest entries away until the others are no larger than `limit` together.
    fn evict(&mut self, limit: usize) {
        while self.size > limit
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.size)
    }
}
