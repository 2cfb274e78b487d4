//! A plugin, as the proxy sees it.

use crate::{
    Call, CallContext, Code, Description, Error, InstanceId, Metrics, Opening, Request, RequestStream,
};
use bytes::Bytes;
use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};
use zeroize::Zeroize;

/// A control call under way. Dropping it cancels it.
pub type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A backend, whatever carries calls to it. One plugin serves many namespaces, each with an instance of
/// its own; calls name theirs in [`CallContext::instance`].
///
/// No method blocks. Futures may be polled by any one thread at a time and are cancelled by drop.
pub trait Plugin: Send + Sync {
    /// What it is. Asked before any configuration or secret is handed over.
    fn describe(&self) -> Arc<Description>;

    /// Builds an instance *beside* those that are running. Does nothing for an instance already known.
    fn initialize(&self, request: Initialize) -> Task<Result<Initialized, Error>>;

    /// Whether an instance can serve; really asks the backend.
    fn health(&self, instance: InstanceId) -> Task<Health>;

    /// A unary operation. An unknown instance is `FAILED_PRECONDITION`, [`Scope::Channel`](crate::Scope).
    fn execute(&self, context: CallContext, request: Request) -> Call;

    /// A streaming operation; `first` is the first message of the stream, `rest` are the others.
    fn execute_stream(&self, context: CallContext, first: Request, rest: RequestStream) -> Opening;

    /// What an instance counted since it began; `None` when it is unknown.
    fn metrics(&self, instance: InstanceId) -> Task<Result<Metrics, Error>>;

    /// Retires an instance. Calls that began on it may finish; an unknown one is no error.
    fn shutdown(&self, instance: InstanceId) -> Task<()>;
}

/// Secrets by name. Never printed, and wiped when they are dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(pub BTreeMap<String, String>);

impl Credentials {
    /// One secret.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "<redacted>"))).finish()
    }
}

/// What an instance is built from.
#[derive(Clone, Debug, Default)]
pub struct Initialize {
    /// The instance's number from now on.
    pub instance: InstanceId,
    /// Whose it is.
    pub namespace: String,
    /// The namespace's `backend`.
    pub backend_type: String,
    /// The type of `config`: the plugin's own (`Description::config_type`) or `google.protobuf.Struct`.
    pub config_type_url: String,
    /// The namespace's `config` mapping, encoded as that type.
    pub config: Bytes,
    /// Its credentials.
    pub credentials: Credentials,
}

/// A built instance.
#[derive(Clone, Debug, Default)]
pub struct Initialized {
    /// The plugin's version.
    pub plugin_version: String,
    /// The operations that this instance supports.
    pub supported_operations: Vec<String>,
}

/// How an instance is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthStatus {
    /// It serves.
    #[default]
    Healthy,
    /// It serves, with less than it should have.
    Degraded,
    /// It does not serve.
    Unhealthy,
}

/// How an instance is, and why.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Why, for a person.
    pub message: String,
    /// Facts by name.
    pub details: BTreeMap<String, String>,
}

impl Health {
    /// It serves.
    #[must_use]
    pub fn healthy() -> Self {
        Self::default()
    }

    /// It does not serve.
    #[must_use]
    pub fn unhealthy(message: impl Into<String>) -> Self {
        Self { status: HealthStatus::Unhealthy, message: message.into(), details: BTreeMap::new() }
    }
}

/// The error of a call that names an instance which the plugin does not know (any more).
#[must_use]
pub fn unknown_instance(instance: InstanceId) -> Error {
    Error::channel(Code::FailedPrecondition, format!("instance {instance} is not initialized here"))
}
