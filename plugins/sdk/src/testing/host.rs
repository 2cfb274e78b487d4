//! The proxy's side of a plugin, in memory.

use super::Instance;
use prism_plugin_abi::{Credentials, Error, Initialize, InstanceId, Plugin};
use prism_plugin_envelope::encode_config;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What a proxy does with one plugin: it has an instance for each namespace, and builds another beside it when
/// the namespace's configuration changes.
#[derive(Clone)]
pub struct Host {
    plugin: Arc<dyn Plugin>,
    /// Instances that were asked for.
    instances: Arc<AtomicU64>,
}

impl Host {
    /// Of this plugin, which is all that `Hosted::<P>::new()` gives, and a [`RemotePlugin`](super::RemotePlugin).
    #[must_use]
    pub fn new(plugin: Arc<dyn Plugin>) -> Self {
        Self { plugin, instances: Arc::default() }
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &Arc<dyn Plugin> {
        &self.plugin
    }

    /// A namespace of this name, to be configured.
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        Namespace {
            host: self,
            name: name.to_owned(),
            backend_type: self.plugin.describe().name.clone(),
            config: Value::Null,
            credentials: BTreeMap::new(),
        }
    }
}

/// A namespace as the configuration has it.
#[must_use = "nothing is built before `initialize`"]
pub struct Namespace<'a> {
    host: &'a Host,
    name: String,
    backend_type: String,
    config: Value,
    credentials: BTreeMap<String, String>,
}

impl Namespace<'_> {
    /// Its `config` mapping. Without: none.
    pub fn config(mut self, config: &Value) -> Self {
        self.config = config.clone();
        self
    }

    /// Its `backend`. Without: the plugin's name.
    pub fn backend(mut self, backend_type: &str) -> Self {
        backend_type.clone_into(&mut self.backend_type);
        self
    }

    /// One of its credentials.
    pub fn credential(mut self, name: &str, secret: &str) -> Self {
        self.credentials.insert(name.to_owned(), secret.to_owned());
        self
    }

    /// Builds an instance, beside those that it has.
    ///
    /// # Errors
    /// What the plugin says; INVALID_ARGUMENT for a mapping that its configuration message cannot hold, as the
    /// proxy finds before it asks the plugin.
    pub async fn initialize(self) -> Result<Instance, Error> {
        let number = InstanceId(self.host.instances.fetch_add(1, Relaxed) + 1);
        self.initialize_as(number).await
    }

    pub(super) async fn initialize_as(self, number: InstanceId) -> Result<Instance, Error> {
        let plugin = Arc::clone(&self.host.plugin);
        let (config_type_url, config) = encode_config(&self.config, Some(&plugin.describe()))
            .map_err(|error| Error::invalid(error.to_string()))?;
        let request = Initialize {
            instance: number,
            namespace: self.name.clone(),
            backend_type: self.backend_type,
            config_type_url,
            config,
            credentials: Credentials(self.credentials),
        };
        plugin.initialize(request).await?;
        Ok(Instance { plugin, id: number, namespace: self.name })
    }
}
