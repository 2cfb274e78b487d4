//! Who may do what over the admin interface's TCP address, and what protects the way there.

use std::{borrow::Cow, fmt, net::IpAddr, path::PathBuf, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    client_auth::ClientAuth,
    host_port::is_name,
    redact::REDACTED,
    schema::{Name, SECRET},
    units::UnitError,
};

/// What somebody may do. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdminRole {
    /// Reads every endpoint, and changes nothing.
    Viewer,
    /// Also asks what a configuration would change (`PUT /config?dry_run=true`).
    Operator,
    /// Also changes the configuration.
    Admin,
}

impl AdminRole {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A bearer token for the admin interface, of which only the digest is known here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// What its owner is called in logs: `token:NAME`.
    #[schemars(with = "Name")]
    pub name: String,
    /// The token's SHA-256 in hexadecimal digits, as `sha256sum` writes it. For tokens of at least 24 random characters: a
    /// shorter one is never accepted.
    pub sha256: TokenDigest,
    /// What it permits.
    pub role: AdminRole,
}

/// Somebody who is known by a client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminClient {
    /// Whom it is about: the certificate's one SPIFFE id (`spiffe://example.org/ops/alice`), or where it has none its first
    /// DNS name (`dns:ops.example.org`); logs have it so. In a pattern, `*` stands for any characters but `/`, and `**` for
    /// any characters at all.
    pub principal: String,
    /// What it permits.
    pub role: AdminRole,
}

/// The SHA-256 of a secret. Shown or serialized, it is redacted: whoever has it can try guesses at home.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The schema format that the walker knows this type by.
    pub(crate) const FORMAT: &'static str = "prism-sha256";

    /// The digest.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for TokenDigest {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || UnitError::new("expected 64 hexadecimal digits, as sha256sum writes them");
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut out = [0; 32];
        if text.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (high, low) = (digit(pair[0]).ok_or_else(wrong)?, digit(pair[1]).ok_or_else(wrong)?);
            *byte = high << 4 | low;
        }
        Ok(Self(out))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for TokenDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for TokenDigest {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TokenDigest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "pattern": "^[0-9a-fA-F]{64}$", SECRET: true })
    }
}

/// What the admin address is encrypted with: TLS 1.2 and 1.3. The files are looked at twice a second; renewed ones are used
/// together or not at all, for new connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdminTls {
    /// PEM file: the certificate, then those that lead to its CA. Relative to the configuration file.
    pub cert: PathBuf,
    /// PEM file: its private key, not encrypted. Relative to the configuration file.
    pub key: PathBuf,
    /// PEM file: the authorities, one of which must have signed a client's certificate; no others are trusted. What a
    /// certificate permits is said in `clients`; without them it only opens the door, and tokens say who may do what. Relative
    /// to the configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub client_ca: Option<PathBuf>,
    /// Whether clients need a certificate. By default `required` where there is a `client_ca`, because who names authorities
    /// means nobody else: no one gets as far as a request then, a load balancer's probe neither. `optional` is for where some
    /// come with a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClientAuth")]
    pub client_auth: Option<ClientAuth>,
    /// PEM files: lists of the certificates that the authorities of `client_ca` have revoked (CRLs). Where there is one,
    /// every authority needs one, as for the filter `tls`. A list that has expired refuses every client of its authority.
    /// Relative to the configuration file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub crls: Vec<PathBuf>,
}

/// A host as a request's `Host` names it, without the port: a name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminHost {
    /// In lower case.
    Name(String),
    /// An address; one of IPv4 within IPv6 as that of IPv4.
    Ip(IpAddr),
}

impl AdminHost {
    /// The schema format that the walker knows this type by.
    pub(crate) const FORMAT: &'static str = "prism-host";
}

impl FromStr for AdminHost {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        match (bare.unwrap_or(text).parse::<IpAddr>(), bare) {
            (Ok(ip), None) => Ok(Self::Ip(ip.to_canonical())),
            (Ok(ip), Some(_)) if ip.is_ipv6() => Ok(Self::Ip(ip.to_canonical())),
            (Err(_), None) if is_name(text) => Ok(Self::Name(text.to_ascii_lowercase())),
            _ => Err(UnitError::new(
                "expected a host without scheme, port or wildcard, such as `edge.example.com`, `10.0.0.7` or `[2001:db8::7]`",
            )),
        }
    }
}

impl fmt::Display for AdminHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl Serialize for AdminHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AdminHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for AdminHost {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AdminHost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "examples": ["edge.example.com"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_read_as_they_print() {
        for text in ["edge.example.com", "localhost", "10.0.0.7", "[::1]", "a_b-c"] {
            assert_eq!(text.parse::<AdminHost>().unwrap().to_string(), text);
        }
        assert_eq!("EDGE".parse::<AdminHost>().unwrap().to_string(), "edge");
        assert_eq!("::1".parse::<AdminHost>().unwrap().to_string(), "[::1]");
        assert_eq!("::ffff:10.0.0.7".parse::<AdminHost>().unwrap().to_string(), "10.0.0.7");
        for text in [
            "",
            "a:1",
            "http://a",
            "a/",
            "*",
            "*.a",
            "a b",
            "[a]",
            "[10.0.0.7]",
            "[::1",
            "::1]",
            "[::1]:1",
            "u@a",
            "é",
            "10.0.0",
            "10.0.0.256",
            "-a",
            "a..b",
        ] {
            assert!(text.parse::<AdminHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_digest_is_read_and_never_shown() {
        let text = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let digest: TokenDigest = text.parse().unwrap();
        assert_eq!(digest, text.to_uppercase().parse().unwrap());
        assert_eq!((digest.bytes()[0], digest.bytes()[31]), (0x9f, 0x08));
        assert_eq!(
            format!("{digest:?}{}", serde_json::to_value(digest).unwrap()),
            "<redacted>\"<redacted>\""
        );
        for text in
            [&text[1..], "", &format!("g{}", &text[1..]), &format!("é{}", &text[2..]), &format!("{text} ")]
        {
            assert!(text.parse::<TokenDigest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_role_includes_those_before_it() {
        assert!(AdminRole::Viewer < AdminRole::Operator && AdminRole::Operator < AdminRole::Admin);
    }
}
