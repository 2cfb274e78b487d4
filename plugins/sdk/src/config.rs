//! A namespace's configuration: from `google.protobuf.Struct` to the plugin's own type.

use bytes::Bytes;
use prism_plugin_abi::Error;
use prism_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
use prost::{Message, Name};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number};

/// Doubles hold every integer up to here exactly; beyond it, an integral double need not be the integer
/// that was written.
const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53

/// Decodes the configuration of an `Initialize`.
pub(crate) fn decode<C: DeserializeOwned>(type_url: &str, config: Bytes) -> Result<C, Error> {
    let name = type_url.rsplit('/').next().unwrap_or_default();
    if !name.is_empty() && name != Struct::full_name() {
        return Err(Error::invalid(format!(
            "the configuration is a `{name}`; this plugin takes a `{}`",
            Struct::full_name()
        )));
    }
    let config = Struct::decode(config)
        .map_err(|error| Error::invalid(format!("the configuration cannot be decoded: {error}")))?;
    serde_path_to_error::deserialize(object(config)?).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { "config".to_owned() } else { format!("config.{path}") };
        Error::invalid(format!("{at}: {}", error.into_inner()))
    })
}

fn object(message: Struct) -> Result<serde_json::Value, Error> {
    let fields: Result<Map<_, _>, Error> =
        message.fields.into_iter().map(|(key, field)| Ok((key, value(field)?))).collect();
    Ok(serde_json::Value::Object(fields?))
}

/// As deep as prost let the message be: a hundred levels.
fn value(message: Value) -> Result<serde_json::Value, Error> {
    use serde_json::Value as Json;
    Ok(match message.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => Json::Bool(flag),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::NumberValue(number)) => Json::Number(self::number(number)?),
        Some(Kind::StructValue(message)) => object(message)?,
        Some(Kind::ListValue(ListValue { values })) => {
            Json::Array(values.into_iter().map(value).collect::<Result<_, _>>()?)
        }
    })
}

/// Protobuf's Struct turned integers into doubles; this turns them back.
fn number(double: f64) -> Result<Number, Error> {
    if double.fract() == 0.0 && double.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation)] // integral and within 2^53
        return Ok(Number::from(double as i64));
    }
    Number::from_f64(double)
        .ok_or_else(|| Error::invalid("the configuration holds a number that is not finite"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_plugin_abi::Code;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Config {
        url: String,
        #[serde(default)]
        pool_size: u16,
        #[serde(default)]
        ratio: f64,
        #[serde(default)]
        names: Vec<String>,
        #[serde(default)]
        nested: Option<Nested>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Nested {
        deep: i64,
    }

    fn of(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn number(number: f64) -> Value {
        of(Kind::NumberValue(number))
    }

    fn text(text: &str) -> Value {
        of(Kind::StringValue(text.into()))
    }

    fn config<const N: usize>(fields: [(&str, Value); N]) -> Result<Config, Error> {
        let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        decode(&Struct::type_url(), Struct { fields }.encode_to_vec().into())
    }

    #[test]
    fn integral_doubles_are_integers() {
        let nested = Struct { fields: [("deep".to_owned(), number(-3.0))].into() };
        let got = config([
            ("url", text("u")),
            ("pool_size", number(16.0)),
            ("ratio", number(2.0)),
            ("names", of(Kind::ListValue(ListValue { values: vec![text("a")] }))),
            ("nested", of(Kind::StructValue(nested))),
        ]);
        let want = Config {
            url: "u".into(),
            pool_size: 16,
            ratio: 2.0,
            names: vec!["a".into()],
            nested: Some(Nested { deep: -3 }),
        };
        assert_eq!(got.unwrap(), want);
    }

    #[test]
    fn mistakes_are_named() {
        let url = || ("url", text("u"));
        for (got, words) in [
            (config([]), "missing field `url`"),
            (config([url(), ("pool_siez", number(1.0))]), "unknown field `pool_siez`"),
            (config([url(), ("pool_size", number(1.5))]), "config.pool_size: "),
            (config([url(), ("pool_size", number(-1.0))]), "config.pool_size: "),
            (config([url(), ("pool_size", text("8"))]), "config.pool_size: "),
            (config([url(), ("ratio", number(f64::NAN))]), "not finite"),
            (
                config([url(), ("names", of(Kind::ListValue(ListValue { values: vec![number(1.0)] })))]),
                "names[0]",
            ),
            (decode("type.googleapis.com/other.Config", Bytes::new()), "`other.Config`"),
            (decode("", Bytes::from_static(&[0xff])), "cannot be decoded"),
        ] {
            let error = got.unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(words), "{error} lacks {words}");
        }
    }
}
