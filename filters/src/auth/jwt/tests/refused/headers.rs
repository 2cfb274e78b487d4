//! Tokens whose header is wrong. All are signed, so that it is the header that they fail for.

use super::*;

pub(super) fn cases(rig: &Rig) -> Vec<Case> {
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
