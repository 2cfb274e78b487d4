//! Keys from a server that is down, slow, changes its keys, or says what it should not. Time is paused: minutes are exact.

use super::*;
use crate::auth::{
    fetch::testing::{Behaviour, World, ok},
    jwt::{
        Refused, Verifier,
        tests::{CLAIMS, settings},
    },
};
use prism_platform::{Platform, time};
use std::{sync::Arc, time::Duration};

struct Rig {
    world: World,
    platform: Platform,
    verifier: Arc<Verifier>,
}

fn rig(behaviour: Behaviour) -> Rig {
    let world = World::new(behaviour);
    let platform = world.platform();
    // The tokens of the tests end in 2027, and the simulated clock begins in 2025.
    let settings = settings(json!({"jwks": {"url": "http://localhost/keys"}}));
    let keys = Keys::open(&settings.jwks, &platform, "".as_ref(), None).unwrap();
    let verifier = Arc::new(Verifier::new(settings, keys, &platform));
    Rig { world, platform, verifier }
}

impl Rig {
    fn keys(&self) -> &Arc<Keys> {
        self.verifier.keys()
    }

    fn fetches(&self) -> usize {
        self.world.connected().len()
    }

    async fn judge(&self, token: &str) -> Result<(), Refused> {
        self.verifier.verify_or_fetch(token.as_bytes()).await.map(drop)
    }

    fn known(&self, token: &str) -> Result<(), Refused> {
        self.verifier.verify(token.as_bytes(), self.platform.wall_clock()).map(drop)
    }
}

fn token(issuer: &Issuer, id: &str) -> String {
    issuer.token(Algorithm::EdDSA, format!(r#"{{"alg":"EdDSA","kid":"{id}"}}"#), CLAIMS)
}

fn serving(keys: &[Value]) -> Behaviour {
    Behaviour::Says(ok(document(keys)))
}

async fn pass(seconds: u64) {
    time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_at_the_start_is_asked_less_and_less_often() {
    let issuer = Issuer::new();
    let token = token(&issuer, "a");
    let rig = rig(Behaviour::Refuses);
    assert_eq!(rig.judge(&token).await, Err(Refused::NoKeys));
    assert!(Refused::NoKeys.is_unavailable() && !Refused::UnknownKey.is_unavailable());
    // After 1, 2, 4, 8, 16 and then every 30 s: at 0, 1, 3, 7, 15, 31, 61, 91.
    pass(100).await;
    assert_eq!(rig.fetches(), 8);
    assert!(rig.keys().problem().unwrap().contains("cannot connect"));
    // Tokens do not have it asked more often.
    for _ in 0..100 {
        assert_eq!(rig.judge(&token).await, Err(Refused::NoKeys));
    }
    assert_eq!((rig.fetches(), rig.keys().generation()), (8, 0));

    rig.world.behave(serving(&[named(&issuer, Algorithm::EdDSA, "a")]));
    rig.keys().newer_than(0).await;
    assert_eq!(rig.judge(&token).await, Ok(()));
    assert_eq!((rig.fetches(), rig.keys().problem()), (9, None));
}

#[tokio::test(start_paused = true)]
async fn it_is_known_how_long_ago_keys_were_confirmed_and_how_often_in_vain() {
    let issuer = Issuer::new();
    let rig = rig(Behaviour::Refuses);
    pass(100).await;
    assert_eq!((rig.keys().age(), rig.keys().failures()), (None, 8));
    rig.world.behave(serving(&[named(&issuer, Algorithm::EdDSA, "a")]));
    pass(30).await;
    // At 121 s, and again 4.5 minutes later at the earliest.
    assert_eq!(rig.keys().age().map(|age| age.as_secs()), Some(9));
    rig.world.behave(Behaviour::Refuses);
    pass(3600).await;
    // The first of them 270 to 300 s after the last success, then after 1, 3, 7, 15 s and every 30.
    let (age, failures) = (rig.keys().age().unwrap(), rig.keys().failures());
    assert_eq!(age.as_secs(), 3609);
    assert!((110..=120).contains(&(failures - 8)), "{failures}");
    // The same keys once more: they are as old as that, and no newer.
    rig.world.behave(serving(&[named(&issuer, Algorithm::EdDSA, "a")]));
    pass(31).await;
    assert!(rig.keys().age().unwrap() <= Duration::from_secs(31));
    assert_eq!(rig.keys().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_first_keys_and_not_for_long() {
    let issuer = Issuer::new();
    let quick = rig(serving(&[named(&issuer, Algorithm::EdDSA, "a")]));
    // The task has not even begun: nothing is under way yet.
    tokio::task::yield_now().await;
    assert_eq!(quick.judge(&token(&issuer, "a")).await, Ok(()));

    let slow = rig(Behaviour::Stops(Vec::new()));
    tokio::task::yield_now().await;
    let judged = time::timeout(Duration::from_millis(1001), slow.judge(&token(&issuer, "a"))).await;
    assert_eq!(judged.unwrap(), Err(Refused::NoKeys));
    assert_eq!(slow.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_server_is_asked_as_often_as_configured() {
    let issuer = Issuer::new();
    let rig = rig(serving(&[named(&issuer, Algorithm::EdDSA, "a")]));
    pass(3600).await;
    // Every 4.5 to 5 minutes, and the first at once.
    assert!((13..=14).contains(&rig.fetches()), "{}", rig.fetches());
    assert_eq!(rig.keys().fetches(), rig.fetches() as u64);
    // The same document is no change.
    assert_eq!(rig.keys().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn known_keys_go_on_whatever_the_server_does() {
    let issuer = Issuer::new();
    let (good, key) = (token(&issuer, "a"), named(&issuer, Algorithm::EdDSA, "a"));
    let head = |text: &str| format!("HTTP/1.1 {text}\r\n\r\n").into_bytes();
    let keys = document(std::slice::from_ref(&key));
    let evil = document(&[named(&Issuer::other(), Algorithm::EdDSA, "a")]);
    for (behaviour, reason) in [
        (Behaviour::Refuses, "cannot connect"),
        (Behaviour::Swallows, "cannot connect"),
        (Behaviour::Stops(Vec::new()), "no answer within"),
        (Behaviour::Stops(head("200 OK\r\ncontent-length: 99")), "no answer within"),
        (Behaviour::Trickles(ok(&keys)), "no answer within"),
        (Behaviour::Floods(head("200 OK")), "above 262144 bytes"),
        (Behaviour::Says(ok(format!("{keys}{}", " ".repeat(MOST_BYTES)))), "above 262144 bytes"),
        (
            Behaviour::Says(head("302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0")),
            "redirect",
        ),
        (Behaviour::Says(head("500 Oops\r\ncontent-length: 0")), "500"),
        (
            Behaviour::Says(
                [head(&format!("404 Not Found\r\ncontent-length: {}", evil.len())), evil.into()].concat(),
            ),
            "404",
        ),
        (Behaviour::Says(ok("<html>Sign in</html>")), "not JSON"),
        (Behaviour::Says(ok("")), "not JSON"),
        (Behaviour::Says(ok(&keys[..50])), "not JSON"),
        (Behaviour::Says(ok("{\"keys\":[]}")), "none of its 0 keys"),
        (Behaviour::Says(ok("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"AAAA\"}]}")), "secret"),
        (Behaviour::Says(ok(keys.replacen("\"kid\"", "\"kid\":\"b\",\"kid\"", 1))), "a name twice"),
    ] {
        let rig = rig(serving(std::slice::from_ref(&key)));
        rig.keys().newer_than(0).await;
        let before = rig.fetches();
        rig.world.behave(behaviour);
        for _ in 0..20 {
            pass(30).await;
            assert_eq!(rig.known(&good), Ok(()), "{reason}");
        }
        // Ten minutes, of which the first five at most were before the next question.
        let asked = rig.fetches() - before;
        assert!((10..=25).contains(&asked), "{reason}: {asked}");
        let problem = rig.keys().problem().unwrap();
        assert!(problem.contains(reason), "{reason}: {problem}");
        assert_eq!(rig.keys().generation(), 1);
        assert!(rig.world.resolved().iter().all(|host| host == "localhost"));

        // And it comes back by itself. The keys of before are no change.
        rig.world.behave(serving(std::slice::from_ref(&key)));
        pass(31).await;
        assert_eq!((rig.keys().problem(), rig.keys().generation()), (None, 1));
        pass(301).await;
        rig.world.behave(serving(&[key.clone(), named(&issuer, Algorithm::ES256, "b")]));
        rig.keys().newer_than(1).await;
        assert_eq!(rig.known(&good), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_changes_its_keys_without_a_word_is_asked_once_in_half_a_minute() {
    let (old, new) = (Issuer::new(), Issuer::other());
    let rig = rig(serving(&[named(&old, Algorithm::EdDSA, "old")]));
    rig.keys().newer_than(0).await;
    let (by_old, by_new) = (token(&old, "old"), token(&new, "new"));
    let verified = rig.verifier.verify_or_fetch(by_old.as_bytes()).await.unwrap();
    assert_eq!(rig.fetches(), 1);

    // The first token with the new key brings it.
    rig.world.behave(serving(&[named(&old, Algorithm::EdDSA, "old"), named(&new, Algorithm::EdDSA, "new")]));
    assert_eq!(rig.known(&by_new), Err(Refused::UnknownKey));
    assert_eq!(rig.judge(&by_new).await, Ok(()));
    assert_eq!((rig.fetches(), rig.keys().generation()), (2, 2));
    assert!(verified.stands());

    // Strangers who make up names bring nothing for half a minute, and then one question.
    rig.world.behave(serving(&[named(&new, Algorithm::EdDSA, "new")]));
    for round in 0..5 {
        for made_up in 0..200 {
            let stranger = token(&new, &format!("{round}-{made_up}"));
            assert_eq!(rig.judge(&stranger).await, Err(Refused::UnknownKey));
        }
        assert_eq!(rig.fetches(), 2 + round);
        pass(30).await;
    }
    // Other faults bring none at all.
    for bad in [token(&old, "new"), by_new.replace('.', "_"), format!("{by_new}AA")] {
        assert!(rig.judge(&bad).await.is_err());
    }
    assert_eq!(rig.fetches(), 6);

    // The old key has left with the first of those.
    assert!(!verified.stands());
    assert_eq!(rig.known(&by_old), Err(Refused::UnknownKey));
    assert_eq!((rig.known(&by_new), rig.keys().generation()), (Ok(()), 3));
}

#[tokio::test(start_paused = true)]
async fn many_calls_with_a_new_key_wait_for_one_question_and_not_all_of_them() {
    let (old, new) = (Issuer::new(), Issuer::other());
    let rig = rig(serving(&[named(&old, Algorithm::EdDSA, "old")]));
    rig.keys().newer_than(0).await;
    rig.world.behave(serving(&[named(&new, Algorithm::EdDSA, "new")]));
    let token: Arc<str> = token(&new, "new").into();
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&rig.verifier), Arc::clone(&token));
            tokio::spawn(async move { verifier.verify_or_fetch(token.as_bytes()).await.map(drop) })
        })
        .collect();
    let (mut accepted, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(()) => accepted += 1,
            Err(Refused::UnknownKey) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((accepted, refused, rig.fetches()), (256, 744, 2));
    // Their places are free again.
    assert_eq!(rig.judge(&token).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_long_for_a_slow_server_and_who_gives_up_holds_nothing() {
    let (old, new) = (Issuer::new(), Issuer::other());
    let rig = rig(serving(&[named(&old, Algorithm::EdDSA, "old")]));
    rig.keys().newer_than(0).await;
    rig.world.behave(Behaviour::Stops(Vec::new()));
    let unknown = token(&new, "new");
    for _ in 0..2 {
        let judged = time::timeout(Duration::from_millis(1001), rig.judge(&unknown)).await;
        assert_eq!(judged.unwrap(), Err(Refused::UnknownKey));
        assert_eq!(rig.fetches(), 2);
    }
    // Cancelled calls, more than there are places, while one question is under way.
    for _ in 0..300 {
        assert!(time::timeout(Duration::from_millis(1), rig.judge(&unknown)).await.is_err());
    }
    assert_eq!(rig.fetches(), 2);
    // Known keys never waited.
    assert_eq!(rig.known(&token(&old, "old")), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn keys_are_kept_over_a_reload_and_end_with_their_last_user() {
    let issuer = Issuer::new();
    let rig = rig(serving(&[named(&issuer, Algorithm::EdDSA, "a")]));
    rig.keys().newer_than(0).await;
    let open = |jwks: Value| {
        let settings: Settings = serde_json::from_value(jwks).unwrap();
        Keys::open(&settings, &rig.platform, "".as_ref(), Some(rig.keys())).unwrap()
    };
    assert!(Arc::ptr_eq(&open(json!({"url": "http://localhost/keys"})), rig.keys()));
    assert!(Arc::ptr_eq(&open(json!({"url": "http://localhost:80/keys", "refresh": "5m"})), rig.keys()));
    for other in
        [json!({"url": "http://localhost/other"}), json!({"url": "http://localhost/keys", "refresh": "6m"})]
    {
        let other = open(other);
        assert!(!Arc::ptr_eq(&other, rig.keys()));
        other.newer_than(0).await;
    }
    assert_eq!(rig.fetches(), 3);
    // Those two are gone, and so is what asked for them.
    let Rig { world, verifier, .. } = rig;
    pass(280).await;
    drop(verifier);
    let before = world.connected().len();
    assert!(before <= 4);
    pass(3600).await;
    assert_eq!(world.connected().len(), before);
}
