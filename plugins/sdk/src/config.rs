//! A namespace's configuration, from what the proxy sends to the plugin's own type.

use bytes::Bytes;
use prism_plugin_abi::Error;
use prism_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
use prost::{Message, Name};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number};
use std::ops::{Deref, DerefMut};

/// What a namespace's `config` mapping is decoded to: any type of serde's, or a protobuf message in [`Proto`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a plugin's configuration",
    label = "neither a type of serde's nor a `Proto<…>`",
    note = "derive `serde::Deserialize` for it; a protobuf message (with `prost::Name`) is written `Proto<Message>`"
)]
pub trait PluginConfig: Sized + Send {
    /// Full name of the message that the proxy has to send; empty: a `google.protobuf.Struct`.
    fn message_name() -> String;

    /// Reads what the proxy sent.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, with the field where it is one's fault.
    fn decode(type_url: &str, config: Bytes) -> Result<Self, Error>;
}

impl<C: DeserializeOwned + Send> PluginConfig for C {
    fn message_name() -> String {
        String::new()
    }

    fn decode(type_url: &str, config: Bytes) -> Result<Self, Error> {
        let config: Struct = message(type_url, config)?;
        serde_path_to_error::deserialize(object(config)?).map_err(|error| {
            let path = error.path().to_string();
            let at = if path == "." { "config".to_owned() } else { format!("config.{path}") };
            Error::invalid(format!("{at}: {}", error.into_inner()))
        })
    }
}

/// A configuration that is a protobuf message: the proxy makes it of the YAML mapping, by protobuf's JSON mapping
/// and the descriptors that the plugin gives (`#[plugin(descriptors = …)]`), and refuses what does not fit before
/// the plugin sees it. 64-bit integers arrive as they were written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Proto<M>(pub M);

impl<M> Deref for Proto<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M> DerefMut for Proto<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.0
    }
}

impl<M: Message + Name + Default> PluginConfig for Proto<M> {
    fn message_name() -> String {
        M::full_name()
    }

    fn decode(type_url: &str, config: Bytes) -> Result<Self, Error> {
        message(type_url, config).map(Self)
    }
}

/// The message, of this type. Without a type URL it is taken to be one: a person with grpcurl may leave it out.
fn message<M: Message + Name + Default>(type_url: &str, config: Bytes) -> Result<M, Error> {
    let (name, wanted) = (type_url.rsplit('/').next().unwrap_or_default(), M::full_name());
    if !name.is_empty() && name != wanted {
        return Err(Error::invalid(format!(
            "the configuration is a `{name}`; this plugin takes a `{wanted}`"
        )));
    }
    M::decode(config).map_err(|error| Error::invalid(format!("the configuration cannot be decoded: {error}")))
}

/// Doubles hold every integer up to here exactly; beyond it, an integral double need not be the integer
/// that was written.
const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53

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
        Config::decode(&Struct::type_url(), Struct { fields }.encode_to_vec().into())
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
    fn a_message_is_taken_as_it_is() {
        use prism_proto::kv::v1::ScanRequest as Settings;
        let sent = Settings { prefix: "p".into(), page_size: 7, ..Default::default() };
        let url = Settings::type_url();
        let got = Proto::<Settings>::decode(&url, sent.encode_to_vec().into()).unwrap();
        assert_eq!((&*got.prefix, got.page_size), ("p", 7));
        assert_eq!(Proto::<Settings>::message_name(), "prism.kv.v1.ScanRequest");
        assert_eq!(Proto::<Settings>::decode("", Bytes::new()).unwrap().0, Settings::default());
        for (url, bytes, words) in [
            (Struct::type_url(), Bytes::new(), "takes a `prism.kv.v1.ScanRequest`"),
            (url, Bytes::from_static(&[0xff]), "cannot be decoded"),
        ] {
            let error = Proto::<Settings>::decode(&url, bytes).unwrap_err();
            assert!(error.code == Code::InvalidArgument && error.message.contains(words), "{error}");
        }
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
            (Config::decode("type.googleapis.com/other.Config", Bytes::new()), "`other.Config`"),
            (Config::decode(&Struct::type_url(), Bytes::from_static(&[0xff])), "cannot be decoded"),
            (Config::decode("", Bytes::from_static(&[0xff])), "cannot be decoded"),
        ] {
            let error = got.unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument);
            assert!(error.message.contains(words), "{error} lacks {words}");
        }
    }
}
