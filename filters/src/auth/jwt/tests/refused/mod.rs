//! Tokens that are not accepted, each for its own reason.

mod claims;
mod forms;
mod headers;
mod signatures;

use super::{
    issuer::{Issuer, base64},
    rsa, *,
};
use crate::auth::strict_json::Fault;
use Algorithm::*;
use proptest::prelude::*;
use std::collections::HashSet;

type Case = (String, String, Refused);

fn case(name: impl Into<String>, token: impl Into<String>, refused: Refused) -> Case {
    (name.into(), token.into(), refused)
}

#[tokio::test]
async fn none_is_accepted_and_each_says_why() {
    let issuer = Issuer::new();
    let mut keys = all_keys(&issuer);
    // A second key of RSA, so that a token has to say which.
    keys.push(named(&Issuer::other(), RS256, json!({"kid": "rsa2"})));
    let rig = Rig::with(json!({}), issuer, &keys);
    let cases =
        [forms::cases(&rig), headers::cases(&rig), signatures::cases(&rig), claims::cases(&rig)].concat();
    let (mut seen, mut wrong) = (HashSet::new(), Vec::new());
    for (name, token, refused) in &cases {
        assert!(seen.insert(name), "{name} is there twice");
        // The second time nothing is remembered of it.
        for _ in 0..2 {
            match rig.verify(token) {
                Err(judged) if judged == *refused => {}
                judged => wrong.push(format!("{name}: {judged:?} and not {refused:?}")),
            }
        }
        let said = refused.to_string();
        for secret in ["alice", "evil", "id.example", "p256"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What the cases differ from is accepted, and one salt of four.
    for algorithm in Algorithm::ALL {
        assert!(rig.verify(rig.token(algorithm, CLAIMS)).is_ok(), "{algorithm:?}");
    }
    assert!(rig.verify(rsa::RIGHT_SALT).is_ok());
    println!("{} forged tokens, none accepted", cases.len());
    assert!(cases.len() >= 150, "{}", cases.len());
}

#[tokio::test]
async fn a_point_off_its_curve_signs_nothing() {
    let issuer = Issuer::new();
    for (x, y) in [([0; 32], [0; 32]), ([1; 32], [1; 32]), ([0xff; 32], [0xff; 32])] {
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "p256", "x": base64(x), "y": base64(y)});
        let rig = Rig::with(json!({}), Issuer::new(), &[key]);
        assert_eq!(
            rig.verify(issuer.token(ES256, header(ES256), CLAIMS)).map(drop),
            Err(Refused::BadSignature)
        );
        let zeros = format!("{}.{}.{}", base64(header(ES256)), base64(CLAIMS), base64([0; 64]));
        assert_eq!(rig.verify(zeros).map(drop), Err(Refused::BadSignature));
    }
}

proptest! {
    #[test]
    fn no_bytes_are_accepted_or_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        header in proptest::collection::vec(any::<u8>(), 0..80),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..=255,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let rig = Rig::new(json!({"cache_size": 4}));
        prop_assert!(rig.verify(&bytes).is_err());
        prop_assert!(rig.verify(rig.issuer.token(EdDSA, &header, CLAIMS)).is_err());
        prop_assert!(rig.verify(rig.issuer.token(EdDSA, super::header(EdDSA), &bytes)).is_err());
        // A good one with one byte changed, with it in the cache and without.
        let good = rig.token(EdDSA, CLAIMS).into_bytes();
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= mask;
        prop_assert!(rig.verify(&bad).is_err());
        prop_assert!(rig.verify(&good).is_ok());
        prop_assert!(rig.verify(&bad).is_err());
    }
}
