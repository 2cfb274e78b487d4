//! Places on other hosts: a name or an address, and a port.

use crate::units::UnitError;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

/// A host, by its name or IP address, and a port. Written `cache.example.com:50100`, `10.0.0.7:50100` or
/// `[2001:db8::7]:50100`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The name in lower case, or the address without brackets.
    pub host: String,
    /// The port, not 0.
    pub port: u16,
}

impl HostPort {
    /// The schema format that the walker knows this type by.
    pub(crate) const FORMAT: &'static str = "prism-host-port";
}

/// A host name as in RFC 1123 section 2.1: labels of letters, digits and hyphens. Underscores are in many a name that
/// resolves, and a dot at the end stops the resolver from looking elsewhere.
pub(crate) fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    // What is all digits and dots is an address with a mistake in it.
    let digits = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= 253 && host.split('.').all(label) && !digits
}

impl FromStr for HostPort {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            UnitError::new(
                "expected a host and a port such as `cache.example.com:50100`, `10.0.0.7:50100` or \
                 `[2001:db8::7]:50100`",
            )
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let bare = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(bare) => bare.parse().is_ok_and(|ip: IpAddr| ip.is_ipv6()).then_some(bare),
            None => (is_name(host) || host.parse().is_ok_and(|ip: IpAddr| ip.is_ipv4())).then_some(host),
        };
        match bare {
            Some(host) if port > 0 => Ok(Self { host: host.to_ascii_lowercase(), port }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HostPort {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "HostPort".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "examples": ["cache.example.com:50100"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_read_as_they_print() {
        for text in ["a:1", "cache.example.com:50100", "a_b.c-d.:65535", "10.0.0.7:1", "[::1]:50100", "7a:1"]
        {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        assert_eq!("Cache.Example:1".parse::<HostPort>().unwrap().host, "cache.example");
        for text in [
            "",
            ":",
            ":1",
            "a",
            "a:",
            "a:0",
            "a:65536",
            "a:-1",
            "a:+",
            "a b:1",
            "a/b:1",
            "a:1/b",
            "user@a:1",
            "-a:1",
            "a-:1",
            "a..b:1",
            ".:1",
            "::1:1",
            "[::1]",
            "[a]:1",
            "[10.0.0.7]:1",
            "[::1:1",
            "10.0.0:1",
            "10.0.0.256:1",
            "http://a:1",
            "a%20:1",
            "é:1",
            "a\0:1",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
        let label = "a".repeat(64);
        assert!(format!("{label}:1").parse::<HostPort>().is_err());
        assert!(format!("{}:1", [&label[..63]; 5].join(".")).parse::<HostPort>().is_err());
    }
}
