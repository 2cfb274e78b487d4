//! Calling an instance in a line.

use super::{Host, RequestBuilder};
use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::{
    CallContext, Code, Data, Error, Health, InstanceId, Metrics, Payload, Plugin, Request, ResponseStream,
};
use prost::{Message, Name};
use std::sync::Arc;

/// An initialized instance of some plugin.
#[derive(Clone)]
pub struct Instance {
    /// The plugin.
    pub plugin: Arc<dyn Plugin>,
    /// The instance.
    pub id: InstanceId,
    /// Its namespace.
    pub namespace: String,
}

impl Instance {
    /// Initializes it, with configuration as JSON and credentials by name.
    ///
    /// # Errors
    /// What the plugin says.
    pub async fn initialize(
        plugin: Arc<dyn Plugin>,
        id: u64,
        config: &serde_json::Value,
        credentials: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let host = Host::new(plugin);
        let namespace = host.namespace("test").config(config);
        let all = credentials.iter().fold(namespace, |all, (name, secret)| all.credential(name, secret));
        all.initialize_as(InstanceId(id)).await
    }

    /// A call of an operation, to be put together.
    pub fn request(&self, operation: &str) -> RequestBuilder<'_> {
        RequestBuilder::new(self, self.context(), operation)
    }

    /// How the instance is, by its own word.
    pub async fn health(&self) -> Health {
        self.plugin.health(self.id).await
    }

    /// What the instance counted.
    ///
    /// # Errors
    /// It is unknown, or counts nothing.
    pub async fn metrics(&self) -> Result<Metrics, Error> {
        self.plugin.metrics(self.id).await
    }

    /// Retires the instance: what the proxy does after its last call.
    pub async fn shutdown(&self) {
        self.plugin.shutdown(self.id).await;
    }

    fn context(&self) -> CallContext {
        CallContext { instance: self.id, namespace: self.namespace.clone().into(), ..CallContext::default() }
    }

    /// A typed unary call.
    ///
    /// # Errors
    /// What the plugin says; `INTERNAL` for an answer of another type.
    pub async fn call<M: Message + Name, R: Message + Name + Default>(
        &self,
        operation: &str,
        message: &M,
    ) -> Result<R, Error> {
        self.request(operation).params(message).call().await
    }

    /// A raw unary call.
    ///
    /// # Errors
    /// What the plugin says; `INTERNAL` for an answer that is not raw.
    pub async fn raw(
        &self,
        operation: &str,
        params: impl Into<Bytes>,
        metadata: &[(&str, &str)],
    ) -> Result<Bytes, Error> {
        let call = self.request(operation).bytes(params);
        metadata.iter().fold(call, |call, (key, value)| call.metadata(key, value)).raw().await
    }

    /// Any unary call.
    ///
    /// # Errors
    /// What the plugin says.
    pub async fn send(
        &self,
        operation: &str,
        params: Data,
        metadata: &[(&str, &str)],
    ) -> Result<Data, Error> {
        let metadata = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let request = Request { operation: operation.into(), params, metadata };
        self.plugin.execute(self.context(), request).await
    }

    /// Opens a stream of one parameter message.
    ///
    /// # Errors
    /// What the plugin says.
    pub async fn open<M: Message + Name>(
        &self,
        operation: &str,
        message: &M,
    ) -> Result<ResponseStream, Error> {
        self.request(operation).params(message).stream().await
    }
}

pub(super) fn typed<M: Message + Name>(message: &M) -> Data {
    let encoded = message.encode_to_vec();
    Data::Typed { type_url: ByteString::from(M::type_url()), value: Payload::from(Bytes::from(encoded)) }
}

pub(super) fn reply<R: Message + Name + Default>(data: Data) -> Result<R, Error> {
    let internal = |message| Error::operation(Code::Internal, message);
    match data {
        Data::Typed { type_url, value } if *type_url == *R::type_url() => {
            R::decode(value).map_err(|error| internal(format!("the answer is malformed: {error}")))
        }
        other => Err(internal(format!("a {} was expected: {other:?}", R::full_name()))),
    }
}
