//! What is remembered, and until when.

use super::*;
use crate::auth::jwks::LOOK;
use Algorithm::*;
use std::ptr;

#[tokio::test]
async fn a_token_is_judged_once() {
    let rig = Rig::new(json!({}));
    let token = rig.token(RS256, CLAIMS);
    let first = rig.verify(&token).unwrap();
    assert!(ptr::eq(&*first, &*rig.verify(&token).unwrap()));
    assert_eq!(rig.verifier.cache.len(), 1);
    // Another one of the same claims is another one: ECDSA signs differently each time.
    let (one, two) = (rig.token(ES256, CLAIMS), rig.token(ES256, CLAIMS));
    assert!(!ptr::eq(&*rig.verify(one).unwrap(), &*rig.verify(two).unwrap()));
}

#[tokio::test]
async fn the_whole_token_counts() {
    let rig = Rig::new(json!({}));
    let token = rig.token(RS256, CLAIMS);
    rig.verify(&token).unwrap();
    let [header, _, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let admin = issuer::base64(CLAIMS.replace("alice", "admin"));
    // The same end, so the same place.
    assert_eq!(rig.verify(format!("{header}.{admin}.{signature}")).map(drop), Err(Refused::BadSignature));
    assert_eq!(
        rig.verify(&token[1..]).map(drop).unwrap_err(),
        rig.verify(&token[1..]).map(drop).unwrap_err()
    );
}

#[tokio::test]
async fn a_remembered_token_ends_when_it_ends() {
    let rig = Rig::new(json!({}));
    let claims = CLAIMS.replace("\"exp\"", r#""nbf":1800000000,"exp""#);
    let token = rig.token(ES256, &claims);
    let judged = |now| rig.verifier.verify(token.as_bytes(), at(now)).map(drop);
    assert_eq!(judged(NOW), Ok(()));
    assert_eq!(judged(NOW + 629), Ok(()));
    assert_eq!(judged(NOW + 630), Err(Refused::Expired));
    // A clock that was set back.
    assert_eq!(judged(NOW - 31), Err(Refused::NotYetValid));
    assert_eq!(judged(NOW), Ok(()));
}

/// The machine slept, or the clock was set back: what the credential says of its end is over, and the token's is not.
#[tokio::test(start_paused = true)]
async fn a_credential_that_has_ended_is_not_handed_out_again() {
    let rig = Rig::new(json!({}));
    let token = rig.token(ES256, CLAIMS);
    let first = rig.verify(&token).unwrap();
    tokio::time::advance(Duration::from_secs(631)).await;
    let second = rig.verify(&token).unwrap();
    assert!(second.expires() > first.expires());
    assert_eq!(rig.verifier.cache.len(), 1);
}

#[tokio::test]
async fn no_more_is_remembered_than_there_is_room_for() {
    let rig = Rig::new(json!({"cache_size": 8}));
    let tokens: Vec<_> =
        (0..40).map(|user| rig.token(EdDSA, &CLAIMS.replace("alice", &format!("user-{user}")))).collect();
    for _ in 0..2 {
        for (user, token) in tokens.iter().enumerate() {
            let verified = rig.verify(token).unwrap();
            assert_eq!(verified.principal(), &format!("jwt:https://id.example:user-{user}"));
        }
    }
    assert_eq!(rig.verifier.cache.len(), 8);
    // None of those that are refused takes a place, and without room there is no cache.
    assert!(rig.verify(rig.token(EdDSA, &CLAIMS.replace("orders", "x"))).is_err());
    assert_eq!(rig.verifier.cache.len(), 8);
    let rig = Rig::new(json!({"cache_size": 0}));
    let token = rig.token(EdDSA, CLAIMS);
    assert!(!ptr::eq(&*rig.verify(&token).unwrap(), &*rig.verify(&token).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_a_key_has_signed_ends_with_the_key() {
    let rig = Rig::new(json!({}));
    let (es, ed) = (rig.token(ES256, CLAIMS), rig.token(EdDSA, CLAIMS));
    let (by_es, by_ed) = (rig.verify(&es).unwrap(), rig.verify(&ed).unwrap());

    // Keys that change places stay the same keys.
    let mut keys = all_keys(&rig.issuer);
    keys.reverse();
    keys.retain(|key| key["kid"] != "p256");
    keys.push(named(&Issuer::other(), ES256, json!({"kid": "next"})));
    write(&rig.folder, &keys);
    rig.verifier.keys().newer_than(1).await;
    assert!(!by_es.stands() && by_ed.stands());
    assert_eq!(rig.verify(&es).map(drop), Err(Refused::UnknownKey));
    assert!(ptr::eq(&*by_ed, &*rig.verify(&ed).unwrap()));

    // Under its name with another use it is another key.
    let keys = [named(&rig.issuer, EdDSA, json!({"alg": "EdDSA"}))];
    write(&rig.folder, &keys);
    rig.verifier.keys().newer_than(2).await;
    assert!(!by_ed.stands());
    assert!(!ptr::eq(&*by_ed, &*rig.verify(&ed).unwrap()));

    // The key of that name is another one.
    write(&rig.folder, &[named(&Issuer::other(), EdDSA, json!({"alg": "EdDSA"}))]);
    rig.verifier.keys().newer_than(3).await;
    assert_eq!(rig.verify(&ed).map(drop), Err(Refused::BadSignature));

    // It comes back; what was remembered does not.
    write(&rig.folder, &keys);
    rig.verifier.keys().newer_than(4).await;
    assert!(!by_ed.stands());
    assert!(!ptr::eq(&*by_ed, &*rig.verify(&ed).unwrap()));

    // Nothing there, garbage, or no usable key: the last good ones.
    for text in ["", "{", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"] {
        std::fs::write(rig.folder.path().join("keys.json"), text).unwrap();
        tokio::time::sleep(LOOK * 3).await;
        assert!(rig.verify(&ed).is_ok(), "{text}");
    }
    std::fs::remove_file(rig.folder.path().join("keys.json")).unwrap();
    tokio::time::sleep(LOOK * 3).await;
    assert!(rig.verifier.keys().problem().unwrap().contains("No such file"));
    assert_eq!(rig.verifier.keys().generation(), 5);
    assert!(rig.verify(&ed).is_ok());
}
