//! What a request must look like for a route to take it.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::redact;

/// What a request must look like. Everything given must hold; nothing given matches every request.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The whole path, without the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the path begins with, compared as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// The host that it names (`:authority`, or `Host`), in any case. Without a port it matches every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub host: Option<String>,
    /// A gRPC service, or one method of it. Stands in place of a path, and takes gRPC calls only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GrpcMatch")]
    pub grpc: Option<GrpcMatch>,
    /// Headers by name, with the exact value each must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "show_headers")]
    pub headers: BTreeMap<String, String>,
}

/// A gRPC service, or one method of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcMatch {
    /// The service with its package, such as `grpc.testing.TestService`.
    pub service: String,
    /// One method, such as `UnaryCall`; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub method: Option<String>,
}

/// What a matcher says of the path. What is matched as text is always the path as the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path and no other.
    Exact(String),
    /// Every path that begins so; `/` begins all of them.
    Prefix(String),
}

impl Match {
    /// What the path must be or begin with.
    #[must_use]
    pub fn paths(&self) -> PathMatch {
        match (&self.path, &self.path_prefix, &self.grpc) {
            (Some(path), ..) => PathMatch::Exact(path.clone()),
            (None, Some(prefix), _) => PathMatch::Prefix(prefix.clone()),
            (None, None, Some(grpc)) => grpc.paths(),
            (None, None, None) => PathMatch::Prefix("/".to_owned()),
        }
    }
}

impl GrpcMatch {
    /// gRPC over HTTP/2, "Path": `/{service}/{method}`.
    fn paths(&self) -> PathMatch {
        let service = &self.service;
        match &self.method {
            Some(method) => PathMatch::Exact(format!("/{service}/{method}")),
            None => PathMatch::Prefix(format!("/{service}/")),
        }
    }
}

fn show_headers<S: Serializer>(headers: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().map(|(name, value)| {
        (name, if redact::is_secret_key(name) { redact::REDACTED } else { value.as_str() })
    }))
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Match({self})")
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.grpc, &self.path, &self.path_prefix) {
            (Some(GrpcMatch { service, method: None }), ..) => write!(f, "grpc {service}")?,
            (Some(GrpcMatch { service, method: Some(method) }), ..) => write!(f, "grpc {service}/{method}")?,
            (None, Some(path), _) => write!(f, "path {path}")?,
            (None, None, Some(prefix)) => write!(f, "path_prefix {prefix}")?,
            (None, None, None) => f.write_str("every path")?,
        }
        if let Some(host) = &self.host {
            write!(f, " of host {host}")?;
        }
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let value = if redact::is_secret_key(name) { redact::REDACTED } else { value };
            write!(f, "{} {name}={value}", if index == 0 { " with" } else { "," })?;
        }
        Ok(())
    }
}
