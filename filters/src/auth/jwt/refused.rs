//! Why a token is not accepted.

use crate::auth::strict_json::Fault;
use std::fmt;

/// A part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first.
    Header,
    /// The second.
    Claims,
    /// The third.
    Signature,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// Why a token is not accepted: for the log. It says nothing of what the token says; the client is not told which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Above [`super::MOST_TOKEN`].
    #[error("the token is above {} bytes", super::MOST_TOKEN)]
    TooLong,
    /// Not three parts with a dot between each.
    #[error("the token has not three parts")]
    NotThreeParts,
    /// Five parts, or a header that says so: a JWE (RFC 7516).
    #[error("the token is encrypted")]
    Encrypted,
    /// Padding, whitespace, another alphabet, or bits that decode to nothing.
    #[error("the token's {0} is not base64url without padding")]
    NotBase64Url(Part),
    /// Above [`super::MOST_HEADER`].
    #[error("the token's header is above {} bytes", super::MOST_HEADER)]
    HeaderTooLong,
    /// A part is no JSON object with one reading.
    #[error("the token's {0}: {1}")]
    Json(Part, Fault),
    /// `alg` is missing or no text.
    #[error("the token names no algorithm")]
    NoAlgorithm,
    /// `alg: none`, however it is spelled.
    #[error("the token is not signed (`alg: none`)")]
    AlgorithmNone,
    /// `HS256` and its like, with which a public key would be a password.
    #[error("the token is signed with a shared secret (HMAC)")]
    AlgorithmSymmetric,
    /// An algorithm that is not served.
    #[error("the token's algorithm is not known")]
    AlgorithmUnknown,
    /// An algorithm that the configuration leaves out.
    #[error("the token's algorithm is not in `algorithms`")]
    AlgorithmNotAllowed,
    /// An algorithm that is not the key's.
    #[error("the token's algorithm is not its key's")]
    AlgorithmNotOfKey,
    /// `crit`: it wants something understood that is not.
    #[error("the token's header has `crit`, and no extension is understood")]
    Critical,
    /// `b64` (RFC 7797).
    #[error("the token's header has `b64`")]
    Unencoded,
    /// It brings its key, or says where to fetch it.
    #[error("the token brings its own key (`{0}`)")]
    EmbeddedKey(&'static str),
    /// `typ` is not the configured one.
    #[error("the token's `typ` is not the configured one")]
    WrongType,
    /// `kid` is no text, empty or too long.
    #[error("the token's `kid` is not a text of 1 to {} bytes", crate::auth::jwks::MOST_KEY_ID)]
    KeyId,
    /// It names no key, and there are several that could be meant.
    #[error("the token names no key, and more than one could be meant")]
    KeyNotNamed,
    /// No key has the name.
    #[error("the token's key is not in the issuer's key set")]
    UnknownKey,
    /// There are no keys yet.
    #[error("the issuer's keys could not be fetched yet")]
    NoKeys,
    /// The third part is empty.
    #[error("the token has no signature")]
    NoSignature,
    /// The signature is longer or shorter than its algorithm and key make it.
    #[error("the token's signature has not the length of its algorithm")]
    SignatureLength,
    /// It is not the key's signature of these bytes.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// A claim that has to be there is not.
    #[error("the token has no `{0}`")]
    Missing(&'static str),
    /// A claim is of another JSON type than it has to be.
    #[error("the token's `{0}` is of the wrong JSON type")]
    Type(&'static str),
    /// A claim is of the right type and still none that can be: a negative time, one after the year 9999, an empty subject.
    #[error("the token's `{0}` is out of range")]
    Range(&'static str),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is still to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is somebody else.
    #[error("the token is of another issuer")]
    WrongIssuer,
    /// `aud` names none of ours.
    #[error("the token is for another audience")]
    WrongAudience,
    /// Issuer and subject are together longer than a principal may be.
    #[error("the token's issuer and subject are too long for a principal")]
    PrincipalTooLong,
}

impl Refused {
    /// Whether the token is not at fault: it could not be judged just now.
    #[must_use]
    pub fn is_unavailable(self) -> bool {
        self == Self::NoKeys
    }
}
