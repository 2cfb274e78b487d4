//! JSON of which there is one reading. RFC 8259 section 4 says of an object whose names are not unique that "the behavior
//! of software that receives such an object is unpredictable": where one program takes the first and another the last,
//! what is checked is not what is used. RFC 7519 section 4 lets a token's reader refuse such an object, and this one does.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::Cell, fmt};

/// Objects and arrays within each other. Claims of real issuers need four; a bound of our own is the same whatever the
/// parser's is.
pub const MOST_LEVELS: u8 = 16;

/// Why bytes are no JSON object that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// RFC 8259 section 8.1: UTF-8 and nothing else.
    #[error("not UTF-8")]
    NotUtf8,
    /// No JSON, or something after it.
    #[error("not JSON")]
    Syntax,
    /// An object, this one or one in it, has a name twice.
    #[error("a name twice in one object")]
    Duplicate,
    /// More than [`MOST_LEVELS`] within each other.
    #[error("more than {MOST_LEVELS} levels of objects and lists")]
    TooDeep,
    /// Another value than an object.
    #[error("no JSON object")]
    NotAnObject,
}

/// Reads one object, and nothing after it. Never panics.
///
/// # Errors
/// [`Fault`]
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::NotUtf8)?;
    let fault = Cell::new(Fault::Syntax);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { left: MOST_LEVELS, fault: &fault }.deserialize(&mut reader);
    match (value, reader.end()) {
        (Ok(Value::Object(object)), Ok(())) => Ok(object),
        (Ok(_), Ok(())) => Err(Fault::NotAnObject),
        _ => Err(fault.get()),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    left: u8,
    /// What went wrong, if it is not the syntax: errors of the parser are text.
    fault: &'a Cell<Fault>,
}

impl Strict<'_> {
    fn fail<E: de::Error>(self, fault: Fault) -> E {
        self.fault.set(fault);
        E::custom(fault)
    }

    fn inner<E: de::Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(self.fail(Fault::TooDeep)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.fail(Fault::Syntax))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(self.fail(Fault::Duplicate));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_one_reading_is_taken() {
        let text = r#" {"a": [1, -2, 2.5, true, null, {"a": "\u00e9"}], "b": {}} "#;
        let read = object(text.as_bytes()).unwrap();
        assert_eq!(Value::Object(read), serde_json::from_str::<Value>(text).unwrap());
        let deep = |levels: usize| {
            let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
            object(format!(r#"{{"a":{open}{close}}}"#).as_bytes())
        };
        assert!(deep(16).is_ok());
        assert_eq!(deep(17).unwrap_err(), Fault::TooDeep);
        assert_eq!(deep(100_000).unwrap_err(), Fault::TooDeep);
    }

    #[test]
    fn what_has_several_or_none_is_refused() {
        for (bytes, fault) in [
            (&b"{\"a\":1,\"a\":1}"[..], Fault::Duplicate),
            (b"{\"a\":1,\"\\u0061\":2}", Fault::Duplicate),
            (b"{\"a\":[{\"b\":1,\"b\":2}]}", Fault::Duplicate),
            (b"{\"\":1,\"\":2}", Fault::Duplicate),
            (b"{\"a\":\"\xff\"}", Fault::NotUtf8),
            (b"\xfe\xff\0{\0}", Fault::NotUtf8),
            (b"", Fault::Syntax),
            (b"{", Fault::Syntax),
            (b"{}{}", Fault::Syntax),
            (b"{} x", Fault::Syntax),
            (b"{\"a\":1,}", Fault::Syntax),
            (b"{'a':1}", Fault::Syntax),
            (b"{\"a\":01}", Fault::Syntax),
            (b"{\"a\":NaN}", Fault::Syntax),
            (b"{\"a\":1e999}", Fault::Syntax),
            (b"{\"a\":\"\\ud800\"}", Fault::Syntax),
            (b"{\"a\":\"\n\"}", Fault::Syntax),
            (b"\xef\xbb\xbf{}", Fault::Syntax),
            (b"[]", Fault::NotAnObject),
            (b"\"{}\"", Fault::NotAnObject),
            (b"null", Fault::NotAnObject),
        ] {
            assert_eq!(object(bytes).unwrap_err(), fault, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&bytes);
        }

        /// What the usual parser reads, this reads the same, or says why not.
        #[test]
        fn texts_made_of_json_are_read_alike(text in r#"(\{|\}|\[|\]|"[ab]"|:|,|1|-2\.5|null| ){0,24}"#) {
            match (object(text.as_bytes()), serde_json::from_str::<Value>(&text)) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(Value::Object(ours), theirs),
                (Ok(_), Err(error)) => prop_assert!(false, "{text}: {error}"),
                (Err(Fault::Syntax), Ok(_)) => prop_assert!(false, "{text}"),
                (Err(_), _) => {}
            }
        }
    }
}
