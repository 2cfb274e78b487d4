//! One key of a set: a public JSON web key (RFC 7517), read strictly.

use super::algorithm::{Algorithm, Material};
use crate::Backing;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

/// The longest name of a key, in bytes: issuers use digests and UUIDs.
pub const MOST_KEY_ID: usize = 256;

/// RSA of 2048 to 8192 bits (RFC 7518 section 3.3: "A key of size 2048 bits or larger MUST be used"), in bytes. The upper
/// bound keeps one check of a signature within a millisecond.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A public key that signatures are checked with.
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Option<Algorithm>,
    material: Material,
    /// It left its set; what it has signed counts no more.
    retired: AtomicBool,
}

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// Not a JSON object.
    #[error("it is no JSON object")]
    NotAnObject,
    /// `kty` is missing, or of a type that signs no tokens here.
    #[error("its `kty` is none of RSA, EC and OKP")]
    Type,
    /// `crv` is missing, or a curve that is not served.
    #[error("its `crv` is none of P-256, P-384 and Ed25519")]
    Curve,
    /// `kty: oct`: whoever checks with it can sign.
    #[error("it is a secret (`kty: oct`), and one that reads this set could make tokens with it")]
    Symmetric,
    /// It has a private part.
    #[error("it has its private part in it: whoever reads this set can make tokens; replace the key")]
    Private,
    /// `use` or `key_ops` say that it is for something else, such as encryption.
    #[error("it is not for signatures")]
    OtherUse,
    /// `alg` is none of ours, or not one of its type.
    #[error("its `alg` is not served, or not one of its type")]
    Algorithm,
    /// `kid` is no text, empty or too long.
    #[error("its `kid` is not a text of 1 to {MOST_KEY_ID} bytes")]
    Id,
    /// A member that is part of the key is missing, or not base64url of the right length.
    #[error("its `{0}` is missing or wrong")]
    Part(&'static str),
    /// RSA below 2048 or above 8192 bits.
    #[error("its modulus is not of 2048 to 8192 bits")]
    RsaSize,
    /// Another key before it has the same name and type, so that the name says not which.
    #[error("another key of its type has the same `kid`")]
    Duplicate,
}

impl Backing for Key {
    fn stands(&self) -> bool {
        !self.is_retired()
    }
}

impl Key {
    /// Reads a member of `keys`.
    pub(crate) fn read(jwk: &Value) -> Result<Self, Unusable> {
        let jwk = jwk.as_object().ok_or(Unusable::NotAnObject)?;
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let kty = text("kty");
        if kty == Some("oct") || jwk.contains_key("k") {
            return Err(Unusable::Symmetric);
        }
        // RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2.
        if ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|part| jwk.contains_key(*part)) {
            return Err(Unusable::Private);
        }
        if !for_signatures(jwk) {
            return Err(Unusable::OtherUse);
        }
        let material = match kty {
            Some("RSA") => rsa(jwk)?,
            Some("EC") => match text("crv") {
                Some("P-256") => Material::P256(point(jwk, 32)?),
                Some("P-384") => Material::P384(point(jwk, 48)?),
                _ => return Err(Unusable::Curve),
            },
            Some("OKP") => match text("crv") {
                Some("Ed25519") => Material::Ed25519(exactly(jwk, "x", 32)?.into()),
                _ => return Err(Unusable::Curve),
            },
            _ => return Err(Unusable::Type),
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => {
                let algorithm = name.as_str().and_then(Algorithm::named).ok_or(Unusable::Algorithm)?;
                Some(algorithm.takes(&material).then_some(algorithm).ok_or(Unusable::Algorithm)?)
            }
        };
        let id = match jwk.get("kid") {
            None => None,
            Some(id) => {
                let id = id.as_str().filter(|id| (1..=MOST_KEY_ID).contains(&id.len()));
                Some(id.ok_or(Unusable::Id)?.into())
            }
        };
        Ok(Self { id, algorithm, material, retired: AtomicBool::new(false) })
    }

    /// Its name, which says nothing but which key it is: nothing is looked up by it outside its set.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it signs with that algorithm: its own, or any of its type if it says none.
    #[must_use]
    pub fn takes(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && algorithm.takes(&self.material)
    }

    /// Whether it left its set. Nothing brings it back: the same key in a later set is another one.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it is the same key, for the same use, by the same name.
    pub(crate) fn same(&self, other: &Self) -> bool {
        (&self.id, self.algorithm, &self.material) == (&other.id, other.algorithm, &other.material)
    }

    /// Whether a token could mean either of them.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        self.id.is_some()
            && self.id == other.id
            && Algorithm::ALL.into_iter().any(|algorithm| self.takes(algorithm) && other.takes(algorithm))
    }

    pub(crate) fn signature_len(&self, algorithm: Algorithm) -> Option<usize> {
        algorithm.signature_len(&self.material)
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.takes(algorithm) && algorithm.verify(&self.material, message, signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// RFC 7517 sections 4.2 and 4.3. Where it says both they must agree, so either is enough to refuse.
fn for_signatures(jwk: &Map<String, Value>) -> bool {
    let used = jwk.get("use").is_none_or(|usage| usage == "sig");
    let operation = jwk.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|operations| operations.iter().any(|name| name == "verify"))
    });
    used && operation
}

fn rsa(jwk: &Map<String, Value>) -> Result<Material, Unusable> {
    let (n, e) = (number(jwk, "n")?, number(jwk, "e")?);
    let full = n.len() > *RSA_BYTES.start() || n.first().is_some_and(|first| *first >= 0x80);
    if !RSA_BYTES.contains(&n.len()) || !full {
        return Err(Unusable::RsaSize);
    }
    if n.last().is_none_or(|last| last % 2 == 0) {
        return Err(Unusable::Part("n"));
    }
    // An odd number of 3 to 33 bits, as NIST SP 800-56B and every library bound it: a large one only makes checks slow.
    let exponent = e.iter().fold(0_u64, |sum, byte| sum.saturating_mul(256).saturating_add((*byte).into()));
    if exponent < 3 || exponent.is_multiple_of(2) || exponent >= 1 << 33 {
        return Err(Unusable::Part("e"));
    }
    Ok(Material::Rsa { n: n.into(), e: e.into() })
}

/// "The length of this octet string MUST be the full size of a coordinate for the curve" (RFC 7518 section 6.2.1.2). That
/// the point is on its curve is checked with every signature.
fn point(jwk: &Map<String, Value>, length: usize) -> Result<Box<[u8]>, Unusable> {
    /// SEC 1 section 2.3.3: both coordinates follow.
    const UNCOMPRESSED: u8 = 4;
    let mut point = vec![UNCOMPRESSED];
    point.extend(exactly(jwk, "x", length)?);
    point.extend(exactly(jwk, "y", length)?);
    Ok(point.into())
}

fn exactly(jwk: &Map<String, Value>, name: &'static str, length: usize) -> Result<Vec<u8>, Unusable> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() == length { Ok(bytes) } else { Err(Unusable::Part(name)) }
}

/// Some libraries write a zero in front (RFC 7518 section 6.3.1.1); the number is the same.
fn number(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let mut bytes = bytes(jwk, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    Ok(bytes)
}

fn bytes(jwk: &Map<String, Value>, name: &'static str) -> Result<Vec<u8>, Unusable> {
    let text = jwk.get(name).and_then(Value::as_str).ok_or(Unusable::Part(name))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unusable::Part(name))
}
