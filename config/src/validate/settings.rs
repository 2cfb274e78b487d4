//! Filters' settings, as far as a schema cannot judge them: every filter brings its own check.

use super::Context;
use crate::tree::{Node, join};

/// Checks the settings of the filter `name` that stand at `path`.
pub(super) fn check(name: &str, settings: &Node, path: &str, context: &mut Context<'_>) {
    let Some(filter) = context.registry.filters().get(name) else { return };
    for problem in (filter.check)(&settings.to_json()) {
        let mut place = join(path, problem.key);
        let mut node = settings.get(problem.key);
        if let Some(item) = problem.item {
            place.push_str(&format!("[{item}]"));
            node = node.and_then(|list| list.items().get(item));
        }
        // A default is to blame where nothing is written.
        let at = node.map_or(settings.at, |node| node.at);
        context.problems.invalid(at, place, problem.message, problem.hint);
    }
}
