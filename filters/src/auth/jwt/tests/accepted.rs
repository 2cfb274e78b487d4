//! What is accepted, so that what is not has something to differ from.

use super::*;

#[tokio::test]
async fn every_algorithm_and_what_it_proves() {
    let rig = Rig::new(json!({}));
    for algorithm in Algorithm::ALL {
        let verified = rig.verify(rig.token(algorithm, CLAIMS)).unwrap();
        let credential = &verified;
        assert_eq!(credential.principal(), "jwt:https://id.example:alice");
        assert_eq!(credential.claims()["aud"], "orders");
        assert!(verified.stands());
        // 600 s, and the leeway.
        let left = credential.expires().unwrap() - prism_platform::time::Instant::now();
        assert!((620..=630).contains(&left.as_secs()), "{left:?}");
    }
}

#[tokio::test]
async fn claims_may_say_more_and_times_may_be_at_their_bounds() {
    let rig = Rig::new(json!({}));
    let with = |more: &str| CLAIMS.replace("\"exp\":1800000600", more);
    for claims in [
        with(r#""exp":1799999971"#),
        with(r#""exp":1800000000.75"#),
        with(r#""exp":1.8000006e9"#),
        with(r#""exp":253402300799"#),
        with(r#""exp":1800000600,"nbf":1800000030,"iat":1800000000"#),
        with(r#""exp":1800000600,"nbf":0,"iat":0.5"#),
        with(r#""exp":1800000600,"realm":{"roles":["a",{"b":[1]}]}"#),
        CLAIMS.replace("\"orders\"", r#"["x","orders"]"#),
        CLAIMS.replace("\"orders\"", r#"["billing"]"#),
        CLAIMS.replace("alice", "a:b c/é"),
    ] {
        let accepted = rig.verify(rig.token(Algorithm::ES256, &claims));
        assert!(accepted.is_ok(), "{claims}: {accepted:?}");
    }
    let odd = rig.verify(rig.token(Algorithm::ES256, &CLAIMS.replace("alice", "a:b c/é"))).unwrap();
    assert_eq!(odd.principal(), "jwt:https://id.example:a:b%20c/%C3%A9");
}

#[tokio::test]
async fn headers_may_say_more_that_changes_nothing() {
    let rig = Rig::new(json!({}));
    for header in [
        r#"{"alg":"ES256","kid":"p256","typ":"JWT"}"#,
        r#" {"kid":"p256","x5t":"AAAA","x5t#S256":"AAAA","cty":"x","foo":{"a":[1]},"alg":"\u0045S256"} "#,
        // The set has one key that this can mean.
        r#"{"alg":"ES256"}"#,
    ] {
        let token = rig.issuer.token(Algorithm::ES256, header, CLAIMS);
        assert!(rig.verify(token).is_ok(), "{header}");
    }
}

#[tokio::test]
async fn a_type_is_compared_as_media_types_are() {
    let rig = Rig::new(json!({"typ": "at+jwt"}));
    let judged = |typ: &str| {
        let header = format!(r#"{{"alg":"ES256","kid":"p256"{typ}}}"#);
        rig.verify(rig.issuer.token(Algorithm::ES256, header, CLAIMS)).map(drop)
    };
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        assert_eq!(judged(&format!(r#","typ":"{typ}""#)), Ok(()), "{typ}");
    }
    for typ in [
        r#","typ":"JWT""#,
        r#","typ":"text/at+jwt""#,
        r#","typ":"application/x/at+jwt""#,
        r#","typ":["at+jwt"]"#,
        "",
    ] {
        assert_eq!(judged(typ), Err(Refused::WrongType), "{typ}");
    }
}

#[tokio::test]
async fn a_key_with_an_algorithm_of_its_own_takes_no_other() {
    let issuer = Issuer::new();
    let keys =
        [named(&issuer, Algorithm::RS256, json!({"alg": "PS384", "use": "sig", "key_ops": ["verify"]}))];
    let rig = Rig::with(json!({}), issuer, &keys);
    for algorithm in Algorithm::ALL {
        let header = format!(r#"{{"alg":"{}","kid":"rsa"}}"#, algorithm.name());
        let judged = rig.verify(rig.issuer.token(algorithm, header, CLAIMS)).map(drop);
        let expected = if algorithm == Algorithm::PS384 { Ok(()) } else { Err(Refused::AlgorithmNotOfKey) };
        assert_eq!(judged, expected, "{algorithm:?}");
    }
}

#[tokio::test]
async fn settings_narrow_the_algorithms() {
    let rig = Rig::new(json!({"algorithms": ["RS256", "ES256"]}));
    for algorithm in Algorithm::ALL {
        let judged = rig.verify(rig.token(algorithm, CLAIMS)).map(drop);
        let allowed = matches!(algorithm, Algorithm::RS256 | Algorithm::ES256);
        assert_eq!(judged, if allowed { Ok(()) } else { Err(Refused::AlgorithmNotAllowed) }, "{algorithm:?}");
    }
}

#[tokio::test]
async fn keys_of_two_types_may_have_one_name() {
    let issuer = Issuer::new();
    let keys: Vec<_> = [Algorithm::RS256, Algorithm::ES256]
        .map(|algorithm| named(&issuer, algorithm, json!({"kid": "now"})))
        .into();
    let rig = Rig::with(json!({}), issuer, &keys);
    for algorithm in [Algorithm::RS512, Algorithm::ES256] {
        let header = format!(r#"{{"alg":"{}","kid":"now"}}"#, algorithm.name());
        assert!(rig.verify(rig.issuer.token(algorithm, header, CLAIMS)).is_ok());
    }
}
