//! Rules by principal.
//!
//! Few rules lie side by side and are looked through: of a hundred thousand namespaces nearly all have few, and what a
//! decision costs there is how many places in memory it reads that no cache has. Of many rules, a principal as it is written is one
//! look-up; patterns are found by what is in front of their first `*`: one look-up for each distinct length of that, however
//! many patterns there are, and then those that begin alike.

use foldhash::HashMap;
use prism_config::{AccessRule, Pattern, PatternError};
use smallvec::SmallVec;

/// Rules that are looked through: as many as take no longer than the look-ups would.
const FEW: usize = 16;

/// Rules by their principals.
pub(super) enum Index {
    Few(Few),
    Many(Many),
}

impl Index {
    /// Of rules, in their order.
    ///
    /// # Errors
    /// A principal is no pattern; and which rule's.
    pub(super) fn new(rules: &[AccessRule]) -> Result<Self, (usize, PatternError)> {
        let parse = |(place, rule): (usize, &AccessRule)| -> Result<Pattern, (usize, PatternError)> {
            rule.principal.parse().map_err(|error| (place, error))
        };
        let patterns = rules.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok(if patterns.len() <= FEW {
            Self::Few(Few::new(&patterns))
        } else {
            Self::Many(Many::new(patterns))
        })
    }

    /// The first rule found that is about this principal and `wanted`. In no order.
    pub(super) fn find(&self, principal: &str, wanted: impl FnMut(usize) -> bool) -> Option<usize> {
        match self {
            Self::Few(few) => few.find(principal, wanted),
            Self::Many(many) => many.find(principal, wanted),
        }
    }
}

/// Patterns, end to end.
pub(super) struct Few {
    /// Where each ends.
    ends: SmallVec<[u16; FEW]>,
    text: Box<[u8]>,
}

impl Few {
    fn new(patterns: &[Pattern]) -> Self {
        let mut text = Vec::new();
        let end = |pattern: &Pattern| {
            text.extend_from_slice(pattern.encoded());
            // Sixteen patterns of 512 bytes at most.
            u16::try_from(text.len()).unwrap_or(u16::MAX)
        };
        let ends = patterns.iter().map(end).collect();
        Self { ends, text: text.into() }
    }

    fn find(&self, principal: &str, mut wanted: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut begin = 0;
        for (place, end) in self.ends.iter().enumerate() {
            let end = usize::from(*end);
            let pattern = self.text.get(begin..end).unwrap_or_default();
            begin = end;
            if Pattern::matches_encoded(pattern, principal) && wanted(place) {
                return Some(place);
            }
        }
        None
    }
}

/// Places of rules, in their order: mostly one.
type Places = SmallVec<[u32; 2]>;

/// Patterns by what is in front of their first `*`, each with its rule's place: mostly one.
type ByPrefix = HashMap<Box<str>, SmallVec<[(Pattern, u32); 1]>>;

/// Patterns by look-ups.
// Not std's hasher: callers look up what they like, but only the configuration puts anything in.
#[derive(Default)]
pub(super) struct Many {
    exact: HashMap<Box<str>, Places>,
    /// By that prefix's length, the shortest first.
    patterns: Vec<(usize, ByPrefix)>,
}

impl Many {
    fn new(patterns: Vec<Pattern>) -> Self {
        let mut many = Self::default();
        for (place, pattern) in patterns.into_iter().enumerate() {
            // A document has no more bytes than that.
            many.add(pattern, u32::try_from(place).unwrap_or(u32::MAX));
        }
        many
    }

    fn add(&mut self, pattern: Pattern, place: u32) {
        let prefix = pattern.prefix();
        if pattern.is_literal() {
            self.exact.entry(prefix.into()).or_default().push(place);
            return;
        }
        let at = match self.patterns.binary_search_by_key(&prefix.len(), |(length, _)| *length) {
            Ok(at) => at,
            Err(at) => {
                self.patterns.insert(at, (prefix.len(), HashMap::default()));
                at
            }
        };
        self.patterns[at].1.entry(prefix.into()).or_default().push((pattern, place));
    }

    fn find(&self, principal: &str, mut wanted: impl FnMut(usize) -> bool) -> Option<usize> {
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
