//! From JSON to a message. What protobuf's JSON mapping leaves to whoever reads is refused here: a field that is given
//! twice, under one name or under both of its names, and a field that there is not.

use bytes::Bytes;
use prism_filters::{Reason, Rejection};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::Track;
use std::{collections::HashSet, fmt};

/// Reads a message.
///
/// # Errors
/// The text is not JSON, or not this message's; with the place.
pub(crate) fn decode(text: &[u8], message: &MessageDescriptor) -> Result<Bytes, Rejection> {
    if text.trim_ascii().is_empty() {
        return Err(Rejection::new(
            Reason::MalformedMessage,
            "the body is empty: send {} for a message without fields",
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = Track::new();
    let walked = Place::Message(message.clone())
        .deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track))
        .and_then(|_| json.end());
    walked.map_err(|error| malformed(track, &error))?;

    let mut json = serde_json::Deserializer::from_slice(text);
    let mut track = Track::new();
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let decoded = DynamicMessage::deserialize_with_options(
        message.clone(),
        serde_path_to_error::Deserializer::new(&mut json, &mut track),
        &options,
    );
    Ok(decoded.map_err(|error| malformed(track, &error))?.encode_to_vec().into())
}

fn malformed(track: Track, error: &serde_json::Error) -> Rejection {
    let path = track.path().to_string();
    // The root is no field, and what has no name yet is no place.
    let path = path.strip_suffix(".?").unwrap_or(&path);
    let place = if matches!(path, "." | "?") { String::new() } else { format!("`{path}`: ") };
    Rejection::new(Reason::MalformedMessage, format!("{place}{error}"))
}

/// Where in the message the walk is.
enum Place {
    Message(MessageDescriptor),
    /// Each of a list, or each value of a map.
    Each(FieldDescriptor),
    /// What has a form of its own in JSON, or is no message's.
    Other,
}

impl Place {
    /// A field's value.
    fn of(field: &FieldDescriptor) -> Self {
        if field.is_list() || field.is_map() { Self::Each(field.clone()) } else { Self::one_of(field.kind()) }
    }

    fn one_of(kind: Kind) -> Self {
        match kind {
            // Those that JSON has in a form of their own are all in this package.
            Kind::Message(message) if message.package_name() != "google.protobuf" => Self::Message(message),
            _ => Self::Other,
        }
    }

    /// Each value of a list or map.
    fn each(field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                entry.get_field_by_name("value").map_or(Self::Other, |value| Self::one_of(value.kind()))
            }
            kind => Self::one_of(kind),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place {
    /// It is something: not null.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let item = || match &self {
            Self::Each(field) if field.is_list() => Self::each(field),
            _ => Self::Other,
        };
        while items.next_element_seed(item())?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        let (mut names, mut fields, mut oneofs) = (HashSet::new(), HashSet::new(), HashSet::new());
        while let Some(name) = entries.next_key::<String>()? {
            let field = match &self {
                Self::Message(message) => {
                    message.get_field_by_json_name(&name).or_else(|| message.get_field_by_name(&name))
                }
                _ => None,
            };
            let place = match (&self, &field) {
                (_, Some(field)) => Self::of(field),
                (Self::Each(map), None) if map.is_map() => Self::each(map),
                _ => Self::Other,
            };
            let twice = match &field {
                Some(field) => !fields.insert(field.number()),
                None => !names.insert(name.clone()),
            };
            if twice {
                return Err(A::Error::custom(format!("field `{name}` is given twice")));
            }
            let given = entries.next_value_seed(place)?;
            if given
                && let Some(oneof) = field.and_then(|field| field.containing_oneof())
                && !oneofs.insert(oneof.name().to_owned())
            {
                return Err(A::Error::custom(format!(
                    "`{name}` and another of `{}` exclude each other",
                    oneof.name()
                )));
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
