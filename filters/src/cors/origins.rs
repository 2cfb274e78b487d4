//! Which origins may read answers, compared as browsers write them.

use std::str::FromStr;

/// One entry of `allow_origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Every origin, opaque ones (`null`) included.
    Any,
    /// This one.
    Exact(String),
    /// `https://*.example.com`: what is in front of the star, and what is behind it. One label or several stand for it,
    /// and never none.
    Below { scheme: String, rest: String },
}

/// Why a text is no entry of `allow_origins`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOrigin {
    #[error("`null` is what any page can make itself (a frame with `sandbox`), so it names nobody")]
    Null,
    #[error("an origin is `scheme://host` or `scheme://host:port`, in lower case")]
    Form,
    #[error("an origin has no path, and no `/` at its end")]
    Path,
    #[error("browsers leave the scheme's own port out, so this origin never comes")]
    DefaultPort,
    #[error("`*` stands for the first labels of a host alone, and at least two must follow it")]
    Star,
}

impl FromStr for Pattern {
    type Err = NotOrigin;

    fn from_str(text: &str) -> Result<Self, NotOrigin> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text == "null" {
            return Err(NotOrigin::Null);
        }
        let (scheme, authority) = text.split_once("://").ok_or(NotOrigin::Form)?;
        // RFC 3986, section 3.1, in lower case, as the URL standard writes it.
        let in_scheme = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
        };
        if !scheme.starts_with(|first: char| first.is_ascii_lowercase()) || !scheme.bytes().all(in_scheme) {
            return Err(NotOrigin::Form);
        }
        if authority.contains(['/', '?', '#']) {
            return Err(NotOrigin::Path);
        }
        let (host, port) = split_port(authority).ok_or(NotOrigin::Form)?;
        if matches!((scheme, port), ("http", Some("80")) | ("https", Some("443"))) {
            return Err(NotOrigin::DefaultPort);
        }
        if let Some(below) = host.strip_prefix("*.") {
            if !is_name(below) || !below.contains('.') {
                return Err(NotOrigin::Star);
            }
            let rest = format!(".{}", &authority["*.".len()..]);
            return Ok(Self::Below { scheme: format!("{scheme}://"), rest });
        }
        if host.contains('*') {
            return Err(NotOrigin::Star);
        }
        if !is_name(host) && !is_ipv6(host) {
            return Err(NotOrigin::Form);
        }
        Ok(Self::Exact(text.to_owned()))
    }
}

impl Pattern {
    /// Whether a request with this `Origin` came from here.
    pub(super) fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, rest } => {
                let labels = origin.strip_prefix(&**scheme).and_then(|host| host.strip_suffix(&**rest));
                labels.is_some_and(is_name)
            }
        }
    }
}

/// Host and port of an authority; `None` where the port is none as browsers write it.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end_of_host = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority[end_of_host..].find(':') else { return Some((authority, None)) };
    let (host, port) = (&authority[..end_of_host + colon], &authority[end_of_host + colon + 1..]);
    let number: u16 = port.parse().ok()?;
    (number.to_string() == port).then_some((host, Some(port)))
}

/// Labels of letters, digits, `-` and `_`, separated by dots. Other letters are written in Punycode by browsers.
fn is_name(host: &str) -> bool {
    let in_label =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    host.split('.').all(|label| !label.is_empty() && label.bytes().all(in_label))
}

/// `[::1]`, in the one form that browsers write (RFC 5952).
fn is_ipv6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.is_some_and(|text| {
        text.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.to_string() == text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_origin_is_refused_with_a_reason() {
        use NotOrigin::{DefaultPort, Form, Null, Path, Star};
        for (text, why) in [
            ("", Form),
            ("null", Null),
            ("example.com", Form),
            ("//example.com", Form),
            ("https:/example.com", Form),
            ("https://", Form),
            ("://example.com", Form),
            ("HTTPS://example.com", Form),
            ("1ttps://example.com", Form),
            ("https://Example.com", Form),
            ("https://exämple.com", Form),
            ("https://example..com", Form),
            ("https://example.com.", Form),
            ("https://.example.com", Form),
            ("https://user@example.com", Form),
            ("https://example.com:", Form),
            ("https://example.com:x", Form),
            ("https://example.com:08", Form),
            ("https://example.com:65536", Form),
            ("https://example.com:+1", Form),
            ("https://[::1", Form),
            ("https://[::01]", Form),
            ("https://::1", Form),
            (" https://example.com", Form),
            ("https://example.com ", Form),
            ("https://example.com/", Path),
            ("https://example.com/app", Path),
            ("https://example.com?x", Path),
            ("https://example.com#x", Path),
            ("http://example.com:80", DefaultPort),
            ("https://example.com:443", DefaultPort),
            ("https://*", Star),
            ("https://*.com", Star),
            ("https://*.", Star),
            ("https://*.*.example.com", Star),
            ("https://a.*.example.com", Star),
            ("https://*example.com", Star),
            ("https://example.*", Star),
            ("*://example.com", Form),
            ("**", Form),
            ("*.example.com", Form),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn an_origin_matches_as_a_whole() {
        let foreign = [
            "https://example.com",
            "https://evil.com",
            "https://evilexample.com",
            "https://app.example.com.evil.com",
            "https://app.example.com:444",
            "https://app.example.com:8443.evil.com",
            "https://app.example.com.",
            "https://app.example.com/",
            "http://app.example.com",
            "https://APP.example.com",
            "https://evil.com/.example.com",
            "https://evil.com#.example.com",
            "https://evil.com?.example.com",
            "https://evil.com:1.example.com",
            "https://user@app.example.com",
            "https://.example.com",
            "https://..example.com",
            "https://a..example.com",
            "https://a b.example.com",
            "wss://app.example.com",
            " https://app.example.com",
            "null",
            "",
        ];
        let exact: Pattern = "https://app.example.com".parse().unwrap();
        let below: Pattern = "https://*.example.com".parse().unwrap();
        for origin in foreign {
            assert!(!exact.matches(origin) && !below.matches(origin), "{origin}");
            assert!(Pattern::Any.matches(origin));
        }
        assert!(exact.matches("https://app.example.com") && below.matches("https://app.example.com"));
        assert!(!exact.matches("https://a.app.example.com") && below.matches("https://a.app.example.com"));
        let with_port: Pattern = "http://*.dev.test:3000".parse().unwrap();
        assert!(with_port.matches("http://a.dev.test:3000"));
        for origin in
            ["http://a.dev.test", "http://a.dev.test:30000", "http://a.dev.test:300", "http://dev.test:3000"]
        {
            assert!(!with_port.matches(origin), "{origin}");
        }
        for text in
            ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000", "app://bundle", "http://x:443"]
        {
            assert!(text.parse::<Pattern>().unwrap().matches(text), "{text}");
        }
    }
}
