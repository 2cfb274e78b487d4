//! Tokens whose form is wrong, before anything of them is read.

use super::*;

pub(super) fn cases(rig: &Rig) -> Vec<Case> {
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
