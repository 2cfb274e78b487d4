//! Rules by principal. A principal as it is written is one look-up; patterns are found by what is in front of their first
//! `*`: one look-up for each distinct length of that, however many patterns there are, and then those that begin alike.

use foldhash::HashMap;
use prism_config::{Pattern, PatternError};
use smallvec::SmallVec;

/// Places of rules, in their order: mostly one.
type Places = SmallVec<[u32; 2]>;

/// Patterns by what is in front of their first `*`, each with its rule's place.
type ByPrefix = HashMap<Box<str>, Vec<(Pattern, u32)>>;

/// Rules by their principals.
// Not std's hasher: callers look up what they like, but only the configuration puts anything in.
#[derive(Default)]
pub(super) struct Index {
    exact: HashMap<Box<str>, Places>,
    /// By that prefix's length, the shortest first.
    patterns: Vec<(usize, ByPrefix)>,
}

impl Index {
    /// Adds the rule at `place`. Rules come in their order.
    pub(super) fn add(&mut self, principal: &str, place: usize) -> Result<(), PatternError> {
        let pattern: Pattern = principal.parse()?;
        // A document has no more bytes than that.
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        if pattern.is_literal() {
            self.exact.entry(principal.into()).or_default().push(place);
            return Ok(());
        }
        let prefix = pattern.prefix();
        let at = match self.patterns.binary_search_by_key(&prefix.len(), |(length, _)| *length) {
            Ok(at) => at,
            Err(at) => {
                self.patterns.insert(at, (prefix.len(), HashMap::default()));
                at
            }
        };
        self.patterns[at].1.entry(prefix.into()).or_default().push((pattern, place));
        Ok(())
    }

    /// The first rule found that is about this principal and `wanted`. In no order.
    pub(super) fn find(&self, principal: &str, mut wanted: impl FnMut(usize) -> bool) -> Option<usize> {
        let exact = self.exact.get(principal).into_iter().flatten();
        if let Some(place) = exact.map(|place| *place as usize).find(|place| wanted(*place)) {
            return Some(place);
        }
        for (length, patterns) in &self.patterns {
            if *length > principal.len() {
                break;
            }
            // Principals are ASCII: it is there.
            let alike =
                principal.get(..*length).and_then(|prefix| patterns.get(prefix)).into_iter().flatten();
            for (pattern, place) in alike {
                let place = *place as usize;
                if pattern.matches(principal) && wanted(place) {
                    return Some(place);
                }
            }
        }
        None
    }
}
