//! Streams that are over: what still comes for them is judged by how they ended.

use crate::stream::IdHasher;
use std::{
    collections::{HashSet, VecDeque},
    hash::BuildHasherDefault,
};

/// Streams that were reset from here, beyond as many as can be open: some were refused.
const MORE_RESETS: usize = 128;

/// Streams that have ended, whose peer may be told what it did wrong when it goes on.
const ENDED_KEPT: usize = 32;

pub(super) struct Past {
    /// What the peer had sent before it knew is ignored. All that are open may be reset at once.
    resets: HashSet<u32, BuildHasherDefault<IdHasher>>,
    order: VecDeque<u32>,
    most_resets: usize,
    ended: VecDeque<u32>,
}

impl Past {
    /// Of a connection that has so many streams at a time.
    pub(super) fn new(streams: u32) -> Self {
        Self {
            resets: HashSet::default(),
            order: VecDeque::new(),
            most_resets: streams as usize + MORE_RESETS,
            ended: VecDeque::new(),
        }
    }

    /// A stream is reset from here.
    pub(super) fn reset(&mut self, id: u32) {
        if !self.resets.insert(id) {
            return;
        }
        if self.order.len() == self.most_resets
            && let Some(oldest) = self.order.pop_front()
        {
            self.resets.remove(&oldest);
        }
        self.order.push_back(id);
    }

    /// A stream has ended, in whichever way.
    pub(super) fn end(&mut self, id: u32) {
        if self.ended.len() == ENDED_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
    }

    pub(super) fn was_reset(&self, id: u32) -> bool {
        self.resets.contains(&id)
    }

    pub(super) fn has_ended(&self, id: u32) -> bool {
        self.ended.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_resets_are_known_as_there_may_be_and_no_more() {
        let mut past = Past::new(100);
        for id in 0..1_000 {
            past.reset(id);
            past.reset(id);
        }
        assert!((772..1_000).all(|id| past.was_reset(id)));
        assert!((0..772).all(|id| !past.was_reset(id)));
        assert_eq!((past.resets.len(), past.order.len()), (228, 228));
    }
}
