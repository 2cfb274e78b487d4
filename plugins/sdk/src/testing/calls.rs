//! Calling an instance in a line.

use bytes::Bytes;
use bytestring::ByteString;
use prism_plugin_abi::{
    CallContext, Code, Credentials, Data, Error, Initialize, InstanceId, Payload, Plugin, Request,
    ResponseStream,
};
use prism_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
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
        let (id, namespace) = (InstanceId(id), "test".to_owned());
        let credentials =
            credentials.iter().map(|(name, secret)| ((*name).to_owned(), (*secret).to_owned())).collect();
        let request = Initialize {
            instance: id,
            namespace: namespace.clone(),
            backend_type: "test".to_owned(),
            config_type_url: Struct::type_url(),
            config: struct_config(config),
            credentials: Credentials(credentials),
        };
        plugin.initialize(request).await?;
        Ok(Self { plugin, id, namespace })
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
        reply(self.send(operation, typed(message), &[]).await?)
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
        match self.send(operation, Data::Raw(params.into().into()), metadata).await? {
            Data::Raw(payload) => Ok(payload.into_bytes()),
            other => Err(Error::operation(Code::Internal, format!("a raw result was expected: {other:?}"))),
        }
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
        let first = Request { operation: operation.into(), params: typed(message), metadata: Vec::new() };
        self.plugin.execute_stream(self.context(), first, Box::pin(futures_util::stream::empty())).await
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

/// A `config` mapping as the encoded `google.protobuf.Struct` that a proxy sends.
///
/// # Panics
/// When it is no mapping.
#[must_use]
pub fn struct_config(config: &serde_json::Value) -> Bytes {
    match value(config).kind {
        Some(Kind::StructValue(fields)) => fields.encode_to_vec().into(),
        _ => panic!("a configuration is a mapping, not {config}"),
    }
}

fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(value).collect() }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.iter().map(|(key, field)| (key.clone(), value(field))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}
