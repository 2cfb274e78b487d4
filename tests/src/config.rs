//! Configurations that many tests share.

use crate::tools;
use std::fs;

/// The namespace `demo` on the builtin memory plugin, as in `config/prism.yaml`. See [`crate::Start`] for
/// what stands between `@`.
pub const DEMO: &str = "
admin: { address: '127.0.0.1:@admin@', socket: '@dir@/admin.sock' }
listeners:
  - name: edge
    address: '127.0.0.1:@listen@'
    filters:
      - trace: {}
      - plugin_dispatch: {}
    routes:
      - match: { path_prefix: / }
plugins:
  - { name: memory, type: builtin }
namespaces:
  - { name: demo, backend: memory, plugin: memory }
";

/// A configuration of the repository, with its public ports replaced by free ones.
///
/// # Panics
/// When it is not there, or does not name a port that it should.
#[must_use]
pub fn example(path: &str, replacements: &[(&str, &str)]) -> String {
    let path = tools::repository().join(path);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (from, to) in replacements {
        assert!(text.contains(from), "{} does not contain `{from}`", path.display());
        text = text.replace(from, to);
    }
    text
}
