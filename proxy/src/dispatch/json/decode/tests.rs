use super::*;
use crate::dispatch::json::encode;
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DescriptorPool, ReflectMessage, Value};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(prism_proto::FILE_DESCRIPTOR_SET).unwrap()
}

fn message(name: &str) -> MessageDescriptor {
    let known = || DescriptorPool::global().get_message_by_name(name);
    pool().get_message_by_name(name).or_else(known).unwrap_or_else(|| panic!("no {name}"))
}

fn read(name: &str, text: &str) -> Result<DynamicMessage, String> {
    let descriptor = message(name);
    let bytes = decode(text.as_bytes(), &descriptor).map_err(|rejection| {
        assert_eq!(rejection.reason(), Reason::MalformedMessage);
        assert_eq!(rejection.http_status(), 400);
        rejection.message().to_owned()
    })?;
    Ok(DynamicMessage::decode(descriptor, bytes).unwrap())
}

#[test]
fn what_the_mapping_allows_is_read() {
    let set = read(
        "prism.kv.v1.SetRequest",
        r#" {"key":"k","value":"aGVsbG8=","ttlMs":"1500","condition":"IF_ABSENT"} "#,
    )
    .unwrap();
    assert_eq!(set.get_field_by_name("ttl_ms").unwrap().as_i64(), Some(1500));
    assert_eq!(set.get_field_by_name("condition").unwrap().as_enum_number(), Some(1));
    // The proto's own names, numbers as numbers, an enum's number, base64 for URLs, no padding, null for what is not there.
    for text in [
        r#"{"key":"k","value":"_-8","ttl_ms":1500,"condition":1}"#,
        r#"{"key":"k","value":"/+8=","ttlMs":1.5e3,"condition":null}"#,
    ] {
        let set = read("prism.kv.v1.SetRequest", text).unwrap();
        assert_eq!(set.get_field_by_name("ttl_ms").unwrap().as_i64(), Some(1500));
        assert_eq!(set.get_field_by_name("value").unwrap().as_bytes().unwrap()[..], [0xff, 0xef]);
    }
    assert!(!read("prism.kv.v1.SetRequest", "{}").unwrap().has_field_by_name("ttl_ms"));
    let keys = read("prism.kv.v1.MultiGetRequest", r#"{"keys":["a","b","a"]}"#).unwrap();
    assert_eq!(keys.get_field_by_name("keys").unwrap().as_list().unwrap().len(), 3);
    // A map's keys are no fields.
    let map = read("prism.plugin.ExecuteRequest", r#"{"metadata":{"a_b":"1","aB":"2"}}"#).unwrap();
    assert_eq!(map.get_field_by_name("metadata").unwrap().as_map().unwrap().len(), 2);
}

/// Each names the place, if it is in a place.
#[test]
fn what_is_malformed_is_refused_with_its_place() {
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let set = "prism.kv.v1.SetRequest";
    for (name, text, words) in [
        (set, "", "the body is empty: send {}"),
        (set, " \r\n", "the body is empty: send {}"),
        (set, "{", "EOF"),
        (set, "nothing", "expected"),
        (set, "null", ""),
        (set, "[]", ""),
        (set, "7", ""),
        (set, "\"key\"", ""),
        (set, "{}{}", "trailing"),
        (set, "{} x", "trailing"),
        (set, "{\"key\":\"a\",}", ""),
        (set, "{'key':'a'}", ""),
        (set, "{key:\"a\"}", ""),
        (set, "{\"key\":\"a\" \"value\":\"\"}", ""),
        (set, "// a comment\n{}", ""),
        (set, "\u{feff}{}", ""),
        (set, r#"{"key":7}"#, "`key`"),
        (set, r#"{"key":["a"]}"#, "`key`"),
        (set, r#"{"key":{}}"#, "`key`"),
        (set, r#"{"key":true}"#, "`key`"),
        (set, r#"{"key":"\ud800"}"#, "`key`"),
        (set, "{\"key\":\"\n\"}", "`key`"),
        (set, r#"{"key":"\x41"}"#, "`key`"),
        (set, r#"{"value":"not base64!"}"#, "`value`"),
        (set, r#"{"value":7}"#, "`value`"),
        (set, r#"{"value":"a"}"#, "`value`"),
        (set, r#"{"ttlMs":"soon"}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":1.5}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":9223372036854775808}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":"9223372036854775808"}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":"1 "}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":""}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":1e400}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":true}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":NaN}"#, "`ttlMs`"),
        (set, r#"{"ttlMs":01}"#, "`ttlMs`"),
        (set, r#"{"condition":"SOMETIMES"}"#, "`condition`"),
        (set, r#"{"condition":{}}"#, "`condition`"),
        (set, r#"{"condition":1.5}"#, "`condition`"),
        (set, r#"{"condition":"if_absent"}"#, "`condition`"),
        (set, r#"{"colour":"red"}"#, "colour"),
        (set, r#"{"Key":"a"}"#, "Key"),
        (set, r#"{"key":"a","key":"b"}"#, "`key` is given twice"),
        (set, r#"{"key":"a","key":"a"}"#, "`key` is given twice"),
        (set, r#"{"key":null,"key":"a"}"#, "`key` is given twice"),
        (set, r#"{"ttlMs":1,"ttl_ms":2}"#, "`ttl_ms` is given twice"),
        (set, r#"{"key":"a","k\u0065y":"b"}"#, "`key` is given twice"),
        ("prism.kv.v1.MultiGetRequest", r#"{"keys":"a"}"#, "`keys`"),
        ("prism.kv.v1.MultiGetRequest", r#"{"keys":["a",7]}"#, "`keys[1]`"),
        ("prism.kv.v1.MultiGetRequest", r#"{"keys":["a",null]}"#, "`keys[1]`"),
        ("prism.kv.v1.MultiGetRequest", r#"{"keys":{"0":"a"}}"#, "`keys`"),
        (
            "prism.kv.v1.MultiGetResponse",
            r#"{"entries":[{"key":"a"},{"key":"b","found":"yes"}]}"#,
            "`entries[1].found`",
        ),
        ("prism.kv.v1.MultiGetResponse", r#"{"entries":[{"key":"a","key":"b"}]}"#, "`entries[0]"),
        ("prism.kv.v1.MultiGetResponse", r#"{"entries":[{"kez":"a"}]}"#, "`entries[0]"),
        ("prism.plugin.ExecuteRequest", r#"{"metadata":{"a":"1","a":"2"}}"#, "`a` is given twice"),
        ("prism.plugin.ExecuteRequest", r#"{"metadata":{"a":1}}"#, "`metadata.a`"),
        (
            "prism.plugin.ExecuteRequest",
            r#"{"rawParams":"","typedParams":{"@type":"type.googleapis.com/google.protobuf.Empty","value":{}}}"#,
            "exclude each other",
        ),
        ("google.protobuf.Struct", r#"{"a":1,"a":2}"#, "`a` is given twice"),
        ("google.protobuf.Struct", &format!("{{\"a\":{deep}}}"), "recursion"),
    ] {
        let refused = read(name, text).err().unwrap_or_else(|| panic!("{text} was read"));
        assert!(refused.contains(words), "{text}: {refused}");
    }
    let bytes = decode(b"{\"key\":\"\xff\"}", &message(set)).unwrap_err();
    assert!(bytes.message().contains("`key`"), "{}", bytes.message());
}

/// A value of any kind.
fn value(kind: Kind, depth: u32) -> BoxedStrategy<Value> {
    match kind {
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::String => any::<String>().prop_map(Value::String).boxed(),
        Kind::Bytes => any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => any::<i32>().prop_map(Value::I32).boxed(),
        Kind::Uint32 | Kind::Fixed32 => any::<u32>().prop_map(Value::U32).boxed(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => any::<i64>().prop_map(Value::I64).boxed(),
        Kind::Uint64 | Kind::Fixed64 => any::<u64>().prop_map(Value::U64).boxed(),
        Kind::Float => any::<f32>().prop_map(Value::F32).boxed(),
        Kind::Double => any::<f64>().prop_map(Value::F64).boxed(),
        Kind::Enum(values) => {
            let numbers: Vec<_> = values.values().map(|value| value.number()).collect();
            prop::sample::select(numbers).prop_map(Value::EnumNumber).boxed()
        }
        Kind::Message(message) => any_message(&message, depth).prop_map(Value::Message).boxed(),
    }
}

fn any_message(descriptor: &MessageDescriptor, depth: u32) -> BoxedStrategy<DynamicMessage> {
    let mut strategy = Just(DynamicMessage::new(descriptor.clone())).boxed();
    for field in descriptor.fields() {
        if depth == 0 && matches!(field.kind(), Kind::Message(_)) {
            continue;
        }
        let filled = if field.is_list() {
            prop::collection::vec(value(field.kind(), depth - 1), 0..3).prop_map(Value::List).boxed()
        } else if field.is_map() {
            continue;
        } else {
            value(field.kind(), depth.saturating_sub(1))
        };
        strategy = (strategy, prop::option::of(filled))
            .prop_map(move |(mut message, filled)| {
                if let Some(filled) = filled {
                    message.set_field(&field, filled);
                }
                message
            })
            .boxed();
    }
    strategy
}

fn kv_messages() -> Vec<MessageDescriptor> {
    pool().all_messages().filter(|message| message.package_name() == "prism.kv.v1").collect()
}

fn there_and_back(message: &DynamicMessage) {
    let descriptor = message.descriptor();
    let text = encode(Bytes::from(message.encode_to_vec()).into(), &descriptor).unwrap();
    let back = decode(&text, &descriptor)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
    // As bytes: what is not there and what is empty are the same, and a NaN is a NaN.
    assert_eq!(back, message.encode_to_vec(), "{}", String::from_utf8_lossy(&text));
}

proptest! {
    #[test]
    fn every_message_of_the_interface_survives_the_trip(
        message in prop::sample::select(kv_messages()).prop_flat_map(|descriptor| any_message(&descriptor, 3)),
    ) {
        there_and_back(&message);
    }

    #[test]
    fn well_known_types_survive_the_trip(seconds in 0_i64..253_402_300_799, nanos in 0_i32..1_000_000_000, text in any::<String>(), number in any::<i64>()) {
        let of = |name: &str, fields: &[(&str, Value)]| {
            let mut message = DynamicMessage::new(message(name));
            for (field, value) in fields {
                message.set_field_by_name(field, value.clone());
            }
            message
        };
        let quoted = serde_json::to_string(&text).unwrap();
        let structure = read("google.protobuf.Struct", &format!("{{{quoted}: [{quoted}, null, 1.5]}}")).unwrap();
        for message in [
            of("google.protobuf.Timestamp", &[("seconds", Value::I64(seconds)), ("nanos", Value::I32(nanos))]),
            of("google.protobuf.Duration", &[("seconds", Value::I64(seconds)), ("nanos", Value::I32(nanos))]),
            structure,
            of("google.protobuf.Int64Value", &[("value", Value::I64(number))]),
            of("google.protobuf.StringValue", &[("value", Value::String(text))]),
        ] {
            there_and_back(&message);
        }
    }
}
