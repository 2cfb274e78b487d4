//! Tokens whose claims are wrong. All are signed.

use super::*;

pub(super) fn cases(rig: &Rig) -> Vec<Case> {
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
