//! The token of a call: `Authorization: Bearer TOKEN` (RFC 6750 section 2.1), and no other place. What stands in a URL stands
//! in logs, and what stands in a form is the operation's.

use super::Bad;
use http::{HeaderMap, header};

/// The `WWW-Authenticate` of an answer to a request without a token (RFC 6750 section 3: "This scheme MUST be followed by one or
/// more auth-param values", of which only the realm says nothing of the request).
pub const CHALLENGE: &str = r#"Bearer realm="prism-edge""#;

/// The one of an answer to a token that is not good, whatever is wrong with it (RFC 6750 section 3.1: "If the request lacks any
/// authentication information", "or attempted using an unsupported authentication method", no error is to be named).
pub(super) const INVALID_TOKEN: &str = r#"Bearer realm="prism-edge", error="invalid_token""#;

/// The call's token, if it has one.
///
/// # Errors
/// What stands there is no token, or more than one.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<&[u8]>, Bad> {
    let token = written(headers)?;
    if let Some(token) = token {
        check(token)?;
    }
    Ok(token)
}

/// What stands where the call's token does, whether or not it is written as one.
///
/// # Errors
/// There is more than one, or another scheme.
pub(super) fn written(headers: &HeaderMap) -> Result<Option<&[u8]>, Bad> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return Err(Bad::new("it has two `Authorization` headers")),
    };
    // RFC 9110 section 11.1: the scheme is case-insensitive.
    let (scheme, rest) = value.split_at(value.len().min(6));
    if !scheme.eq_ignore_ascii_case(b"bearer") || !rest.starts_with(b" ") {
        return Err(Bad::new("its `Authorization` is of another scheme than Bearer"));
    }
    Ok(Some(&rest[1..]))
}

/// # Errors
/// It is not written as a token.
pub(super) fn check(token: &[u8]) -> Result<(), Bad> {
    // RFC 6750 section 2.1: b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
    // All of it is looked at, without a branch: so many bytes at a time.
    let is_token = |byte: u8| {
        (byte | 0x20).is_ascii_lowercase()
            | byte.is_ascii_digit()
            | matches!(byte, b'+' | b'-'..=b'/')
            | matches!(byte, b'=' | b'_' | b'~')
    };
    let is_good = token.iter().fold(true, |good, byte| good & is_token(*byte));
    match !token.is_empty() && is_good {
        true => Ok(()),
        false => Err(Bad::new("its `Authorization: Bearer` holds no token")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn found(values: &[&[u8]]) -> Result<Option<Vec<u8>>, Bad> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", HeaderValue::from_bytes(value).unwrap());
        }
        token(&headers).map(|token| token.map(<[u8]>::to_vec))
    }

    #[test]
    fn a_token_stands_in_one_place_and_is_written_in_one_way() {
        assert_eq!(found(&[]), Ok(None));
        for scheme in ["Bearer", "bearer", "BEARER"] {
            assert_eq!(
                found(&[format!("{scheme} a.b-c_~+/==").as_bytes()]),
                Ok(Some(b"a.b-c_~+/==".to_vec()))
            );
        }
        for byte in b'!'..=b'~' {
            let good = byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
            let value = [b"Bearer abcdefghijklmnopqrstuvwxyz", &[byte][..]].concat();
            assert_eq!(found(&[&value]).is_ok(), good, "{}", char::from(byte));
        }
        for values in [
            &[&b""[..]][..],
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearer  a"],
            &[b"Bearer a b"],
            &[b"Bearer a,b"],
            &[b"Bearer\ta"],
            &[b"Bearera"],
            &[b"Basic dXNlcjpwdw=="],
            &[b"a"],
            &[b"Bearer \xff"],
            &[b"Bearer a", b"Bearer a"],
        ] {
            assert!(found(values).is_err(), "{values:?}");
        }
    }
}
