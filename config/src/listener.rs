//! Listeners and their filter chains.

use std::{
    borrow::Cow,
    fmt,
    net::{Ipv4Addr, SocketAddr},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{
    limits::{ConnectionLimits, Http1, Http2},
    redact,
    route::Route,
    schema::{Address, Name},
};

/// The filters of a chain that nobody wrote down.
pub(crate) const DEFAULT_CHAIN: [&str; 2] = ["trace", "plugin_dispatch"];

/// An address that clients connect to, with the chain that their requests run through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in logs, metrics and the admin interface.
    #[schemars(with = "Name")]
    pub name: String,
    /// The address it is bound to. HTTP/2 and HTTP/1.1 share it.
    #[schemars(with = "Address")]
    pub address: SocketAddr,
    /// The filter chain, in the order in which requests run through it. The last one is terminal. By
    /// default `trace` and `plugin_dispatch`.
    #[serde(default = "default_chain")]
    pub filters: Vec<FilterEntry>,
    /// Which requests are taken, and what is different for them. Without any: all requests alike.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// HTTP/2 settings and limits.
    #[serde(default)]
    pub http2: Http2,
    /// HTTP/1.1 limits.
    #[serde(default)]
    pub http1: Http1,
    /// Limits of its connections whatever the protocol.
    #[serde(default)]
    pub limits: ConnectionLimits,
}

impl Default for Listener {
    /// The one that is there when none is configured: `edge` on loopback, so that nothing is reachable
    /// from outside before somebody decides so.
    fn default() -> Self {
        Self {
            name: "edge".into(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            filters: default_chain(),
            routes: Vec::new(),
            http2: Http2::default(),
            http1: Http1::default(),
            limits: ConnectionLimits::default(),
        }
    }
}

fn default_chain() -> Vec<FilterEntry> {
    DEFAULT_CHAIN.iter().map(|name| FilterEntry::new(*name)).collect()
}

/// One filter of a chain. Written as its name, or as a mapping of its name to its settings.
#[derive(Clone)]
pub struct FilterEntry {
    /// The filter's name.
    pub name: String,
    /// Its settings as written: an object, checked against the filter's schema, without defaults.
    pub settings: Value,
    /// The line it stands on; 0 if it is there by default. Not part of its identity.
    pub line: usize,
}

impl FilterEntry {
    /// A filter with all of its defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), settings: Value::Object(Map::new()), line: 0 }
    }
}

impl PartialEq for FilterEntry {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.settings == other.settings
    }
}

impl fmt::Debug for FilterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilterEntry")
            .field("name", &self.name)
            .field("settings", &redact::value(&self.settings))
            .field("line", &self.line)
            .finish()
    }
}

impl Serialize for FilterEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.settings.as_object().is_some_and(Map::is_empty) {
            return serializer.serialize_str(&self.name);
        }
        let mut entry = serializer.serialize_map(Some(1))?;
        entry.serialize_entry(&self.name, &redact::value(&self.settings))?;
        entry.end()
    }
}

impl<'de> Deserialize<'de> for FilterEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Bare(String),
            Tagged(Map<String, Value>),
        }
        match Form::deserialize(deserializer)? {
            Form::Bare(name) => Ok(Self::new(name)),
            Form::Tagged(entries) => {
                let mut entries = entries.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((name, Value::Null)), None) => Ok(Self::new(name)),
                    (Some((name, settings)), None) => Ok(Self { name, settings, line: 0 }),
                    _ => Err(de::Error::custom("expected one filter per entry")),
                }
            }
        }
    }
}

impl JsonSchema for FilterEntry {
    fn schema_name() -> Cow<'static, str> {
        "FilterEntry".into()
    }

    /// A placeholder: which filters there are, only the registry knows.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "object"] })
    }
}
