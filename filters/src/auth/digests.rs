//! Long random secrets of which only the SHA-256 is kept, and whose they are.

use super::bearer;
use http::HeaderMap;
use ring::digest::{SHA256, digest};
use std::borrow::Cow;
use subtle::ConstantTimeEq as _;

/// The longest secret that is looked at.
pub(super) const MOST: usize = 1024;

/// The shortest secret that a plain digest protects: 128 bits in base64, and two characters for good measure. A shorter one
/// could be guessed by whoever reads the digest.
pub(super) const LEAST: usize = 24;

pub(super) fn sha256(secret: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, secret).as_ref());
    out
}

/// Whose bearer token (RFC 6750 section 2.1) a request has, among `known` ones by their SHA-256; `None` where it has none. All
/// of them are compared, and each in the same time, whatever the token is.
///
/// # Errors
/// The token is nobody's, too short to be accepted, or not written as one: why, for the log. Nothing of the token is in it.
pub fn bearer_of<'a, T>(
    headers: &HeaderMap,
    known: impl IntoIterator<Item = (&'a [u8; 32], T)>,
) -> Result<Option<T>, Cow<'static, str>> {
    let Some(token) = bearer::token(headers).map_err(|bad| bad.into_text())? else { return Ok(None) };
    if token.len() > MOST {
        return Err("its token is too long".into());
    }
    let seen = sha256(token);
    let mut found = None;
    for (digest, owner) in known {
        if bool::from(digest.ct_eq(&seen)) {
            found = Some(owner);
        }
    }
    match found {
        None => Err("its token is nobody's".into()),
        Some(_) if token.len() < LEAST => {
            Err(format!("its token is shorter than {LEAST} characters: make a longer one").into())
        }
        owner => Ok(owner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header::AUTHORIZATION};

    const TOKEN: &str = "k7Qm2xZp9RtYvB4nL8sWc3Df";

    fn ask(values: &[&str], known: &[&str]) -> Result<Option<usize>, Cow<'static, str>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let digests: Vec<[u8; 32]> = known.iter().map(|token| sha256(token.as_bytes())).collect();
        bearer_of(&headers, digests.iter().enumerate().map(|(at, digest)| (digest, at)))
    }

    #[test]
    fn the_owner_of_a_token_is_found() {
        let other = TOKEN.replace('k', "K");
        assert_eq!(ask(&[&format!("Bearer {TOKEN}")], &[&other, TOKEN]), Ok(Some(1)));
        assert_eq!(ask(&[&format!("bearer {other}")], &[&other, TOKEN]), Ok(Some(0)));
        assert_eq!(ask(&[], &[TOKEN]), Ok(None));
    }

    #[test]
    fn nobody_is_found_by_what_is_nearly_a_token() {
        let long = "a".repeat(MOST + 1);
        let short = &TOKEN[..LEAST - 1];
        for (value, known) in [
            (format!("Bearer {short}"), TOKEN),
            (format!("Bearer {TOKEN}x"), TOKEN),
            (format!("Bearer {}", TOKEN.to_lowercase()), TOKEN),
            (format!("Bearer {TOKEN}"), short),
            (format!("Bearer {short}"), short),
            (format!("Bearer {long}"), &long),
            (format!("Basic {TOKEN}"), TOKEN),
            (TOKEN.to_owned(), TOKEN),
            ("Bearer ".to_owned(), ""),
        ] {
            let refused = ask(&[&value], &[known]).unwrap_err();
            assert!(!refused.contains(short), "{refused}");
        }
        let good = format!("Bearer {TOKEN}");
        assert!(ask(&[&good, &good], &[TOKEN]).is_err());
        assert!(ask(&[&good], &[]).is_err());
    }
}
