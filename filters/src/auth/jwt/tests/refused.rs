//! Tokens that are not accepted, each for its own reason.

use super::{
    issuer::{Issuer, base64},
    rsa, *,
};
use crate::auth::strict_json::Fault;
use Algorithm::*;
use proptest::prelude::*;
use ring::hmac;
use std::collections::HashSet;

type Case = (String, String, Refused);

fn case(name: impl Into<String>, token: impl Into<String>, refused: Refused) -> Case {
    (name.into(), token.into(), refused)
}

/// Its form, before anything of it is read.
fn forms(rig: &Rig) -> Vec<Case> {
    let good = rig.token(ES256, CLAIMS);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let base64_of = Refused::NotBase64Url;
    let padded = |part: &str| format!("{part}{}", "=".repeat((4 - part.len() % 4) % 4));
    // The last character of 64 bytes has four bits that say nothing: with one of them set it decodes to the same, if it does.
    let (most, last) = signature.split_at(85);
    let bits = format!("{most}{}", char::from(last.as_bytes()[0] + 1));
    vec![
        case("empty", "", Refused::NotThreeParts),
        case("a word", "token", Refused::NotThreeParts),
        case("two parts", format!("{header}.{claims}"), Refused::NotThreeParts),
        case("four parts", format!("{good}."), Refused::NotThreeParts),
        case("two dots more", format!("{good}.."), Refused::Encrypted),
        case("five parts (JWE)", format!("{header}.AA.AA.AA.AA"), Refused::Encrypted),
        case("six parts", format!("{header}.AA.AA.AA.AA.AA"), Refused::NotThreeParts),
        case("dots alone", "..", Refused::Json(Part::Header, Fault::Syntax)),
        case("oversize", format!("{header}.{}.{signature}", "A".repeat(9000)), Refused::TooLong),
        case("no claims", format!("{header}..{signature}"), Refused::BadSignature),
        case("padded header", format!("{header}==.{claims}.{signature}"), base64_of(Part::Header)),
        case("padded claims", format!("{header}.{claims}=.{signature}"), base64_of(Part::Claims)),
        case(
            "padded signature",
            format!("{header}.{claims}.{}", padded(signature)),
            base64_of(Part::Signature),
        ),
        case(
            "standard alphabet",
            format!("{header}.{claims}.{}+/", &signature[2..]),
            base64_of(Part::Signature),
        ),
        case("a space before", format!(" {good}"), base64_of(Part::Header)),
        case("a space after", format!("{good} "), base64_of(Part::Signature)),
        case("a space within", format!("{header}.{claims}. {signature}"), base64_of(Part::Signature)),
        case("a line break", format!("{header}.{claims}\r\n.{signature}"), base64_of(Part::Claims)),
        case("a NUL", format!("{good}\0"), base64_of(Part::Signature)),
        case("not ASCII", format!("{header}.é{claims}.{signature}"), base64_of(Part::Claims)),
        case("bits that say nothing", format!("{header}.{claims}.{bits}"), base64_of(Part::Signature)),
        case("the scheme with it", format!("Bearer {good}"), base64_of(Part::Header)),
    ]
}

/// Its header. All are signed, so that it is the header that they fail for.
fn headers(rig: &Rig) -> Vec<Case> {
    let with = |header: &str| rig.issuer.token(ES256, header, CLAIMS);
    let more = |more: &str| with(&format!(r#"{{"alg":"ES256","kid":"p256",{more}}}"#));
    let json = |fault| Refused::Json(Part::Header, fault);
    let jwk = Issuer::other().jwk(ES256);
    let mut cases = vec![
        case("header: large", more(&format!(r#""a":"{}""#, "a".repeat(1024))), Refused::HeaderTooLong),
        case("header: no JSON", with("alg"), json(Fault::Syntax)),
        case("header: empty", with(""), json(Fault::Syntax)),
        case("header: a list", with(r#"["ES256"]"#), json(Fault::NotAnObject)),
        case("header: two objects", with(r#"{"alg":"ES256","kid":"p256"}{}"#), json(Fault::Syntax)),
        case("header: alg twice", more(r#""alg":"none""#), json(Fault::Duplicate)),
        case("header: alg twice, escaped", more(r#""\u0061lg":"ES256""#), json(Fault::Duplicate)),
        case("header: kid twice", more(r#""kid":"p256""#), json(Fault::Duplicate)),
        case("header: twice within", more(r#""a":{"b":1,"b":1}"#), json(Fault::Duplicate)),
        case(
            "header: deep",
            more(&format!(r#""a":{}{}"#, "[".repeat(400), "]".repeat(400))),
            json(Fault::TooDeep),
        ),
        case("alg missing", with(r#"{"kid":"p256"}"#), Refused::NoAlgorithm),
        case("alg null", with(r#"{"alg":null,"kid":"p256"}"#), Refused::NoAlgorithm),
        case("alg a number", with(r#"{"alg":256,"kid":"p256"}"#), Refused::NoAlgorithm),
        case("alg a list", with(r#"{"alg":["ES256"],"kid":"p256"}"#), Refused::NoAlgorithm),
        case("alg in lower case", with(r#"{"alg":"es256","kid":"p256"}"#), Refused::AlgorithmUnknown),
        case("alg with a space", with(r#"{"alg":"ES256 ","kid":"p256"}"#), Refused::AlgorithmUnknown),
        case("alg none with a space", with(r#"{"alg":" none","kid":"p256"}"#), Refused::AlgorithmUnknown),
        case("alg empty", with(r#"{"alg":"","kid":"p256"}"#), Refused::AlgorithmUnknown),
        case("alg ES512", with(r#"{"alg":"ES512","kid":"p256"}"#), Refused::AlgorithmUnknown),
        case("alg ES256K", with(r#"{"alg":"ES256K","kid":"p256"}"#), Refused::AlgorithmUnknown),
        case("alg of encryption", with(r#"{"alg":"RSA-OAEP","kid":"p256"}"#), Refused::AlgorithmUnknown),
        case("enc", more(r#""enc":"A256GCM""#), Refused::Encrypted),
        case("crit", more(r#""crit":["exp"],"exp":1"#), Refused::Critical),
        case("crit empty", more(r#""crit":[]"#), Refused::Critical),
        case("crit null", more(r#""crit":null"#), Refused::Critical),
        case("crit and b64", more(r#""crit":["b64"],"b64":false"#), Refused::Critical),
        case("b64 false", more(r#""b64":false"#), Refused::Unencoded),
        case("b64 true", more(r#""b64":true"#), Refused::Unencoded),
        case("jku", more(r#""jku":"https://evil.example/keys""#), Refused::EmbeddedKey("jku")),
        case("x5u", more(r#""x5u":"https://evil.example/a.crt""#), Refused::EmbeddedKey("x5u")),
        case("x5c", more(r#""x5c":["AAAA"]"#), Refused::EmbeddedKey("x5c")),
        case(
            "jwk of the issuer",
            more(&format!(r#""jwk":{}"#, rig.issuer.jwk(ES256))),
            Refused::EmbeddedKey("jwk"),
        ),
        case(
            "jwk of a stranger, who signs",
            Issuer::other().token(ES256, format!(r#"{{"alg":"ES256","kid":"p256","jwk":{jwk}}}"#), CLAIMS),
            Refused::EmbeddedKey("jwk"),
        ),
        case("kid a number", with(r#"{"alg":"ES256","kid":1}"#), Refused::KeyId),
        case("kid null", with(r#"{"alg":"ES256","kid":null}"#), Refused::KeyId),
        case("kid empty", with(r#"{"alg":"ES256","kid":""}"#), Refused::KeyId),
        case("kid long", with(&format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "a".repeat(257))), Refused::KeyId),
        case("kid missing, several fit", with(r#"{"alg":"RS256"}"#), Refused::KeyNotNamed),
    ];
    for none in ["none", "None", "NONE", "nOnE"] {
        let unsigned = format!("{}.{}.", base64(format!(r#"{{"alg":"{none}"}}"#)), base64(CLAIMS));
        cases.push(case(format!("alg {none}, unsigned"), unsigned, Refused::AlgorithmNone));
        let signed = with(&format!(r#"{{"alg":"{none}","kid":"p256"}}"#));
        cases.push(case(format!("alg {none}, signed"), signed, Refused::AlgorithmNone));
    }
    for kid in
        ["P256", "p256 ", "../../../dev/null", "keys.json", "file:///dev/null", "x' OR 'a'='a", "p256\\u0000"]
    {
        let token = with(&format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#));
        cases.push(case(format!("kid {kid}"), token, Refused::UnknownKey));
    }
    let not_utf8 = rig.issuer.token(ES256, b"{\"alg\":\"ES256\",\"kid\":\"p256\xff\"}", CLAIMS);
    cases.push(case("header: not UTF-8", not_utf8, json(Fault::NotUtf8)));
    cases
}

/// Who signs, with what, and how.
fn signatures(rig: &Rig) -> Vec<Case> {
    let issuer = &rig.issuer;
    let es256 = format!("{}.{}", base64(header(ES256)), base64(CLAIMS));
    let signed = |signature: &[u8]| format!("{es256}.{}", base64(signature));
    let right = issuer.signature(ES256, &es256);
    let (r, s) = right.split_at(32);
    let zero = [0; 32];
    // SEC 2 section 2.4.2: the order of the group.
    let order: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| {
            let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
            u8::from_str_radix(&order[at..at + 2], 16).unwrap()
        })
        .collect();
    let mut flipped = right.clone();
    flipped[40] ^= 1;
    let mut cases = vec![
        case("no signature", format!("{es256}."), Refused::NoSignature),
        case("signature cut", signed(&right[..63]), Refused::SignatureLength),
        case("half a signature", signed(r), Refused::SignatureLength),
        case("signature longer", signed(&[&right[..], &[0]].concat()), Refused::SignatureLength),
        case("one bit", signed(&flipped), Refused::BadSignature),
        case("DER", signed(&issuer.asn1(&es256)), Refused::SignatureLength),
        case("r and s zero", signed(&[0; 64]), Refused::BadSignature),
        case("r zero", signed(&[&zero, s].concat()), Refused::BadSignature),
        case("s zero", signed(&[r, &zero].concat()), Refused::BadSignature),
        case("r the order", signed(&[&order, s].concat()), Refused::BadSignature),
        case("s the order", signed(&[r, &order].concat()), Refused::BadSignature),
        case("r and s all ones", signed(&[0xff; 64]), Refused::BadSignature),
        case("s and r", signed(&[s, r].concat()), Refused::BadSignature),
        case("PSS: short salt", rsa::SHORT_SALT, Refused::BadSignature),
        case("PSS: no salt", rsa::NO_SALT, Refused::BadSignature),
        case("PSS: long salt", rsa::LONG_SALT, Refused::BadSignature),
        case("PSS: another mask", rsa::OTHER_MASK, Refused::BadSignature),
    ];
    // Claims changed, and claims of one token with the signature of another.
    let good = rig.token(ES256, CLAIMS);
    let (_, signature) = good.rsplit_once('.').unwrap();
    let bob = base64(CLAIMS.replace("alice", "admin"));
    cases.push(case(
        "other claims",
        format!("{}.{bob}.{signature}", base64(header(ES256))),
        Refused::BadSignature,
    ));
    // The right name on a stranger's signature, in every algorithm; and each RSA algorithm's on another's header.
    let stranger = Issuer::other();
    for algorithm in Algorithm::ALL {
        let forged = stranger.token(algorithm, header(algorithm), CLAIMS);
        cases.push(case(format!("a stranger's {}", algorithm.name()), forged, Refused::BadSignature));
        let cut = rig.token(algorithm, CLAIMS);
        // Whole bytes: what is left is base64url.
        let cut = cut[..cut.len() - if algorithm == ES384 { 4 } else { 2 }].to_owned();
        cases.push(case(format!("{} cut", algorithm.name()), cut, Refused::SignatureLength));
    }
    let rsa_ones = [RS256, RS384, RS512, PS256, PS384, PS512];
    for said in rsa_ones {
        for done in rsa_ones.into_iter().filter(|done| *done != said) {
            let token = issuer.token(done, header(said), CLAIMS);
            cases.push(case(format!("{said:?} that is {done:?}"), token, Refused::BadSignature));
        }
    }
    // An algorithm with the name of a key of another type.
    for (said, key) in
        [(RS256, "p256"), (ES256, "rsa"), (ES256, "p384"), (ES384, "p256"), (EdDSA, "p256"), (ES256, "ed")]
    {
        let header = format!(r#"{{"alg":"{}","kid":"{key}"}}"#, said.name());
        let token = issuer.token(said, header, CLAIMS);
        cases.push(case(format!("{said:?} by {key}"), token, Refused::AlgorithmNotOfKey));
    }
    // The public key as a shared secret, in each form that somebody could read it in.
    let secrets = [
        issuer.rsa_der(),
        issuer.jwk(RS256)["n"].to_string().into_bytes(),
        issuer.jwk(RS256).to_string().into(),
    ];
    for (name, hash) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("hs512", hmac::HMAC_SHA512)]
    {
        for (form, secret) in secrets.iter().enumerate() {
            let signed =
                format!("{}.{}", base64(format!(r#"{{"alg":"{name}","kid":"rsa"}}"#)), base64(CLAIMS));
            let tag = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
            let token = format!("{signed}.{}", base64(tag));
            cases.push(case(
                format!("{name} with the public key {form}"),
                token,
                Refused::AlgorithmSymmetric,
            ));
            // And with a header that says RSA.
            let signed = format!("{}.{}", base64(header(RS256)), base64(CLAIMS));
            let tag = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
            let token = format!("{signed}.{}", base64(tag));
            cases.push(case(format!("RS256 that is {name} {form}"), token, Refused::SignatureLength));
        }
    }
    cases
}

/// Its claims. All are signed.
fn claims(rig: &Rig) -> Vec<Case> {
    let token = |claims: &str| rig.token(ES256, claims);
    let instead = |what: &str, of: &str| {
        assert!(CLAIMS.contains(of));
        token(&CLAIMS.replace(of, what))
    };
    let exp = |exp: &str| instead(exp, r#""exp":1800000600"#);
    let aud = |aud: &str| instead(aud, r#""aud":"orders""#);
    let iss = |iss: &str| instead(iss, r#""iss":"https://id.example""#);
    let sub = |sub: &str| instead(sub, r#""sub":"alice""#);
    let and = |more: &str| instead(&format!(r#""exp":1800000600,{more}"#), r#""exp":1800000600"#);
    let json = |fault| Refused::Json(Part::Claims, fault);
    let (missing, typed, range) = (Refused::Missing, Refused::Type, Refused::Range);
    vec![
        case("claims: no JSON", token("sub=alice"), json(Fault::Syntax)),
        case("claims: cut", token(&CLAIMS[..40]), json(Fault::Syntax)),
        case("claims: more after", token(&format!("{CLAIMS},{CLAIMS}")), json(Fault::Syntax)),
        case("claims: a list", token(&format!("[{CLAIMS}]")), json(Fault::NotAnObject)),
        case(
            "claims: a token in it",
            token(&json!(rig.token(ES256, CLAIMS)).to_string()),
            json(Fault::NotAnObject),
        ),
        case(
            "claims: not UTF-8",
            rig.issuer.token(ES256, header(ES256), [&CLAIMS.as_bytes()[..70], b",\"a\":\"\xc3\"}"].concat()),
            json(Fault::NotUtf8),
        ),
        case("claims: UTF-16", rig.issuer.token(ES256, header(ES256), "{\0}\0"), json(Fault::Syntax)),
        case("claims: sub twice", and(r#""sub":"admin""#), json(Fault::Duplicate)),
        case("claims: exp twice", and(r#""exp":1900000000"#), json(Fault::Duplicate)),
        case("claims: aud twice", and(r#""aud":"orders""#), json(Fault::Duplicate)),
        case("claims: iss twice, escaped", and(r#""is\u0073":"https://id.example""#), json(Fault::Duplicate)),
        case(
            "claims: twice within",
            and(r#""realm":[{"roles":["a"],"roles":["b"]}]"#),
            json(Fault::Duplicate),
        ),
        case(
            "claims: deep",
            and(&format!(r#""a":{}{}"#, "[".repeat(2000), "]".repeat(2000))),
            json(Fault::TooDeep),
        ),
        case("claims: deep, cut", token(&r#"{"a":"#.repeat(900)), json(Fault::TooDeep)),
        case(
            "exp missing",
            token(r#"{"iss":"https://id.example","aud":"orders","sub":"alice"}"#),
            missing("exp"),
        ),
        case("exp null", exp(r#""exp":null"#), typed("exp")),
        case("exp a string", exp(r#""exp":"1800000600""#), typed("exp")),
        case("exp true", exp(r#""exp":true"#), typed("exp")),
        case("exp a list", exp(r#""exp":[1800000600]"#), typed("exp")),
        case("exp negative", exp(r#""exp":-1"#), range("exp")),
        case("exp negative, a fraction", exp(r#""exp":-0.5"#), range("exp")),
        case("exp in milliseconds", exp(r#""exp":1800000600000"#), range("exp")),
        case("exp of all bits", exp(r#""exp":18446744073709551615"#), range("exp")),
        case("exp beyond all bits", exp(r#""exp":18446744073709551616"#), range("exp")),
        case("exp astronomic", exp(r#""exp":1e300"#), range("exp")),
        case("exp infinite", exp(r#""exp":1e999"#), json(Fault::Syntax)),
        case("exp not a number", exp(r#""exp":NaN"#), json(Fault::Syntax)),
        case("exp 0", exp(r#""exp":0"#), Refused::Expired),
        case("expired long ago", exp(r#""exp":1700000000"#), Refused::Expired),
        case("expired by the leeway", exp(r#""exp":1799999970"#), Refused::Expired),
        case("expired by a fraction", exp(r#""exp":1799999969.9"#), Refused::Expired),
        case("nbf to come", and(r#""nbf":1800000031"#), Refused::NotYetValid),
        case("nbf to come, a fraction", and(r#""nbf":1800000030.5"#), Refused::NotYetValid),
        case("nbf a string", and(r#""nbf":"0""#), typed("nbf")),
        case("nbf null", and(r#""nbf":null"#), typed("nbf")),
        case("nbf negative", and(r#""nbf":-5"#), range("nbf")),
        case("nbf huge", and(r#""nbf":1e30"#), range("nbf")),
        case("iat a string", and(r#""iat":"now""#), typed("iat")),
        case("iat negative", and(r#""iat":-5"#), range("iat")),
        case("iss missing", token(r#"{"aud":"orders","sub":"alice","exp":1800000600}"#), missing("iss")),
        case("iss another", iss(r#""iss":"https://evil.example""#), Refused::WrongIssuer),
        case("iss with a slash", iss(r#""iss":"https://id.example/""#), Refused::WrongIssuer),
        case("iss in capitals", iss(r#""iss":"HTTPS://ID.EXAMPLE""#), Refused::WrongIssuer),
        case("iss empty", iss(r#""iss":"""#), Refused::WrongIssuer),
        case("iss a list", iss(r#""iss":["https://id.example","https://evil.example"]"#), typed("iss")),
        case("iss a list of one", iss(r#""iss":["https://id.example"]"#), typed("iss")),
        case("iss null", iss(r#""iss":null"#), typed("iss")),
        case(
            "aud missing",
            token(r#"{"iss":"https://id.example","sub":"alice","exp":1800000600}"#),
            missing("aud"),
        ),
        case("aud another", aud(r#""aud":"payments""#), Refused::WrongAudience),
        case("aud longer", aud(r#""aud":"orders2""#), Refused::WrongAudience),
        case("aud in capitals", aud(r#""aud":"Orders""#), Refused::WrongAudience),
        case("aud several in one", aud(r#""aud":"orders billing""#), Refused::WrongAudience),
        case("aud others", aud(r#""aud":["payments","x"]"#), Refused::WrongAudience),
        case("aud none", aud(r#""aud":[]"#), Refused::WrongAudience),
        case("aud null", aud(r#""aud":null"#), typed("aud")),
        case("aud an object", aud(r#""aud":{"orders":1}"#), typed("aud")),
        case("aud a list within", aud(r#""aud":[["orders"]]"#), typed("aud")),
        case("aud with a number", aud(r#""aud":["orders",1]"#), typed("aud")),
        case(
            "sub missing",
            token(r#"{"iss":"https://id.example","aud":"orders","exp":1800000600}"#),
            missing("sub"),
        ),
        case("sub empty", sub(r#""sub":"""#), range("sub")),
        case("sub null", sub(r#""sub":null"#), typed("sub")),
        case("sub a number", sub(r#""sub":7"#), typed("sub")),
        case("sub a list", sub(r#""sub":["alice"]"#), typed("sub")),
        case("sub long", sub(&format!(r#""sub":"{}""#, "a".repeat(500))), Refused::PrincipalTooLong),
        case(
            "sub long once written",
            sub(&format!(r#""sub":"{}""#, "é".repeat(90))),
            Refused::PrincipalTooLong,
        ),
    ]
}

#[tokio::test]
async fn none_is_accepted_and_each_says_why() {
    let issuer = Issuer::new();
    let mut keys = all_keys(&issuer);
    // A second key of RSA, so that a token has to say which.
    keys.push(named(&Issuer::other(), RS256, json!({"kid": "rsa2"})));
    let rig = Rig::with(json!({}), issuer, &keys);
    let cases = [forms(&rig), headers(&rig), signatures(&rig), claims(&rig)].concat();
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
