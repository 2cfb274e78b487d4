//! The plugins that are linked in, by name.

use prism_plugin_abi::Plugin;
use prism_plugin_host::InProcessPlugin;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Plugins that configuration can name with `type: builtin`. A binary that embeds the proxy adds its own.
#[derive(Clone, Default)]
pub struct Builtins(BTreeMap<String, InProcessPlugin>);

impl Builtins {
    /// What comes with Prism Edge: `memory`.
    #[must_use]
    pub fn standard() -> Self {
        Self::default().with("memory", prism_plugin_memory::memory())
    }

    /// Adds one; one of the same name is replaced. Calls reach it over the ABI that libraries are reached over, so
    /// that what is tested with the one holds for the other.
    #[must_use]
    pub fn with(mut self, name: &str, plugin: Arc<dyn Plugin>) -> Self {
        self.0.insert(name.to_owned(), InProcessPlugin::linked(name, plugin));
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<InProcessPlugin> {
        self.0.get(name).cloned()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.0.keys().cloned()
    }
}

impl fmt::Debug for Builtins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
