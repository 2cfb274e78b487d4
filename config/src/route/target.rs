//! Where a forward route's requests go.

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    host_port::HostPort,
    plugin::{ClientIdentity, PluginTls, TlsFault, UpstreamTls},
    units::UnitError,
};

/// One place that a forward route's requests go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "TargetForm")]
#[schemars(with = "TargetForm")]
pub struct ForwardTarget {
    /// Where it listens.
    pub address: TargetAddress,
    /// Its share of the requests.
    pub weight: u32,
    /// What it speaks.
    pub protocol: HttpProtocol,
    /// How connections are secured; `None`: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<PluginTls>,
}

/// One place that a forward route's requests go to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ForwardTarget")]
struct TargetForm {
    /// Where it listens: `HOST:PORT`, or `unix:PATH` for a unix socket (relative to the configuration file).
    address: TargetAddress,
    /// Its share of the requests, beside the weights of the others. 0: none for now.
    #[serde(default = "one")]
    #[schemars(range(max = 1_000_000))]
    weight: u32,
    /// What it speaks.
    #[serde(default)]
    protocol: HttpProtocol,
    /// How connections are secured. On another host it must be written, `{ enabled: false }` too.
    #[serde(default)]
    #[schemars(with = "UpstreamTls")]
    tls: Option<UpstreamTls>,
}

fn one() -> u32 {
    1
}

impl From<TargetForm> for ForwardTarget {
    fn from(form: TargetForm) -> Self {
        let tls = form.tls.and_then(|tls| tls.resolved(&|path| path));
        Self { address: form.address, weight: form.weight, protocol: form.protocol, tls }
    }
}

impl ForwardTarget {
    /// Makes its paths absolute.
    pub(crate) fn resolve(&mut self, absolute: &impl Fn(PathBuf) -> PathBuf) {
        let resolve = |path: &mut PathBuf| *path = absolute(std::mem::take(path));
        if let TargetAddress::Unix(path) = &mut self.address {
            resolve(path);
        }
        if let Some(tls) = &mut self.tls {
            resolve(&mut tls.ca_cert);
            if let Some(ClientIdentity { client_cert, client_key }) = &mut tls.client {
                resolve(client_cert);
                resolve(client_key);
            }
        }
    }
}

/// What a service speaks. Over TLS it is agreed before the first byte (ALPN), and nothing else is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HttpProtocol {
    /// HTTP/2, in clear from its first byte on (\"prior knowledge\"). The default, as gRPC needs it.
    #[default]
    Http2,
    /// HTTP/1.1. No gRPC: its outcome is in trailers, which such services seldom send.
    Http1,
}

/// Where a service listens. Written `orders.example.com:8080`, `127.0.0.1:8080` or `unix:./run/orders.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetAddress {
    /// A host and a port.
    Host(HostPort),
    /// A unix socket.
    Unix(PathBuf),
}

impl TargetAddress {
    /// The schema format that the walker knows this type by.
    pub(crate) const FORMAT: &'static str = "prism-target";

    /// What is wrong with `tls` being written for it, or not; `noun` is what it is.
    #[must_use]
    pub fn tls_fault(&self, is_written: bool, noun: &str) -> Option<TlsFault> {
        let (message, hint) = match self {
            Self::Unix(_) if is_written => ("a unix socket is not secured by TLS".to_owned(), "remove `tls`"),
            at if !is_written && !at.is_local() => (
                format!("{noun} on another host needs `tls`"),
                "add `tls:` with a `ca_cert`, or `tls: { enabled: false }` for a network that nobody else is on",
            ),
            _ => return None,
        };
        Some(TlsFault { key: None, message, hint: hint.to_owned() })
    }

    /// What is sent there stays on this host.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Host(at) => {
                at.host == "localhost" || at.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        }
    }
}

impl FromStr for TargetAddress {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            UnitError::new(
                "expected `HOST:PORT` such as `orders.example.com:8080`, or `unix:PATH`; whether it is TLS says `tls`",
            )
        };
        match text.strip_prefix("unix:") {
            // `unix:///run/x.sock` is how gRPC libraries write it.
            Some(path) => match path.strip_prefix("//").unwrap_or(path) {
                "" => Err(wrong()),
                path => Ok(Self::Unix(Path::new(path).to_owned())),
            },
            None => text.parse().map(Self::Host).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(at) => at.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for TargetAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for TargetAddress {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TargetAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "examples": ["orders.example.com:8080", "unix:./run/orders.sock"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for text in ["a.example:1", "127.0.0.1:8080", "[::1]:8080", "unix:/run/x.sock", "unix:./x.sock"] {
            assert_eq!(text.parse::<TargetAddress>().unwrap().to_string(), text);
        }
        assert_eq!("unix:///run/x".parse::<TargetAddress>().unwrap().to_string(), "unix:/run/x");
        for text in
            ["", "a", "a:0", "http://a:1", "https://a", "unix:", "unix://", "/run/x.sock", "a:1/x", ":1"]
        {
            assert!(text.parse::<TargetAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_stays_on_this_host_is_told_from_what_leaves_it() {
        for (text, local) in [
            ("unix:/x", true),
            ("127.0.0.2:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            ("10.0.0.1:1", false),
            ("localhost.example:1", false),
            ("0.0.0.0:1", false),
        ] {
            assert_eq!(text.parse::<TargetAddress>().unwrap().is_local(), local, "{text}");
        }
    }
}
