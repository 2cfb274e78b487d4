//! What the author of a backend writes.

use crate::PluginConfig;
use prism_plugin_abi::{
    CallContext, Code, Credentials, Data, Description, Error, Health, InstanceId, Metrics, Request,
    RequestStream, ResponseStream,
};
use std::{future::Future, sync::Arc};

/// What a plugin's methods return.
pub type PluginResult<T> = Result<T, Error>;

/// A backend. One value is one initialized instance: one namespace, one configuration.
///
/// Futures must not block. They are dropped when the caller gives up. A panic in one is contained: its
/// call fails with `INTERNAL`, others go on.
pub trait BackendPlugin: Send + Sync + Sized + 'static {
    /// The namespace's `config` mapping. Of a type of serde's: use `#[serde(deny_unknown_fields)]`, so that a
    /// misspelt key is an error that names it; integers written without a fraction are integers here. Of a
    /// protobuf message: [`Proto`](crate::Proto).
    type Config: PluginConfig;

    /// What the plugin is. Asked once, before any configuration.
    fn descriptor() -> Description;

    /// Builds an instance beside those that are running.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for configuration that can never work, `UNAUTHENTICATED` for credentials that the
    /// backend refuses, `UNAVAILABLE` for a backend that does not answer now; then the proxy keeps trying.
    fn initialize(context: InitContext<Self::Config>) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Whether the instance can serve. Really asks the backend.
    fn health(&self) -> impl Future<Output = Health> + Send;

    /// A unary operation that [`descriptor`](Self::descriptor) lists.
    ///
    /// # Errors
    /// Whatever the operation says, with [`Error::operation`].
    fn execute(
        self: &Arc<Self>,
        context: &CallContext,
        request: Request,
    ) -> impl Future<Output = Result<Data, Error>> + Send;

    /// A streaming operation that [`descriptor`](Self::descriptor) lists. `first` is the first message,
    /// `rest` are the others. What the operation reports "from now on" must be in place when the future
    /// resolves: the response headers leave then.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute); later ones are items of the stream.
    fn execute_stream(
        self: &Arc<Self>,
        context: &CallContext,
        first: Request,
        rest: RequestStream,
    ) -> impl Future<Output = Result<ResponseStream, Error>> + Send {
        let _ = (context, rest);
        let message = format!("operation `{}` is declared as a stream but not implemented", first.operation);
        std::future::ready(Err(Error::channel(Code::Unimplemented, message)))
    }

    /// What the backend counts: connections, queries, cache hits. Requests, failures and latency are
    /// counted by the SDK and overwrite what is said here.
    fn metrics(&self) -> Metrics {
        Metrics::default()
    }

    /// Called once when the instance is retired, while calls that began on it may still run; the value is
    /// dropped when the last of them ends.
    fn shutdown(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// What an instance is built from.
#[derive(Debug)]
pub struct InitContext<C> {
    /// The instance's number.
    pub instance: InstanceId,
    /// The namespace that it serves.
    pub namespace: String,
    /// The namespace's `backend`.
    pub backend_type: String,
    /// Its configuration.
    pub config: C,
    /// Its secrets.
    pub credentials: Credentials,
}
