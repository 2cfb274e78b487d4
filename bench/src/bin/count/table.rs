//! One line per piece of work.

use crate::figures::{Count, Figures, growth};

/// Name, instructions, allocations, and what they were.
pub(crate) fn line(name: &str, now: Count, before: Option<&Figures>) -> String {
    let known = before.and_then(|before| before.counts.get(name));
    let change = known.map_or_else(
        || "  new".to_owned(),
        |known| {
            let percent = growth(known.instructions, now.instructions) * 100.0;
            format!("{percent:+6.2} %  (allocations were {})", known.allocations)
        },
    );
    format!("{name:<46} {:>9} instructions  {:>7} allocations  {change}", now.instructions, now.allocations)
}
