//! The signature algorithms of RFC 7518 section 3 and RFC 8037, each bound to its type of key.

use ring::signature::{
    self, EcdsaVerificationAlgorithm, EdDSAParameters, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// How a token is signed. There is no `none`, and no HMAC: whoever can check one can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSA with PKCS #1 v1.5 padding and SHA-256.
    RS256,
    /// RSA with PKCS #1 v1.5 padding and SHA-384.
    RS384,
    /// RSA with PKCS #1 v1.5 padding and SHA-512.
    RS512,
    /// RSA with PSS padding and SHA-256.
    PS256,
    /// RSA with PSS padding and SHA-384.
    PS384,
    /// RSA with PSS padding and SHA-512.
    PS512,
    /// ECDSA on the curve P-256 with SHA-256.
    ES256,
    /// ECDSA on the curve P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

/// A public key's numbers, in the form that its algorithms take.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Material {
    /// Big-endian, without leading zeros.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
    /// An uncompressed point (SEC 1 section 2.3.3).
    P256(Box<[u8]>),
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

impl Algorithm {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// Its name in tokens and keys. "The values used are case sensitive" (RFC 7515 section 4.1.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether a key can be used with it.
    pub(crate) fn takes(self, key: &Material) -> bool {
        self.check(key).is_some()
    }

    /// The signature's length with that key, in bytes; `None` where they do not belong together.
    pub(crate) fn signature_len(self, key: &Material) -> Option<usize> {
        self.check(key).map(|check| match check {
            Check::Rsa(_, n, _) => n.len(),
            Check::P256(_) | Check::Ed25519(_) => 64,
            Check::P384(_) => 96,
        })
    }

    /// Whether the signature is the key's. Not if they do not belong together.
    pub(crate) fn verify(self, key: &Material, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.check(key) {
            None => return false,
            Some(Check::Rsa(how, n, e)) => RsaPublicKeyComponents { n, e }.verify(how, message, signature),
            // RFC 7518 section 3.4: R and S as they are, one after the other, and no ASN.1.
            Some(Check::P256(point)) => ecdsa(&signature::ECDSA_P256_SHA256_FIXED, point, message, signature),
            Some(Check::P384(point)) => ecdsa(&signature::ECDSA_P384_SHA384_FIXED, point, message, signature),
            Some(Check::Ed25519(point)) => {
                const ED25519: &EdDSAParameters = &signature::ED25519;
                UnparsedPublicKey::new(ED25519, point).verify(message, signature)
            }
        };
        verified.is_ok()
    }

    fn check(self, key: &Material) -> Option<Check<'_>> {
        let rsa = match self {
            Self::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::ES256 => match key {
                Material::P256(point) => return Some(Check::P256(point)),
                _ => return None,
            },
            Self::ES384 => match key {
                Material::P384(point) => return Some(Check::P384(point)),
                _ => return None,
            },
            Self::EdDSA => match key {
                Material::Ed25519(point) => return Some(Check::Ed25519(point)),
                _ => return None,
            },
        };
        match key {
            Material::Rsa { n, e } => Some(Check::Rsa(rsa, n, e)),
            _ => None,
        }
    }
}

/// An algorithm with a key that is of its type.
enum Check<'a> {
    Rsa(&'static RsaParameters, &'a [u8], &'a [u8]),
    P256(&'a [u8]),
    P384(&'a [u8]),
    Ed25519(&'a [u8]),
}

fn ecdsa(
    how: &'static EcdsaVerificationAlgorithm,
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), ring::error::Unspecified> {
    UnparsedPublicKey::new(how, point).verify(message, signature)
}
