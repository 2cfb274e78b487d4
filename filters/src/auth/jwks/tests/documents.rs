//! What is taken of a document.

use super::*;
use crate::auth::{jwt::tests::rsa, strict_json::Fault};
use proptest::prelude::*;

fn with(key: &Value, name: &str, value: Value) -> Value {
    let mut key = key.clone();
    key[name] = value;
    key
}

fn without(key: &Value, name: &str) -> Value {
    let mut key = key.clone();
    key.as_object_mut().unwrap().remove(name);
    key
}

#[test]
fn a_key_that_cannot_be_used_is_left_out_and_says_why() {
    let issuer = Issuer::new();
    let (rsa, ec) = (issuer.jwk(Algorithm::RS256), issuer.jwk(Algorithm::ES256));
    let (p384, ed) = (issuer.jwk(Algorithm::ES384), issuer.jwk(Algorithm::EdDSA));
    let good = named(&issuer, Algorithm::EdDSA, "good");
    let short = |key: &Value, name: &str| {
        let text = key[name].as_str().unwrap();
        with(key, name, text[..text.len() - 4].into())
    };
    let cases = [
        (json!("key"), Unusable::NotAnObject),
        (json!({}), Unusable::Type),
        (without(&rsa, "kty"), Unusable::Type),
        (with(&rsa, "kty", "rsa".into()), Unusable::Type),
        (with(&rsa, "kty", json!(["RSA"])), Unusable::Type),
        (with(&ec, "kty", "AKP".into()), Unusable::Type),
        (json!({"kty": "oct", "k": "AAAA"}), Unusable::Symmetric),
        (json!({"kty": "oct", "k": "AAAA", "alg": "HS256", "use": "sig"}), Unusable::Symmetric),
        (with(&rsa, "k", "AAAA".into()), Unusable::Symmetric),
        (with(&rsa, "d", "AAAA".into()), Unusable::Private),
        (with(&rsa, "qi", "AAAA".into()), Unusable::Private),
        (with(&rsa, "oth", json!([])), Unusable::Private),
        (with(&ec, "d", "AAAA".into()), Unusable::Private),
        (with(&ed, "d", Value::Null), Unusable::Private),
        (with(&rsa, "use", "enc".into()), Unusable::OtherUse),
        (with(&rsa, "use", json!(["sig"])), Unusable::OtherUse),
        (with(&rsa, "key_ops", json!(["encrypt", "wrapKey"])), Unusable::OtherUse),
        (with(&rsa, "key_ops", "verify".into()), Unusable::OtherUse),
        (with(&with(&rsa, "key_ops", json!(["verify"])), "use", "enc".into()), Unusable::OtherUse),
        (with(&rsa, "alg", "RSA-OAEP".into()), Unusable::Algorithm),
        (with(&rsa, "alg", "HS256".into()), Unusable::Algorithm),
        (with(&rsa, "alg", "none".into()), Unusable::Algorithm),
        (with(&rsa, "alg", "ES256".into()), Unusable::Algorithm),
        (with(&rsa, "alg", Value::Null), Unusable::Algorithm),
        (with(&ec, "alg", "ES384".into()), Unusable::Algorithm),
        (with(&p384, "alg", "ES256".into()), Unusable::Algorithm),
        (with(&ed, "alg", "ES256".into()), Unusable::Algorithm),
        (with(&rsa, "kid", "".into()), Unusable::Id),
        (with(&rsa, "kid", 7.into()), Unusable::Id),
        (with(&rsa, "kid", "a".repeat(257).into()), Unusable::Id),
        (with(&rsa, "kid", Value::Null), Unusable::Id),
        (without(&rsa, "n"), Unusable::Part("n")),
        (with(&rsa, "n", 65537.into()), Unusable::Part("n")),
        (with(&rsa, "n", "a+b/".into()), Unusable::Part("n")),
        (with(&rsa, "n", format!("{}==", rsa["n"].as_str().unwrap()).into()), Unusable::Part("n")),
        (with(&rsa, "n", base64([0xfe; 256]).into()), Unusable::Part("n")),
        (with(&rsa, "n", rsa::WEAK_MODULUS.into()), Unusable::RsaSize),
        (with(&rsa, "n", base64([&[0x7f][..], &[0xff; 255]].concat()).into()), Unusable::RsaSize),
        (with(&rsa, "n", base64([0xff; 1025]).into()), Unusable::RsaSize),
        (with(&rsa, "n", "".into()), Unusable::RsaSize),
        (with(&rsa, "n", base64([0; 300]).into()), Unusable::RsaSize),
        (without(&rsa, "e"), Unusable::Part("e")),
        (with(&rsa, "e", base64([1]).into()), Unusable::Part("e")),
        (with(&rsa, "e", base64([2]).into()), Unusable::Part("e")),
        (with(&rsa, "e", base64([]).into()), Unusable::Part("e")),
        (with(&rsa, "e", base64([0xff; 5]).into()), Unusable::Part("e")),
        (with(&rsa, "e", base64([0xff; 256]).into()), Unusable::Part("e")),
        (without(&ec, "crv"), Unusable::Curve),
        (with(&ec, "crv", "P-521".into()), Unusable::Curve),
        (with(&ec, "crv", "secp256k1".into()), Unusable::Curve),
        (with(&ec, "crv", "Ed25519".into()), Unusable::Curve),
        (with(&ed, "crv", "X25519".into()), Unusable::Curve),
        (with(&ed, "crv", "Ed448".into()), Unusable::Curve),
        (with(&ed, "crv", "P-256".into()), Unusable::Curve),
        (without(&ec, "y"), Unusable::Part("y")),
        (with(&ec, "crv", "P-384".into()), Unusable::Part("x")),
        (with(&p384, "crv", "P-256".into()), Unusable::Part("x")),
        (short(&ec, "x"), Unusable::Part("x")),
        (short(&p384, "y"), Unusable::Part("y")),
        (short(&ed, "x"), Unusable::Part("x")),
        (with(&ec, "x", base64([0; 33]).into()), Unusable::Part("x")),
        (good.clone(), Unusable::Duplicate),
        (named(&Issuer::other(), Algorithm::EdDSA, "good"), Unusable::Duplicate),
    ];
    for (key, why) in cases {
        let (set, unused) = KeySet::read(document(&[good.clone(), key.clone()]).as_bytes()).unwrap();
        assert_eq!(unused, [(2, why)], "{key}");
        assert_eq!(set.keys().count(), 1);
        // Alone it is no set; and its reason tells nothing of it.
        if why != Unusable::Duplicate {
            let none = KeySet::read(document(&[key]).as_bytes()).unwrap_err();
            assert_eq!(none, KeySetError::NoneUsable(vec![(1, why)]));
            assert!(none.to_string().starts_with("none of its 1 keys can be used: key 1: "), "{none}");
        }
    }
}

#[test]
fn what_a_key_may_say_besides_changes_nothing() {
    let issuer = Issuer::new();
    let rsa = issuer.jwk(Algorithm::RS256);
    let zeros = format!("AAAA{}", rsa["n"].as_str().unwrap());
    for key in [
        with(&rsa, "use", "sig".into()),
        with(&rsa, "key_ops", json!(["sign", "verify"])),
        with(&rsa, "alg", "PS512".into()),
        with(&rsa, "x5c", json!(["MIIB"])),
        with(&rsa, "n", zeros.into()),
        with(&rsa, "e", base64([0, 1, 0, 1]).into()),
        with(&rsa, "x-mine", json!({"a": [1]})),
    ] {
        let (set, unused) = KeySet::read(document(std::slice::from_ref(&key)).as_bytes()).unwrap();
        assert_eq!((set.keys().count(), unused.len()), (1, 0), "{key}");
        let read = set.keys().next().unwrap();
        let signature = issuer.signature(Algorithm::PS512, "message");
        assert!(read.verify(Algorithm::PS512, b"message", &signature), "{key}");
        assert!(!read.verify(Algorithm::PS512, b"massage", &signature));
    }
}

#[test]
fn a_document_that_is_no_set_says_why() {
    let issuer = Issuer::new();
    let key = |id: usize| named(&issuer, Algorithm::EdDSA, &id.to_string());
    let read = |document: &str| KeySet::read(document.as_bytes()).map(|(set, _)| set.keys().count());
    let good = document(&[key(0)]);
    for (text, error) in [
        ("", KeySetError::Json(Fault::Syntax)),
        ("<!DOCTYPE html><title>Sign in</title>", KeySetError::Json(Fault::Syntax)),
        (&good[..good.len() - 1], KeySetError::Json(Fault::Syntax)),
        (&format!("{good}{good}"), KeySetError::Json(Fault::Syntax)),
        ("[]", KeySetError::Json(Fault::NotAnObject)),
        (&good.replacen("{\"keys\"", "{\"keys\":[],\"keys\"", 1), KeySetError::Json(Fault::Duplicate)),
        (&good.replacen("\"kid\"", "\"kid\":\"1\",\"kid\"", 1), KeySetError::Json(Fault::Duplicate)),
        (&format!("{{\"keys\":{}{}}}", "[".repeat(99), "]".repeat(99)), KeySetError::Json(Fault::TooDeep)),
        ("{}", KeySetError::NoKeys),
        ("{\"keys\":{}}", KeySetError::NoKeys),
        ("{\"jwks_uri\":\"https://id.example/keys\"}", KeySetError::NoKeys),
        ("{\"keys\":[]}", KeySetError::NoneUsable(Vec::new())),
        (&document(&(0..101).map(key).collect::<Vec<_>>()), KeySetError::TooMany),
        (&format!("{good}{}", " ".repeat(MOST_BYTES)), KeySetError::TooLarge),
    ] {
        assert_eq!(read(text).unwrap_err(), error, "{text:.100}");
    }
    assert_eq!(read(&document(&(0..100).map(key).collect::<Vec<_>>())), Ok(100));
    assert_eq!(read(&format!("{good}{}", " ".repeat(MOST_BYTES - good.len()))), Ok(1));
}

proptest! {
    #[test]
    fn any_document_is_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        members in proptest::collection::btree_map(
            "kty|crv|x|y|n|e|alg|use|kid|key_ops",
            prop_oneof![Just(json!("RSA")), Just(json!("EC")), Just(json!("P-256")), Just(json!("AQAB")), Just(json!(1)),
                "[A-Za-z0-9_-]{0,64}".prop_map(Value::from)],
            0..8,
        ),
    ) {
        let _ = KeySet::read(&bytes);
        let _ = KeySet::read(json!({"keys": [members]}).to_string().as_bytes());
    }
}
