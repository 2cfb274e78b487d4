//! TLS at the listener: how it is configured. The handshake is the connection's, before there is any request.

use prism_config::{ClientAuth, ClientAuthError, FilterSchema, Phase};
use prism_tls::{IdentityFiles, ServerFiles};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Its name in configuration.
pub const NAME: &str = "tls";

/// Encrypts the listener's connections: TLS 1.2 and 1.3, HTTP/2 or HTTP/1.1 as the client asks for (ALPN). Nothing in
/// clear is taken any more. The files are looked at twice a second: renewed ones are used together or not at all, for new
/// connections. When authorities or revocation lists change, or a client's certificate ends, open connections are ended
/// whose client would not be let in any more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub struct Settings {
    /// PEM file: the listener's certificate, then those that lead to its CA. Relative to the configuration file.
    cert: PathBuf,
    /// PEM file: its private key, not encrypted. Relative to the configuration file.
    key: PathBuf,
    /// More certificates, each for the DNS names in it. A client is shown the one with the name that it asks for (SNI), an
    /// exact one before a wildcard; `cert` to those that ask for none of these, or for nothing. No name may be in two.
    #[serde(default)]
    #[schemars(length(min = 1))]
    certificates: Vec<Pair>,
    /// PEM file: the authorities, one of which must have signed a client's certificate; no others are trusted. Relative to
    /// the configuration file. Without it no client is asked for a certificate.
    #[serde(default)]
    #[schemars(with = "String")]
    client_ca: Option<PathBuf>,
    /// Whether clients need a certificate. By default `required` where there is a `client_ca`, because a listener that
    /// names who may come is meant for nobody else; else `none`.
    #[serde(default)]
    #[schemars(with = "ClientAuth")]
    client_auth: Option<ClientAuth>,
    /// PEM files: lists of the certificates that the authorities of `client_ca` have revoked (CRLs). Where there is one,
    /// every authority needs one, those between it and a client's certificate too: what no list covers is refused, because it
    /// is not known to be good. A list that has expired refuses every client of its authority. Relative to the configuration
    /// file.
    #[serde(default)]
    #[schemars(length(min = 1))]
    crls: Vec<PathBuf>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pair {
    /// PEM file: a certificate with at least one DNS name, then those that lead to its CA. Relative to the configuration file.
    cert: PathBuf,
    /// PEM file: its private key, not encrypted. Relative to the configuration file.
    key: PathBuf,
}

/// Why settings make no sense, though each key is right by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// What is said of clients.
    #[error(transparent)]
    Clients(#[from] ClientAuthError),
    /// They do not fit the schema that they were checked against.
    #[error("{0}")]
    Invalid(#[from] serde_json::Error),
}

/// How configuration knows the filter.
#[must_use]
pub fn schema() -> FilterSchema {
    FilterSchema {
        name: NAME,
        phase: Phase::Connection,
        schema: schemars::schema_for!(Settings).to_value(),
        check: |_| Vec::new(),
    }
}

/// The files that settings name; relative paths start at `base_dir`.
///
/// # Errors
/// The settings contradict each other.
pub fn files(settings: &Value, base_dir: &Path) -> Result<ServerFiles, SettingsError> {
    let Settings { cert, key, certificates, client_ca, client_auth, crls } = Settings::deserialize(settings)?;
    let path = |path: PathBuf| base_dir.join(path);
    let pair = |cert, key| IdentityFiles { certificates: path(cert), key: path(key) };
    let clients = clients(client_ca.map(path), client_auth, &crls)?;
    Ok(ServerFiles {
        identity: pair(cert, key),
        more: certificates.into_iter().map(|Pair { cert, key }| pair(cert, key)).collect(),
        clients,
        crls: crls.into_iter().map(path).collect(),
    })
}

/// Who clients have to be, from the three keys that say so wherever TLS is taken.
///
/// # Errors
/// They contradict each other.
pub fn clients(
    client_ca: Option<PathBuf>,
    client_auth: Option<ClientAuth>,
    crls: &[PathBuf],
) -> Result<prism_tls::ClientAuth, ClientAuthError> {
    let meant = ClientAuth::meant(client_auth, client_ca.is_some(), !crls.is_empty())?;
    Ok(match (meant, client_ca) {
        (ClientAuth::Required, Some(ca)) => prism_tls::ClientAuth::Required(ca),
        (ClientAuth::Optional, Some(ca)) => prism_tls::ClientAuth::Optional(ca),
        (ClientAuth::None, _) => prism_tls::ClientAuth::None,
        (ClientAuth::Required | ClientAuth::Optional, None) => return Err(ClientAuthError::NoClientCa),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prism_tls::ClientAuth as Clients;
    use serde_json::json;

    fn clients(mut settings: Value) -> Result<Clients, String> {
        settings["cert"] = "a.crt".into();
        settings["key"] = "/b.key".into();
        let files = files(&settings, Path::new("/etc/prism")).map_err(|error| error.to_string())?;
        assert_eq!(files.identity.certificates, Path::new("/etc/prism/a.crt"));
        assert_eq!(files.identity.key, Path::new("/b.key"));
        Ok(files.clients)
    }

    #[test]
    fn a_client_ca_is_there_to_be_used() {
        let ca = || PathBuf::from("/etc/prism/ca.crt");
        let ok = |settings| clients(settings).unwrap();
        assert_eq!(ok(json!({})), Clients::None);
        assert_eq!(ok(json!({"client_auth": "none"})), Clients::None);
        assert_eq!(ok(json!({"client_ca": "ca.crt"})), Clients::Required(ca()));
        assert_eq!(ok(json!({"client_ca": "ca.crt", "client_auth": "required"})), Clients::Required(ca()));
        assert_eq!(ok(json!({"client_ca": "ca.crt", "client_auth": "optional"})), Clients::Optional(ca()));
        for (settings, said) in [
            (json!({"client_auth": "required"}), "needs a `client_ca`"),
            (json!({"client_auth": "optional"}), "needs a `client_ca`"),
            (json!({"client_ca": "ca.crt", "client_auth": "none"}), "does nothing"),
            (json!({"client_auth": "Required"}), "unknown variant"),
            (json!({"client_auth": true}), "invalid type"),
            (json!({"client_ca": 1}), "invalid type"),
            (json!({"crl": "a.crl"}), "unknown field"),
            (json!({"crls": ["a.crl"]}), "do nothing without a `client_ca`"),
            (json!({"crls": ["a.crl"], "client_auth": "none"}), "do nothing without a `client_ca`"),
            (json!({"crls": "a.crl", "client_ca": "ca.crt"}), "invalid type"),
            (json!({"certificates": [{"cert": "a.crt"}]}), "missing field `key`"),
            (json!({"certificates": [{"cert": "a", "key": "b", "name": "c"}]}), "unknown field"),
            (json!({"certificates": ["a.crt"]}), "invalid type"),
        ] {
            let refused = clients(settings.clone()).unwrap_err();
            assert!(refused.contains(said), "{settings}: {refused}");
        }
    }

    #[test]
    fn every_path_starts_where_the_configuration_is() {
        let settings = json!({
            "cert": "a.crt", "key": "a.key", "client_ca": "ca.crt", "crls": ["a.crl", "/b.crl"],
            "certificates": [{"cert": "b.crt", "key": "/b.key"}],
        });
        let files = files(&settings, Path::new("/etc/prism")).unwrap();
        assert_eq!(files.crls, [Path::new("/etc/prism/a.crl"), Path::new("/b.crl")]);
        let [more] = &files.more[..] else { panic!("{files:?}") };
        assert_eq!((&*more.certificates, &*more.key), (Path::new("/etc/prism/b.crt"), Path::new("/b.key")));
    }

    #[test]
    fn unknown_settings_are_refused() {
        let schema = schema().schema;
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        assert_eq!(schema["required"], json!(["cert", "key"]));
    }
}
