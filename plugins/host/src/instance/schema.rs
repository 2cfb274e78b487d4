//! The messages of a plugin's operations, as its descriptors have them: for those who turn them into something else than
//! protobuf, and for those who ask what there is.

use bytes::Bytes;
use prism_plugin_abi::{Description, OperationInfo};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Descriptors of one plugin's version.
#[derive(Clone)]
pub struct Schema {
    pool: DescriptorPool,
    /// As the plugin sent them.
    encoded: Bytes,
}

/// The messages of an operation.
#[derive(Clone, Debug)]
pub struct Types {
    /// Of its parameters.
    pub params: MessageDescriptor,
    /// Of its results.
    pub result: MessageDescriptor,
}

impl Schema {
    /// All that is described.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// An encoded `google.protobuf.FileDescriptorSet`.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// The messages of an operation, if it has any and they are described.
    #[must_use]
    pub fn types(&self, operation: &OperationInfo) -> Option<Types> {
        // What the project's own interfaces say needs not be repeated.
        let known = prism_proto::method(&operation.service_method);
        let find = |said: &str, known: Option<&'static str>| {
            let name = if said.is_empty() { known? } else { said };
            self.pool.get_message_by_name(name)
        };
        Some(Types {
            params: find(&operation.params_type, known.map(|known| known.params_type))?,
            result: find(&operation.result_type, known.map(|known| known.result_type))?,
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("files", &self.pool.files().len()).finish()
    }
}

/// Schemas in use. A thousand namespaces of one plugin share one.
#[derive(Clone, Debug, Default)]
pub struct Schemas(Arc<Mutex<HashMap<Bytes, Weak<Schema>>>>);

impl Schemas {
    /// Of a plugin. One that describes nothing has the project's own interfaces.
    ///
    /// # Errors
    /// Its descriptors cannot be read; for the plugin's author.
    pub(crate) fn of(&self, description: &Description) -> Result<Arc<Schema>, String> {
        let encoded = match &description.file_descriptor_set {
            none if none.is_empty() => Bytes::from_static(prism_proto::FILE_DESCRIPTOR_SET),
            some => some.clone(),
        };
        let mut schemas = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = schemas.get(&encoded).and_then(Weak::upgrade) {
            return Ok(schema);
        }
        schemas.retain(|_, schema| schema.strong_count() > 0);
        let pool = DescriptorPool::decode(&*encoded).map_err(|error| {
            format!(
                "its file_descriptor_set cannot be read: {error} (protoc needs --include_imports to make one that is \
                 complete)"
            )
        })?;
        let schema = Arc::new(Schema { pool, encoded: encoded.clone() });
        schemas.insert(encoded, Arc::downgrade(&schema));
        Ok(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(set: &'static [u8]) -> Description {
        Description { file_descriptor_set: Bytes::from_static(set), ..Description::default() }
    }

    #[test]
    fn namespaces_of_one_plugin_share_its_schema() {
        let schemas = Schemas::default();
        let first = schemas.of(&described(prism_proto::FILE_DESCRIPTOR_SET)).unwrap();
        let second = schemas.of(&described(b"")).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        assert!(schemas.0.lock().unwrap().values().all(|schema| schema.upgrade().is_none()));
        assert!(schemas.of(&described(b"not descriptors")).unwrap_err().contains("--include_imports"));
    }

    #[test]
    fn operations_have_the_types_that_they_name() {
        let schema = Schemas::default().of(&described(b"")).unwrap();
        let named = |method: &str, params: &str, result: &str| {
            schema.types(&OperationInfo {
                service_method: method.into(),
                params_type: params.into(),
                result_type: result.into(),
                ..OperationInfo::default()
            })
        };
        let types = named("", "prism.kv.v1.GetRequest", "prism.kv.v1.GetResponse").unwrap();
        assert_eq!(types.params.full_name(), "prism.kv.v1.GetRequest");
        let types = named("prism.kv.v1.KeyValueService/Watch", "", "").unwrap();
        assert_eq!(types.result.full_name(), "prism.kv.v1.WatchEvent");
        assert!(named("", "", "").is_none());
        assert!(named("", "prism.kv.v1.GetRequest", "prism.kv.v1.Nothing").is_none());
    }
}
