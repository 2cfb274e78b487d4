//! What is malformed (RFC 9113 section 8), read once more, as plainly as it is written.

use crate::reference::{Raw, allowed};

/// Why this is no request, or no trailers.
pub(crate) fn why(fields: &[Raw], is_first: bool, end: bool) -> Option<&'static str> {
    regular(fields).or_else(|| {
        if is_first { control_data(fields).or_else(|| length(fields, end)) } else { pseudo(fields) }
    })
}

fn regular(fields: &[Raw]) -> Option<&'static str> {
    for (name, value, _) in fields.iter().filter(|(name, ..)| name.first() != Some(&b':')) {
        if !allowed(name, value) {
            return Some("8.2.1: a field that is none");
        }
        match &name[..] {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
                return Some("8.2.2: a field of a connection");
            }
            b"te" if value != b"trailers" => return Some("8.2.2: te with more than trailers"),
            _ => {}
        }
    }
    None
}

fn pseudo(trailers: &[Raw]) -> Option<&'static str> {
    trailers
        .iter()
        .any(|(name, ..)| name.first() == Some(&b':'))
        .then_some("8.3: a pseudo-header in trailers")
}

fn control_data(fields: &[Raw]) -> Option<&'static str> {
    let count = fields.iter().take_while(|(name, ..)| name.first() == Some(&b':')).count();
    let (control, rest) = fields.split_at(count);
    if pseudo(rest).is_some() {
        return Some("8.3: a pseudo-header behind a field");
    }
    let known: [&[u8]; 4] = [b":method", b":scheme", b":authority", b":path"];
    if control.iter().any(|(name, ..)| !known.contains(&&name[..])) {
        return Some("8.3: a pseudo-header that is not defined");
    }
    let [method, scheme, authority, path] = known.map(|known| {
        let mut values = control.iter().filter(|(name, ..)| name == known).map(|(_, value, _)| &value[..]);
        (values.next(), values.next())
    });
    if [method, scheme, authority, path].iter().any(|(_, second)| second.is_some()) {
        return Some("8.3: a pseudo-header twice");
    }
    let Some(method) = method.0 else { return Some("8.3.1: no method") };
    if !is_token(method) {
        return Some("8.3.1: a method that is none");
    }
    if authority.0.is_some_and(|authority| !is_authority(authority)) {
        return Some("8.3.1: an authority that is none");
    }
    if method == b"CONNECT" {
        let has_port = authority
            .0
            .is_some_and(|authority| matches!(authority.last(), Some(b'0'..=b'9')) && port(authority));
        return (scheme.0.is_some() || path.0.is_some() || !has_port)
            .then_some("8.5: CONNECT of another form");
    }
    let (Some(scheme), Some(path)) = (scheme.0, path.0) else { return Some("8.3.1: no scheme or no path") };
    if !is_scheme(scheme) {
        return Some("8.3.1: a scheme that is none");
    }
    let is_path = match path {
        b"*" => method == b"OPTIONS",
        [b'/', ..] => is_path(path),
        _ => false,
    };
    (!is_path).then_some("8.3.1: a path that is none")
}

/// RFC 9110 section 5.6.2, with letters of both cases.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet))
}

/// RFC 3986 section 3.1; `http` takes no more than 64 letters.
fn is_scheme(text: &[u8]) -> bool {
    text.len() <= 64
        && text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(octet))
}

/// RFC 3986 sections 3.3 and 3.4, and what clients do not escape although they should: `http` says which.
fn is_path(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let is_right = |text: &str, forbidden: &str| {
        text.chars().all(|letter| letter > ' ' && letter != '\x7f' && !forbidden.contains(letter))
    };
    is_right(path, "#<>`") && is_right(query, "#\"<>")
}

/// RFC 3986 section 3.2, without userinfo and with a host.
fn is_authority(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (&text[..], ""),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => {
            !literal.is_empty() && literal.bytes().all(|octet| is_of_host(octet) || octet == b':')
        }
        None => !host.is_empty() && host.bytes().all(is_of_host),
    };
    is_host && port.bytes().all(|octet| octet.is_ascii_digit())
}

/// Escapes are left out: `http` takes none in a host.
fn is_of_host(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&octet)
}

/// A port that can be connected to (RFC 9110 section 9.3.6).
fn port(authority: &[u8]) -> bool {
    let text = String::from_utf8_lossy(authority);
    text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// RFC 9110 section 8.6: one number; RFC 9113 section 8.1.1: that of the body.
fn length(fields: &[Raw], end: bool) -> Option<&'static str> {
    let lengths: Vec<_> =
        fields.iter().filter(|(name, ..)| name == b"content-length").map(|(_, value, _)| value).collect();
    let [text] = lengths[..] else {
        return (lengths.len() > 1).then_some("RFC 9110, 8.6: several lengths");
    };
    match String::from_utf8_lossy(text).parse::<u64>() {
        Ok(length) if text[0] != b'+' => (end && length > 0).then_some("8.1.1: a length without a body"),
        _ => Some("RFC 9110, 8.6: a length that is none"),
    }
}
