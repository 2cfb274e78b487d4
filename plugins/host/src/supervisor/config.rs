//! A namespace's `config` mapping as a plugin gets it.

use bytes::Bytes;
use prism_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
use prost::{Message, Name};

/// The mapping as a `google.protobuf.Struct`: its type URL and its bytes.
///
/// A plugin whose `Describe` names a `config_type` will get that message instead, once the proxy reads
/// descriptors; until then it gets a Struct as every plugin must be able to (contracts, "prism.plugin").
///
/// # Errors
/// It is not a mapping.
pub(super) fn encode(config: &serde_json::Value) -> Result<(String, Bytes), &'static str> {
    let mapping = match config {
        serde_json::Value::Null => Struct::default(),
        serde_json::Value::Object(fields) => mapping(fields),
        _ => return Err("must be a mapping"),
    };
    Ok((Struct::type_url(), mapping.encode_to_vec().into()))
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
    use serde_json::json;

    #[test]
    fn every_kind_of_value_arrives() {
        let config =
            json!({"url": "redis://x", "pool": 8, "tls": false, "none": null, "hosts": ["a", {"b": 1.5}]});
        let (url, bytes) = encode(&config).unwrap();
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

    #[test]
    fn what_is_no_mapping_is_refused() {
        assert!(encode(&json!(null)).unwrap().1.is_empty());
        for config in [json!([]), json!("text"), json!(7), json!(true)] {
            assert!(encode(&config).is_err(), "{config}");
        }
    }
}
