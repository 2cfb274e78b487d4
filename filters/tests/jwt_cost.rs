//! What a token costs: nothing is allocated for one that was seen before. The times are printed and not judged.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prism_filters::auth::{
    jwks::Keys,
    jwt::{Settings, Verifier},
};
use prism_platform::{Platform, time::Instant};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, time::Duration};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(algorithm: &str, sub: usize, end: u64, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let header = json!({"alg": algorithm, "kid": algorithm});
    let claims = json!({
        "iss": "https://id.example", "aud": ["orders"], "sub": sub.to_string(), "exp": end,
        "realm": {"roles": (0..40).map(|role| format!("role-{role}")).collect::<Vec<_>>()},
    });
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = base64(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn a_token_that_was_seen_before_allocates_nothing() {
    let random = SystemRandom::new();
    let ed = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(how, &random).unwrap();
    let ec = EcdsaKeyPair::from_pkcs8(how, pkcs8.as_ref(), &random).unwrap();
    let point = ec.public_key().as_ref();
    let folder = tempfile::tempdir().unwrap();
    let keys = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": base64(ed.public_key().as_ref())},
        {"kty": "EC", "crv": "P-256", "kid": "ES256", "x": base64(&point[1..33]), "y": base64(&point[33..])},
    ]});
    std::fs::write(folder.path().join("keys.json"), keys.to_string()).unwrap();
    let settings: Settings = serde_json::from_value(json!({
        "issuer": "https://id.example", "audiences": ["orders"], "jwks": {"file": "keys.json"},
    }))
    .unwrap();
    let platform = Platform::system();
    let keys = Keys::open(&settings.jwks, &platform, folder.path(), None).unwrap();
    let verifier = Verifier::new(settings, keys, &platform);
    let now = platform.wall_clock();
    let end = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;

    const TOKENS: usize = 1000;
    let per_token = |time: Duration| time / u32::try_from(TOKENS).unwrap();
    for algorithm in ["EdDSA", "ES256"] {
        let tokens: Vec<_> = (0..TOKENS)
            .map(|sub| {
                signed(algorithm, sub, end, |signed| match algorithm {
                    "EdDSA" => ed.sign(signed).as_ref().to_vec(),
                    _ => ec.sign(&random, signed).unwrap().as_ref().to_vec(),
                })
            })
            .collect();
        let region = Region::new(ALLOCATOR);
        let start = Instant::now();
        for token in &tokens {
            verifier.verify(token.as_bytes(), now).unwrap();
        }
        let judged = per_token(start.elapsed());
        let change = region.change();
        let kept = (change.bytes_allocated - change.bytes_deallocated) / TOKENS;
        // The last of them: an earlier one may have had to go from its set.
        let token = tokens[TOKENS - 1].as_bytes();
        let region = Region::new(ALLOCATOR);
        let start = Instant::now();
        for _ in 0..TOKENS {
            verifier.verify(token, now).unwrap();
        }
        let remembered = per_token(start.elapsed());
        let change = region.change();
        println!(
            "{algorithm}, {} bytes: judged {judged:?}, remembered {remembered:?} in {kept} bytes",
            token.len()
        );
        assert_eq!((change.allocations, change.reallocations, change.deallocations), (0, 0, 0));
    }
}
