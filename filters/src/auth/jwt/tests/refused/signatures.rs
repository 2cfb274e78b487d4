//! Tokens that somebody else has signed, or something else.

use super::*;
use ring::hmac;

pub(super) fn cases(rig: &Rig) -> Vec<Case> {
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
