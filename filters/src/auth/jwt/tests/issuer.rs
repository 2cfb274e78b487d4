//! An issuer that signs whatever it is given.

use super::rsa;
use crate::auth::jwks::Algorithm;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
        RsaEncoding, RsaKeyPair,
    },
};
use serde_json::{Value, json};

pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    /// PKCS #8, because a key pair has its form of signature.
    p256: Vec<u8>,
    p384: Vec<u8>,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(crate) fn new() -> Self {
        Self::with_rsa(rsa::KEY)
    }

    /// Another one, with other keys of every type.
    pub(crate) fn other() -> Self {
        Self::with_rsa(rsa::OTHER)
    }

    fn with_rsa(key: &str) -> Self {
        let random = SystemRandom::new();
        let ec = |how| EcdsaKeyPair::generate_pkcs8(how, &random).unwrap().as_ref().to_vec();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(&URL_SAFE_NO_PAD.decode(key).unwrap()).unwrap(),
            p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            random,
        }
    }

    /// Its public key for an algorithm, without `kid` and `alg`.
    pub(crate) fn jwk(&self, algorithm: Algorithm) -> Value {
        let ec = |how, pkcs8: &[u8], curve| {
            let pair = EcdsaKeyPair::from_pkcs8(how, pkcs8, &self.random).unwrap();
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
        };
        match algorithm {
            Algorithm::ES256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.p256, "P-256"),
            Algorithm::ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.p384, "P-384"),
            Algorithm::EdDSA => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(self.ed25519.public_key().as_ref())})
            }
            _ => {
                let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                json!({"kty": "RSA", "n": base64(n), "e": base64(e)})
            }
        }
    }

    /// The public RSA key as a file would have it, which a verifier that is confused takes for a shared secret.
    pub(crate) fn rsa_der(&self) -> Vec<u8> {
        self.rsa.public_key().as_ref().to_vec()
    }

    /// The signature over what is given.
    pub(crate) fn signature(&self, algorithm: Algorithm, signed: &str) -> Vec<u8> {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(encoding, &self.random, signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        match algorithm {
            Algorithm::RS256 => rsa(&signature::RSA_PKCS1_SHA256),
            Algorithm::RS384 => rsa(&signature::RSA_PKCS1_SHA384),
            Algorithm::RS512 => rsa(&signature::RSA_PKCS1_SHA512),
            Algorithm::PS256 => rsa(&signature::RSA_PSS_SHA256),
            Algorithm::PS384 => rsa(&signature::RSA_PSS_SHA384),
            Algorithm::PS512 => rsa(&signature::RSA_PSS_SHA512),
            Algorithm::ES256 => self.ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.p256, signed),
            Algorithm::ES384 => self.ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.p384, signed),
            Algorithm::EdDSA => self.ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
        }
    }

    /// A signature of `ES256` in the form that certificates have it in.
    pub(crate) fn asn1(&self, signed: &str) -> Vec<u8> {
        self.ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.p256, signed)
    }

    fn ecdsa(&self, how: &'static EcdsaSigningAlgorithm, pkcs8: &[u8], signed: &str) -> Vec<u8> {
        let pair = EcdsaKeyPair::from_pkcs8(how, pkcs8, &self.random).unwrap();
        pair.sign(&self.random, signed.as_bytes()).unwrap().as_ref().to_vec()
    }

    /// A token of these texts, whatever they say.
    pub(crate) fn token(
        &self,
        algorithm: Algorithm,
        header: impl AsRef<[u8]>,
        claims: impl AsRef<[u8]>,
    ) -> String {
        let signed = format!("{}.{}", base64(header), base64(claims));
        let signature = base64(self.signature(algorithm, &signed));
        format!("{signed}.{signature}")
    }
}
