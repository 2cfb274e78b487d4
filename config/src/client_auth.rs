//! Whether clients need a certificate: one set of rules for every place that takes TLS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// Whoever has none, or not a right one, is refused in the handshake.
    Required,
    /// One may be left out; one that is there must be right.
    Optional,
    /// Nobody is asked.
    None,
}

/// Why what is said of clients makes no sense, though each key is right by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientAuthError {
    /// Certificates are asked for, and none could be right.
    #[error(
        "`client_auth` asks for certificates, so it needs a `client_ca`: add one, or set `client_auth: none`"
    )]
    NoClientCa,
    /// It looks like protection and does nothing.
    #[error("`client_ca` does nothing with `client_auth: none`: remove it, or set `required` or `optional`")]
    IdleClientCa,
    /// It looks like protection and does nothing.
    #[error(
        "`crls` do nothing without a `client_ca`: remove them, or name the authorities whose lists they are"
    )]
    IdleCrls,
}

impl ClientAuthError {
    /// The key that is to blame.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::NoClientCa => "client_auth",
            Self::IdleClientCa => "client_ca",
            Self::IdleCrls => "crls",
        }
    }
}

impl ClientAuth {
    /// What is meant: `required` where there is a `client_ca` and nothing else is said, because who names authorities means
    /// nobody else. Of `required` and `optional` there is a `client_ca`.
    ///
    /// # Errors
    /// [`ClientAuthError`]
    pub fn meant(said: Option<Self>, client_ca: bool, crls: bool) -> Result<Self, ClientAuthError> {
        match (client_ca, said) {
            (false, _) if crls => Err(ClientAuthError::IdleCrls),
            (false, Some(Self::Required | Self::Optional)) => Err(ClientAuthError::NoClientCa),
            (false, None | Some(Self::None)) => Ok(Self::None),
            (true, Some(Self::None)) => Err(ClientAuthError::IdleClientCa),
            (true, said) => Ok(said.unwrap_or(Self::Required)),
        }
    }
}
