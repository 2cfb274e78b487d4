//! A listener's filter chains: the one that its configuration lists, and one for each distinct set of route
//! overrides, all compiled ahead. A filter whose settings did not change is carried over from the running
//! snapshot, with its state; one whose settings changed is built from the one that runs.

use prism_config::{FilterOverride, Listener, Route, Secret, SecretValue, Secrets};
use prism_filters::{
    BuildContext, BuildError, Filter, Registry,
    audit::{Audit, Log},
};
use std::{any::Any, collections::HashMap, sync::Arc};

/// A compiled chain.
type Chain = Arc<[Arc<dyn Filter>]>;

/// Which filter could not be built, and why.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct ChainError {
    /// Where it stands in the configuration.
    pub path: String,
    /// Why.
    pub source: BuildError,
}

/// The chains of one listener.
pub struct Chains {
    base: Chain,
    /// By name and settings, secrets included: what makes a filter the same filter.
    filters: HashMap<Id, Arc<dyn Filter>>,
    base_settings: HashMap<String, Secret>,
}

type Id = (String, Secret);

impl Default for Chains {
    fn default() -> Self {
        Self { base: Arc::new([]), filters: HashMap::new(), base_settings: HashMap::new() }
    }
}

/// Compiles one listener's chains.
pub struct Compiler<'a> {
    listener: &'a Listener,
    /// The listener's place in the configuration, for messages.
    path: String,
    registry: &'a Registry,
    secrets: &'a Secrets,
    cx: BuildContext<'a>,
    previous: Option<&'a Chains>,
    chains: Chains,
    compiled: HashMap<Vec<Id>, Chain>,
}

impl Chains {
    pub(crate) fn base(&self) -> &[Arc<dyn Filter>] {
        &self.base
    }

    pub(crate) fn base_chain(&self) -> Chain {
        Arc::clone(&self.base)
    }

    /// The audit logs that these chains write to.
    pub(crate) fn audit_logs(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.filters.values().filter_map(|filter| {
            let any: &dyn Any = &**filter;
            any.downcast_ref::<Audit>().map(Audit::log)
        })
    }

    /// Starts with the chain that the listener lists.
    ///
    /// # Errors
    /// A filter cannot be built.
    pub fn compile<'a>(
        listener: &'a Listener,
        path: String,
        registry: &'a Registry,
        secrets: &'a Secrets,
        cx: BuildContext<'a>,
        previous: Option<&'a Self>,
    ) -> Result<Compiler<'a>, ChainError> {
        let mut compiler = Compiler {
            listener,
            path,
            registry,
            secrets,
            cx,
            previous,
            chains: Self::default(),
            compiled: HashMap::new(),
        };
        compiler.chains.base = compiler.chain(None, "")?;
        Ok(compiler)
    }
}

impl Compiler<'_> {
    /// The chain of a route.
    ///
    /// # Errors
    /// An override cannot be built.
    pub fn route(&mut self, route: &Route, index: usize) -> Result<Chain, ChainError> {
        if route.filters.is_empty() {
            return Ok(self.chains.base_chain());
        }
        let path = format!(".routes[{index}].filters");
        self.chain(Some(route), &path)
    }

    /// All chains, ready to serve.
    #[must_use]
    pub fn finish(self) -> Chains {
        self.chains
    }

    fn chain(&mut self, route: Option<&Route>, path: &str) -> Result<Chain, ChainError> {
        let mut wanted = Vec::new();
        for (index, entry) in self.listener.filters.iter().enumerate() {
            if self.registry.phase(&entry.name) != Some(prism_config::Phase::Request) {
                // The terminal is the stack's own; connection filters act before there is a request.
                continue;
            }
            let (settings, at) = match route.and_then(|route| route.filters.0.get(&entry.name)) {
                Some(FilterOverride::Off) => continue,
                Some(FilterOverride::Settings(settings)) => {
                    (settings, format!("{}{path}.{}", self.path, entry.name))
                }
                None => (&entry.settings, format!("{}.filters[{index}].{}", self.path, entry.name)),
            };
            match self.secrets.value(settings) {
                Ok(settings) => wanted.push((entry.name.clone(), settings, at)),
                Err(error) => {
                    return Err(ChainError { path: at, source: BuildError::new(error.to_string()) });
                }
            }
        }
        let set: Vec<Id> =
            wanted.iter().map(|(name, settings, _)| (name.clone(), settings.to_text())).collect();
        if route.is_none() {
            self.chains.base_settings = set.iter().cloned().collect();
        }
        if let Some(chain) = self.compiled.get(&set) {
            return Ok(Arc::clone(chain));
        }
        let mut chain = Vec::with_capacity(wanted.len());
        for (name, settings, at) in wanted {
            chain.push(self.filter(&name, &settings).map_err(|source| ChainError { path: at, source })?);
        }
        let chain: Chain = chain.into();
        self.compiled.insert(set, Arc::clone(&chain));
        Ok(chain)
    }

    fn filter(&mut self, name: &str, settings: &SecretValue) -> Result<Arc<dyn Filter>, BuildError> {
        let id = (name.to_owned(), settings.to_text());
        if let Some(filter) = self.chains.filters.get(&id) {
            return Ok(Arc::clone(filter));
        }
        let filter = match self.previous.and_then(|previous| previous.filters.get(&id)) {
            Some(same) => Arc::clone(same),
            None => {
                let running = self.previous.and_then(|previous| {
                    let settings = previous.base_settings.get(name)?;
                    previous.filters.get(&(name.to_owned(), settings.clone()))
                });
                self.registry.build(name, settings.expose(), &self.cx, running)?
            }
        };
        self.chains.filters.insert(id, Arc::clone(&filter));
        Ok(filter)
    }
}
