//! A namespace's `config` mapping as a plugin gets it.

use bytes::Bytes;
use prism_plugin_abi::Description;
use prism_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage};

/// Why a mapping is no configuration of that plugin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is something else.
    #[error("config: must be a mapping")]
    NotAMapping,
    /// What the plugin says of its messages makes no sense.
    #[error("the plugin's descriptors cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The plugin names a message that it does not describe.
    #[error("the plugin is configured with a `{0}`, which its descriptors do not have")]
    Undescribed(String),
    /// A field is not as the plugin's message has it.
    #[error("{path}: {source}")]
    Field {
        /// Where, `config.hosts[1]`.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The mapping as the message that the plugin names, by protobuf's JSON mapping; where it names none (or cannot
/// be asked), as a `google.protobuf.Struct`. Its type URL and its bytes.
///
/// # Errors
/// It is no mapping, or not one that the plugin's message can hold.
pub fn encode_config(
    config: &serde_json::Value,
    description: Option<&Description>,
) -> Result<(String, Bytes), ConfigError> {
    let none = serde_json::Map::new();
    let fields = match config {
        serde_json::Value::Null => &none,
        serde_json::Value::Object(fields) => fields,
        _ => return Err(ConfigError::NotAMapping),
    };
    match description.filter(|description| !description.config_type.is_empty()) {
        None => Ok((Struct::type_url(), mapping(fields).encode_to_vec().into())),
        Some(description) => typed(fields, description),
    }
}

fn typed(
    fields: &serde_json::Map<String, serde_json::Value>,
    description: &Description,
) -> Result<(String, Bytes), ConfigError> {
    let name = &description.config_type;
    let pool = DescriptorPool::decode(&*description.file_descriptor_set)?;
    let message = pool.get_message_by_name(name).ok_or_else(|| ConfigError::Undescribed(name.clone()))?;
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(fields, &mut track);
    let decoded = DynamicMessage::deserialize(message, deserializer);
    let message = decoded.map_err(|source| {
        let path = track.path().to_string();
        let path = if path == "." { "config".to_owned() } else { format!("config.{path}") };
        ConfigError::Field { path, source }
    })?;
    Ok((prism_proto::type_url(name), message.encode_to_vec().into()))
}

fn mapping(fields: &serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: fields.iter().map(|(name, content)| (name.clone(), value(content))).collect() }
}

fn value(value: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(*truth),
        // A Struct knows doubles only.
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.iter().map(self::value).collect() }),
        Json::Object(fields) => Kind::StructValue(mapping(fields)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_proto::plugin::OperationInfo;
    use serde_json::json;

    #[test]
    fn every_kind_of_value_arrives() {
        let config =
            json!({"url": "redis://x", "pool": 8, "tls": false, "none": null, "hosts": ["a", {"b": 1.5}]});
        let (url, bytes) = encode_config(&config, Some(&Description::default())).unwrap();
        assert_eq!(url, "type.googleapis.com/google.protobuf.Struct");
        let decoded = Struct::decode(bytes).unwrap();
        let kind = |name: &str| decoded.fields[name].kind.clone().unwrap();
        assert_eq!(kind("url"), Kind::StringValue("redis://x".into()));
        assert_eq!(kind("pool"), Kind::NumberValue(8.0));
        assert_eq!(kind("tls"), Kind::BoolValue(false));
        assert_eq!(kind("none"), Kind::NullValue(0));
        let Kind::ListValue(hosts) = kind("hosts") else { panic!("no list") };
        assert!(
            matches!(&hosts.values[1].kind, Some(Kind::StructValue(host)) if host.fields.contains_key("b"))
        );
    }

    /// A plugin that is configured with one of our own messages.
    fn typed(config_type: &str) -> Description {
        Description {
            config_type: config_type.to_owned(),
            file_descriptor_set: prism_proto::FILE_DESCRIPTOR_SET.into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_plugin_gets_the_message_that_it_names() {
        let plugin = typed("prism.plugin.OperationInfo");
        let config =
            json!({ "name": "get", "kind": "READ", "idempotent": true, "params_type": "a.B", "raw": false });
        let (url, bytes) = encode_config(&config, Some(&plugin)).unwrap();
        assert_eq!(url, OperationInfo::type_url());
        let decoded = OperationInfo::decode(bytes).unwrap();
        assert_eq!(
            (&*decoded.name, decoded.kind, decoded.idempotent, &*decoded.params_type),
            ("get", 1, true, "a.B")
        );
        assert_eq!(encode_config(&json!(null), Some(&plugin)).unwrap(), (url, Bytes::new()));
        // What a double would round.
        let plugin = typed("prism.plugin.InitializeRequest");
        let (_, bytes) = encode_config(&json!({ "instance": u64::MAX }), Some(&plugin)).unwrap();
        let decoded = prism_proto::plugin::InitializeRequest::decode(bytes).unwrap();
        assert_eq!(decoded.instance, u64::MAX);
    }

    #[test]
    fn mistakes_are_named() {
        let info = typed("prism.plugin.DescribeResponse");
        for (config, words) in [
            (json!({ "nmae": "x" }), &["config", "nmae"][..]),
            (json!({ "protocol": "one" }), &["config.protocol: "]),
            (json!({ "operations": [{}, { "kind": "REED" }] }), &["config.operations[1].kind: "]),
            (json!({ "interfaces": "prism.kv.v1" }), &["config.interfaces: "]),
        ] {
            let error = encode_config(&config, Some(&info)).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{config}: {error}");
        }
        let broken = Description { file_descriptor_set: Bytes::from_static(&[0xff]), ..info.clone() };
        assert!(matches!(encode_config(&json!({}), Some(&broken)), Err(ConfigError::Descriptors(_))));
        let absent = encode_config(&json!({}), Some(&typed("a.B"))).unwrap_err().to_string();
        assert!(absent.contains("`a.B`"), "{absent}");
        for description in [None, Some(&info)] {
            for config in [json!([]), json!("text"), json!(7), json!(true)] {
                let refused = encode_config(&config, description);
                assert!(matches!(refused, Err(ConfigError::NotAMapping)), "{config}");
            }
        }
        assert!(encode_config(&json!(null), None).unwrap().1.is_empty());
    }
}
